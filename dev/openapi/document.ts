import type * as z from 'zod';
import packageJson from '../../package.json' with { type: 'json' };
import type { Route, Status } from '../../src/http/declaration.ts';
import {
  codesOf,
  errorsOf,
  type HeaderName,
  headersOf,
  problemExamples,
  problemSchema,
  responseHeaders,
  sharedErrors,
} from './codes.ts';
import { contentOf, pageContent } from './content.ts';
import { collectSchemas, type Schema, type Schemas } from './schemas.ts';

const { version } = packageJson;

export { codesOf } from './codes.ts';

const description = `A multi-tenant commerce API: catalog, inventory, orders, payments, shipping and group buying, with an event for each change.

## Authentication
\`Authorization: Bearer <key>\`. A key belongs to one tenant and reads and writes only that tenant's data. Secret keys (\`sk_…\`) may do everything that their scopes allow. Publishable keys (\`pk_…\`) read the catalog and campaigns, create carts, and use a cart and its order together with its \`Cart-Token\`. A customer session (\`cs_…\`) does what a publishable key does, for the carts and orders of its customer. A request for a resource of another tenant or shopper returns \`404\`.

## Conventions
- JSON in and out. Times are ISO 8601 UTC. Ids are UUIDv7, so they sort by time.
- Money is a JSON number with at most two decimals, beside an ISO 4217 \`currency\`. It is never rounded: an amount with more decimals is rejected. Trailing zeros do not count: \`2.500\` and \`2.5\` are the same JSON number. In CSV a price has at most two decimals, zeros included.
- Lists are \`{ data, nextCursor }\`; \`?limit=\` (1 to 100, default 20) sets the page size and \`?cursor=\` gives the next page.
- An unknown or repeated query parameter is rejected with \`422\`, and so is an unknown field of a body. The error names it.
- A method that a path does not support returns \`405\` with \`Allow\`. A path with a trailing slash is a different path and returns \`404\`.
- Errors are \`application/problem+json\` (RFC 9457) with a \`code\` from a closed list.
- Any request may have an \`X-Request-Id\`. It is returned and logged. Every event that a request causes carries its \`traceparent\` (W3C Trace Context).

## Idempotency
- Send an \`Idempotency-Key\` with a \`POST\`, a new one for each new operation. For 24 hours, the same key with the same body returns the first response again, with \`Idempotent-Replayed: true\`.
- After \`503\` or a lost connection, send the request again with the same key. It takes effect once.

## Concurrent updates (ETag)
- Single resources have an \`ETag\`. A read with \`If-None-Match\` returns \`304\` if nothing has changed. A write with \`If-Match\` is rejected with \`412\` if something has changed.

## Browser use
- A publishable key may be used in a buyer's browser, on pages of its origins (on any page, if it has none). It reads the catalog and campaigns, including \`/live\`, and buys with a cart and its \`Cart-Token\`. A page cannot read responses to a secret key.
- \`EventSource\` cannot send a key. Get a token from \`POST /v1/campaigns/{id}/live-token\` or \`POST /v1/teams/{id}/live-token\`, or use \`fetch\`.

## Limits
- A body may have at most 1 MB, 20,000 values and 128 levels of nesting. An import may have any length.
- Each key may send a limited number of requests. Each address may send a limited number of requests that are rejected (invalid keys, forged webhooks). Above a limit the response is \`429\`, and \`Retry-After\` says how many seconds to wait.`;

const text = (maxLength: number) => ({ type: 'string', minLength: 1, maxLength });

const header = (name: string, headerDescription: string, schema: object, required = false) => ({
  name,
  in: 'header',
  required,
  description: headerDescription,
  schema,
});

const parameters = {
  requestId: header('X-Request-Id', 'Printable ASCII. It is returned with the response and logged.', text(255)),
  traceparent: header('traceparent', 'W3C Trace Context. Every event that the request causes carries it.', {
    type: 'string',
    pattern: '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$',
  }),
  idempotencyKey: header('Idempotency-Key', 'A new key for each new operation. It is kept for 24 hours.', text(255)),
  idempotencyKeyRequired: header(
    'Idempotency-Key',
    'A new key for each new operation. It is kept for 24 hours.',
    text(255),
    true,
  ),
  cartToken: header(
    'Cart-Token',
    'From `POST /v1/carts`. Needed with a publishable key; ignored with a secret key.',
    text(255),
  ),
  ifMatch: header(
    'If-Match',
    'The ETag that you read. The change is rejected if the resource has changed since.',
    text(1000),
  ),
  ifNoneMatch: header(
    'If-None-Match',
    'The ETag that you read. The response is 304 if the resource has not changed since.',
    text(1000),
  ),
  prefer: header('Prefer', '`respond-async`: respond with 202 at once, and do the work later.', {
    type: 'string',
    examples: ['respond-async'],
  }),
};

