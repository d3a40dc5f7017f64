import { ApiError, type Code, statusOf } from '../../src/base/errors.ts';
import { isWebhook, type Route } from '../../src/http/declaration.ts';
import { keyLimit } from '../../src/http/limits.ts';
import { problemOf, titleOf } from '../../src/http/problem.ts';

const allCodes = Object.keys(statusOf) as Code[];

/** Every error code of an operation: those that it declares, and those that follow from its other properties. */
export function codesOf(route: Route): Code[] {
  const codes = new Set<Code>([...route.errors, 'internal']);
  const add = (...added: Code[]) => {
    for (const code of added) codes.add(code);
  };
  if (route.scope !== undefined) add('unauthenticated', 'forbidden', 'rate_limited', 'unavailable');
  if (route.counted) add('rate_limited');
  if (route.params) add('not_found');
  // An unknown or repeated query parameter.
  if (!isWebhook(route)) add('validation_failed');
  if (route.body) add('malformed_json', 'body_too_large', 'unsupported_media_type', 'validation_failed');
  if (route.idempotency === 'required') add('idempotency_key_required');
  // `validation_failed`: the Idempotency-Key has the wrong format.
  if (route.idempotency) add('validation_failed', 'idempotency_key_reused', 'idempotency_in_progress');
  if (route.ifMatch) add('version_mismatch');
  return allCodes.filter((code) => codes.has(code));
}

const exampleOptions: Partial<Record<Code, ConstructorParameters<typeof ApiError>[2]>> = {
  validation_failed: { faults: [{ pointer: '/items/0/quantity', detail: 'must be at least 1' }] },
  insufficient_inventory: {
    members: {
      orderId: '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f',
      shortages: [{ sku: 'TEE-BLACK-M', requested: 2, available: 1 }],
    },
  },
};

/** One problem document for each code, for components/examples. */
export const problemExamples = () =>
  Object.fromEntries(
    allCodes.map((code) => [
      code,
      {
        summary: titleOf(code),
        value: problemOf(
          new ApiError(code, undefined, exampleOptions[code]),
          '/v1/orders',
          '019ab3f1-0a4b-7c3d-8e5f-000000000000',
        ),
      },
    ]),
  );

/** The schema of problem documents (RFC 9457, with the fields that this API adds), for components/schemas. */
export const problemSchema = {
  type: 'object',
  description: 'RFC 9457. Programs switch on `code`.',
  properties: {
    type: { type: 'string', format: 'uri-reference', description: 'A link to the explanation of the code' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    instance: { type: 'string', description: 'The path of the request' },
    code: { type: 'string', enum: allCodes },
    requestId: { type: 'string', description: 'The same as `X-Request-Id`. Give it to support' },
    errors: {
      type: 'array',
      description: 'Each fault of an invalid request',
      items: {
        type: 'object',
        properties: {
          pointer: {
            type: 'string',
            description: 'A JSON pointer into the body, or the name of a parameter or header',
          },
          detail: { type: 'string' },
        },
        required: ['pointer', 'detail'],
      },
    },
    orderId: {
      type: 'string',
      description:
        'With `insufficient_inventory` of an order: the order, which is kept as `failed`. With `cart_not_open`: the ' +
        'latest order of the cart',
    },
    cart: {
      $ref: '#/components/schemas/Cart',
      description: 'With `price_changed` of a checkout: the cart as it is now',
    },
    messages: {
      type: 'array',
      description: 'With `cart_incomplete`: what is missing or wrong in the cart, and where',
      items: { $ref: '#/components/schemas/CartMessage' },
    },
    shortages: {
      type: 'array',
      description: 'With `insufficient_inventory`: every SKU that has too few units',
      items: {
        type: 'object',
        properties: { sku: { type: 'string' }, requested: { type: 'integer' }, available: { type: 'integer' } },
        required: ['sku', 'requested', 'available'],
      },
    },
  },
  required: ['type', 'title', 'status', 'detail', 'instance', 'code', 'requestId'],
};

const header = (description: string, schema: object = { type: 'string' }, example?: unknown) => ({
  description,
  schema,
  ...(example === undefined ? {} : { example }),
});

/** Headers of responses, for components/headers. */
export const responseHeaders = {
  'X-Request-Id': header('The id that was sent, or a new one'),
  'Server-Timing': header(
    'How many database calls the request made, and how many milliseconds they took',
    undefined,
    'db;desc="1 calls";dur=3',
  ),
  ETag: header('For `If-None-Match` and `If-Match`', undefined, '"1-9c1f0a6be2d34c7f8a5b6d7e"'),
  Location: header('The path of the resource', undefined, '/v1/orders/019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f'),
  Link: header('The next page, if there is one: `<…>; rel="next"`'),
  'Preference-Applied': header('The preference that was applied', undefined, 'respond-async'),
  'Idempotent-Replayed': header('Present if this is the first response to the `Idempotency-Key`, returned again', {
    type: 'string',
    const: 'true',
  }),
  'WWW-Authenticate': header('How to authenticate', undefined, 'Bearer'),
  'Retry-After': header('Seconds to wait before you retry', { type: 'integer' }, 1),
  RateLimit: header('How many requests are left', undefined, `"key";r=0;t=${keyLimit.seconds}`),
  'RateLimit-Policy': header(
    'The limit: requests (`q`) in a number of seconds (`w`)',
    undefined,
    `"key";q=${keyLimit.requests};w=${keyLimit.seconds}`,
  ),
};

export type HeaderName = keyof typeof responseHeaders;

/** References to these headers in components/headers. */
export const headersOf = (...names: HeaderName[]) =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));

function extraHeaders(codes: Code[], isStored: boolean): HeaderName[] {
  const names = new Set<HeaderName>();
  for (const code of codes) {
    if (code === 'unauthenticated') names.add('WWW-Authenticate');
    if (code === 'rate_limited') names.add('Retry-After').add('RateLimit').add('RateLimit-Policy');
    if (code === 'unavailable' || code === 'idempotency_in_progress') names.add('Retry-After');
    // The operation's own errors are stored under the idempotency key, like any other response.
    if (isStored && (statusOf[code] === 409 || statusOf[code] === 422)) names.add('Idempotent-Replayed');
  }
  return [...names];
}

/** The error response of one status: its codes as an enum, and an example of each. */
function errorResponse(codes: Code[], isStored: boolean): object {
  return {
    description: codes.map(titleOf).join(' · '),
    headers: headersOf('X-Request-Id', 'Server-Timing', ...extraHeaders(codes, isStored)),
    content: {
      'application/problem+json': {
        schema: {
          allOf: [{ $ref: '#/components/schemas/Problem' }],
          properties: { code: { enum: codes } },
        },
        examples: Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/examples/${code}` }])),
      },
    },
  };
}

// A status with a single code has the same response in every operation.
const isShared = (codes: Code[]) => codes.length === 1 && codes.every((code) => ![409, 422].includes(statusOf[code]));

/** The error responses that many operations share, for components/responses. */
export const sharedErrors = () =>
  Object.fromEntries(allCodes.filter((code) => isShared([code])).map((code) => [code, errorResponse([code], false)]));

/** The error responses of an operation, by status. */
export function errorsOf(route: Route): Record<string, object> {
  const byStatus = new Map<number, Code[]>();
  for (const code of codesOf(route)) byStatus.set(statusOf[code], [...(byStatus.get(statusOf[code]) ?? []), code]);
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [
      String(status),
      isShared(codes)
        ? { $ref: `#/components/responses/${codes[0]}` }
        : errorResponse(codes, route.idempotency !== undefined),
    ]),
  );
}