const tags: Record<string, string> = {
  Catalog: 'The products of a tenant.',
  Carts: 'What a shopper is about to buy. A browser uses them with a publishable key and `Cart-Token`.',
  Discounts: 'Codes and discounts that apply by themselves, with limits for all orders or for each customer.',
  'Shipping options': 'What shipping costs, by country, weight and value of an order.',
  'Price lists': 'Prices for everyone, for a group of customers or for an organization, in any currency.',
  Customers: 'The customers of a tenant, with their addresses and their group.',
  Inventory: 'How many units of a SKU can be sold, and how many are held for orders.',
  Orders: 'Orders from placing to delivery. Placing is all or nothing.',
  Returns: 'Units that buyers send back: requested, received, refunded.',
  Payments:
    'Payments of orders through Stripe: one live payment for each order, and refunds up to the captured amount.',
  Shipping: 'Shipments of paid orders: labels and tracking.',
  'Group commerce': 'Group buying: campaigns that succeed once enough buyers have joined.',
  Tenant: 'The settings of your tenant, what its storefront shows of them, and its API keys.',
  Events: 'The event history, and events that could not be delivered.',
  Operations: 'The health of the service, and this description. No key is needed.',
};

const fieldsOf = (schema: z.ZodType | undefined): Record<string, z.ZodType> =>
  schema !== undefined && 'shape' in schema ? (schema.shape as Record<string, z.ZodType>) : {};

/** Properties of an operation's documentation that depend on the other operations. */
type Traits = {
  canBeAsync: boolean;
  isSingleRead: boolean;
  hasETag: (status: Status) => boolean;
  hasLocation: (status: Status) => boolean;
  example: (status: Status) => unknown;
};

function traitsOf(routes: Route[]): (route: Route) => Traits {
  const isList = (schema: z.ZodType | undefined) => 'nextCursor' in fieldsOf(schema);
  const isSingle = ({ method, scope, responses }: Route) =>
    method === 'get' && scope !== undefined && responses[200]?.schema && !isList(responses[200].schema);
  // If an operation reads a resource by its id, every response with that resource has an ETag.
  const resources = new Set(routes.filter(isSingle).map((route) => route.responses[200]?.schema));
  const readablePaths = new Set(routes.filter(isSingle).map((route) => route.path));
  const withExample = routes
    .flatMap((route) => Object.values(route.responses))
    .filter((response) => response.example !== undefined);
  const samples = new Map(withExample.map((response) => [response.schema, response.example]));
  /** The declared example. A list without one shows an example of its items. */
  const exampleOf = (response: (typeof withExample)[number] | undefined): unknown => {
    const { data } = fieldsOf(response?.schema);
    const item = data && 'element' in data ? samples.get(data.element as z.ZodType) : undefined;
    return response?.example ?? (item === undefined ? undefined : { data: [item], nextCursor: null });
  };
  return (route) => ({
    canBeAsync: route.responses[201] !== undefined && route.responses[202] !== undefined,
    isSingleRead: Boolean(isSingle(route)),
    hasETag: (status) =>
      resources.has(route.responses[status]?.schema) && route.responses[status]?.schema !== undefined,
    hasLocation: (status) => (status === 201 || status === 202) && readablePaths.has(`${route.path}/{id}`),
    example: (status) => exampleOf(route.responses[status]),
  });
}

function fieldParameters(schema: z.ZodType | undefined, where: 'path' | 'query', schemas: Schemas): object[] {
  if (!schema) return [];
  const { properties, required } = schemas.of(schema, 'input') as {
    properties: Record<string, Schema>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, { description: fieldDescription, ...rest }]) => ({
    name,
    in: where,
    required: where === 'path' || (required?.includes(name) ?? false),
    ...(fieldDescription === undefined ? {} : { description: fieldDescription }),
    schema: rest,
  }));
}

/** A cart that is made, and a log-in, have no `Cart-Token` yet. */
const takesCartToken = ({ shoppers, id }: Route): boolean =>
  shoppers?.includes('publishable') === true && !['createCart', 'createCustomerSession'].includes(id);

function parametersOf(route: Route, traits: Traits, schemas: Schemas): object[] {
  const names: (keyof typeof parameters)[] = [];
  if (route.idempotency) names.push(route.idempotency === 'required' ? 'idempotencyKeyRequired' : 'idempotencyKey');
  if (takesCartToken(route)) names.push('cartToken');
  if (route.ifMatch) names.push('ifMatch');
  if (traits.isSingleRead) names.push('ifNoneMatch');
  if (traits.canBeAsync) names.push('prefer');
  names.push('requestId');
  if (route.scope !== undefined && route.method !== 'get') names.push('traceparent');
  return [
    ...fieldParameters(route.params, 'path', schemas),
    ...fieldParameters(route.query, 'query', schemas),
    ...names.map((name) => ({ $ref: `#/components/parameters/${name}` })),
  ];
}

function requestBody(route: Route, schemas: Schemas): object | undefined {
  if (route.stream) {
    const examples = (typeof route.example === 'object' ? route.example : {}) as Record<string, unknown>;
    const content = route.stream.map((type) => [
      type,
      {
        schema: { type: type === 'application/json' ? 'object' : 'string' },
        ...(type in examples ? { example: examples[type] } : {}),
      },
    ]);
    return { required: true, content: Object.fromEntries(content) };
  }
  if (!route.body) return undefined;
  const required = !route.body.safeParse({}).success;
  const example = route.example ?? (required ? undefined : {});
  const content = { schema: schemas.of(route.body, 'input'), ...(example === undefined ? {} : { example }) };
  return { required, content: { 'application/json': content } };
}

function responsesOf(route: Route, traits: Traits, schemas: Schemas): Record<string, object> {
  const responses: Record<string, object> = {};
  for (const [key, response] of Object.entries(route.responses)) {
    const status = Number(key) as Status;
    const headers: HeaderName[] = ['X-Request-Id'];
    if (codesOf(route).includes('unavailable')) headers.push('Server-Timing');
    if (traits.hasETag(status)) headers.push('ETag');
    if (traits.hasLocation(status)) headers.push('Location');
    if (fieldsOf(response.schema).nextCursor) headers.push('Link');
    if (traits.canBeAsync && status === 202) headers.push('Preference-Applied');
    if (route.idempotency) headers.push('Idempotent-Replayed');
    const example = traits.example(status);
    const withExample = example === undefined ? {} : { example };
    const content = response.schema
      ? {
          'application/json': { schema: schemas.of(response.schema, 'output'), ...withExample },
          ...(response.page === undefined ? {} : pageContent(response.page)),
        }
      : response.type && contentOf([response.type].flat(), response.example);
    responses[key] = {
      description: response.description,
      headers: headersOf(...headers),
      ...(content ? { content } : {}),
    };
  }
  if (traits.isSingleRead) {
    responses[304] = { description: 'Not changed (`If-None-Match`)', headers: headersOf('X-Request-Id', 'ETag') };
  }
  return { ...responses, ...errorsOf(route) };
}

const securityOf = ({ scope, takesLiveToken }: Route): object[] =>
  scope === undefined ? [] : [{ bearer: [scope] }, ...(takesLiveToken ? [{ liveToken: [] }] : [])];

/**
 * The whole API as an OpenAPI 3.1 document, made from the declarations of its operations.
 * @throws Error if two different schemas have the same name
 */
export function openApiDocument(routes: Route[]): object {
  const schemas = collectSchemas();
  const paths: Record<string, Record<string, object>> = {};
  const traits = traitsOf(routes);
  for (const route of routes) {
    const body = requestBody(route, schemas);
    paths[route.path] ??= {};
    Object.assign(paths[route.path] ?? {}, {
      [route.method]: {
        operationId: route.id,
        tags: [route.tag],
        summary: route.summary,
        ...(route.description === undefined ? {} : { description: route.description }),
        security: securityOf(route),
        parameters: parametersOf(route, traits(route), schemas),
        ...(body ? { requestBody: body } : {}),
        responses: responsesOf(route, traits(route), schemas),
      },
    });
  }
  const usedTags = [...new Set(routes.map((route) => route.tag))];
  return {
    openapi: '3.1.0',
    info: { title: 'FusionCommerce', version, description },
    servers: [{ url: '/' }],
    tags: usedTags.map((name) => ({ name, ...(tags[name] === undefined ? {} : { description: tags[name] }) })),
    paths,
    components: {
      schemas: { ...schemas.named, Problem: problemSchema },
      parameters,
      responses: sharedErrors(),
      headers: responseHeaders,
      examples: problemExamples(),
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: 'A key of a tenant, `sk_…` or `pk_…`, or a session, `cs_…`.',
        },
        liveToken: {
          type: 'apiKey',
          in: 'query',
          name: 'token',
          description: 'From `POST /v1/campaigns/{id}/live-token` or `POST /v1/teams/{id}/live-token`.',
        },
      },
    },
  };
}
