import type * as z from 'zod';
import packageJson from '../../../package.json' with { type: 'json' };
import type { Route, Status } from '../declaration.ts';
import {
  answerHeaders,
  codesOf,
  type HeaderName,
  headersOf,
  problemExamples,
  problemSchema,
  refusalsOf,
  sharedRefusals,
} from './codes.ts';
import { collectSchemas, type Schema, type Schemas } from './schemas.ts';

const { version } = packageJson;

export { codesOf } from './codes.ts';

const description = `A multi-tenant commerce API: catalog, inventory, orders, payments, shipping, group buying, and the events that they cause.

## Authentication
\`Authorization: Bearer <key>\`. A key belongs to one tenant and reads and writes only that tenant's data. Secret keys (\`sk_…\`) do all of a tenant's work. Publishable keys (\`pk_…\`) read the catalog and campaigns. Another tenant's resource answers \`404\`.

## Conventions
- JSON in and out. Times are ISO 8601 UTC. Ids are UUIDv7, so they sort by time.
- Money is a JSON number with at most two decimals, beside an ISO 4217 \`currency\`. It is never rounded: an amount with more decimals is rejected. Zeros at the end do not count: \`2.500\` and \`2.5\` are the same JSON number. In CSV a price is written with at most two decimals, zeros included.
- Lists are \`{ data, nextCursor }\`; \`?limit=\` (1 to 100, default 20) sets the page size and \`?cursor=\` gives the next page.
- A query parameter that an operation does not declare, or that is given twice, is refused with \`422\`, which names it. The same holds for unknown fields of a body.
- A method that a path does not have is \`405\` with \`Allow\`. A path with a slash at its end is another path: \`404\`.
- Errors are \`application/problem+json\` (RFC 9457) with a \`code\` from a closed list.
- \`X-Request-Id\` may be sent with any request. It is returned and logged. A \`traceparent\` (W3C Trace Context) is carried into every event that the request causes.

## Idempotency
- Send an \`Idempotency-Key\` with a \`POST\`, a new one for each new operation. For 24 hours, the same key with the same body gets the first answer again, with \`Idempotent-Replayed: true\`.
- After \`503\` or a lost connection, repeat the request with the same key. It is done once.

## Concurrent updates (ETag)
- Single resources have an \`ETag\`. A read with \`If-None-Match\` answers \`304\` if nothing has changed. A change with \`If-Match\` is rejected with \`412\` if something has.

## Browser use
- A publishable key may be used in a buyer's browser, on pages of its origins (on any page, if it has none). It reads the catalog and campaigns, including \`/live\`. A page cannot read answers to a secret key.
- \`EventSource\` cannot send a key. Get a token from \`POST /v1/campaigns/{id}/live-token\`, or use \`fetch\`. Both are shown below.

## Limits
- A body may have 1 MB, 20,000 values and 128 levels of nesting; an import may have any length. \`429\` says in \`Retry-After\` how long to wait: a key has its limit, and an address has one for what is refused (keys that are not good, signatures that do not match).`;

const text = (most: number) => ({ type: 'string', minLength: 1, maxLength: most });

const header = (name: string, about: string, schema: object, required = false) => ({
  name,
  in: 'header',
  required,
  description: about,
  schema,
});

const parameters = {
  requestId: header('X-Request-Id', 'Printable ASCII; it comes back in the answer and stands in the log.', text(255)),
  traceparent: header('traceparent', 'W3C Trace Context; carried into every event that the request causes.', {
    type: 'string',
    pattern: '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$',
  }),
  idempotencyKey: header('Idempotency-Key', 'A new one for each new operation; kept for 24 hours.', text(255)),
  idempotencyKeyRequired: header(
    'Idempotency-Key',
    'A new one for each new operation; kept for 24 hours.',
    text(255),
    true,
  ),
  ifMatch: header('If-Match', 'The ETag that was read: refuses the change if it is no longer the same.', text(1000)),
  ifNoneMatch: header('If-None-Match', 'The ETag that was read: answers 304 if it is still the same.', text(1000)),
  prefer: header('Prefer', '`respond-async`: the answer comes at once, as 202.', {
    type: 'string',
    examples: ['respond-async'],
  }),
};

const tags: Record<string, string> = {
  Catalog: 'What is for sale.',
  Inventory: 'How many of a SKU can be sold, and how many are held.',
  Orders: 'Placing orders, all or nothing, and what becomes of them.',
  Payments: 'Money of orders, by Stripe: one live payment an order, refunds within what was captured.',
  Shipping: 'Parcels of paid orders: labels and where they are.',
  'Group commerce': 'Campaigns that succeed once enough buyers have joined.',
  Events: 'What has happened, and what could not be delivered.',
  Operations: 'How the service is, and this description. No key is needed.',
};

const members = (schema: z.ZodType | undefined): Record<string, z.ZodType> =>
  schema !== undefined && 'shape' in schema ? (schema.shape as Record<string, z.ZodType>) : {};

/** What follows from an operation's place among the others. */
type Traits = {
  asynchronous: boolean;
  single: boolean;
  etagged: (status: Status) => boolean;
  located: (status: Status) => boolean;
  example: (status: Status) => unknown;
};

function traitsOf(routes: Route[]): (route: Route) => Traits {
  const isSingle = (route: Route) => route.method === 'get' && route.path.endsWith('}') && route.responses[200]?.schema;
  // A single resource is what some operation reads by its name; it has an ETag wherever it is answered.
  const resources = new Set(routes.filter(isSingle).map((route) => route.responses[200]?.schema));
  const read = new Set(routes.filter(isSingle).map((route) => route.path));
  const sampled = routes
    .flatMap((route) => Object.values(route.responses))
    .filter((answer) => answer.example !== undefined);
  const samples = new Map(sampled.map((answer) => [answer.schema, answer.example]));
  /** The declared example; a list has one of its members. */
  const exampleOf = (answer: (typeof sampled)[number] | undefined): unknown => {
    const { data } = members(answer?.schema);
    const one = data && 'element' in data ? samples.get(data.element as z.ZodType) : undefined;
    return answer?.example ?? (one === undefined ? undefined : { data: [one], nextCursor: null });
  };
  return (route) => ({
    asynchronous: route.responses[201] !== undefined && route.responses[202] !== undefined,
    single: Boolean(isSingle(route)),
    etagged: (status) =>
      resources.has(route.responses[status]?.schema) && route.responses[status]?.schema !== undefined,
    located: (status) => (status === 201 || status === 202) && read.has(`${route.path}/{id}`),
    example: (status) => exampleOf(route.responses[status]),
  });
}

function fieldParameters(schema: z.ZodType | undefined, where: 'path' | 'query', schemas: Schemas): object[] {
  if (!schema) return [];
  const { properties, required } = schemas.of(schema, 'input') as {
    properties: Record<string, Schema>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, { description: about, ...rest }]) => ({
    name,
    in: where,
    required: where === 'path' || (required?.includes(name) ?? false),
    ...(about === undefined ? {} : { description: about }),
    schema: rest,
  }));
}

function parametersOf(route: Route, traits: Traits, schemas: Schemas): object[] {
  const names: (keyof typeof parameters)[] = [];
  if (route.idempotency) names.push(route.idempotency === 'required' ? 'idempotencyKeyRequired' : 'idempotencyKey');
  if (route.ifMatch) names.push('ifMatch');
  if (traits.single) names.push('ifNoneMatch');
  if (traits.asynchronous) names.push('prefer');
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

// A schema beside a stream of events is taken for that of each event.
const isText = (type: string): boolean => type.startsWith('text/') && type !== 'text/event-stream';

function answersOf(route: Route, traits: Traits, schemas: Schemas): Record<string, object> {
  const answers: Record<string, object> = {};
  for (const [key, answer] of Object.entries(route.responses)) {
    const status = Number(key) as Status;
    const headers: HeaderName[] = ['X-Request-Id'];
    if (codesOf(route).includes('unavailable')) headers.push('Server-Timing');
    if (traits.etagged(status)) headers.push('ETag');
    if (traits.located(status)) headers.push('Location');
    if (members(answer.schema).nextCursor) headers.push('Link');
    if (traits.asynchronous && status === 202) headers.push('Preference-Applied');
    if (route.idempotency) headers.push('Idempotent-Replayed');
    const example = traits.example(status);
    const shown = example === undefined ? {} : { example };
    const content = answer.schema
      ? { 'application/json': { schema: schemas.of(answer.schema, 'output'), ...shown } }
      : answer.type && { [answer.type]: isText(answer.type) ? { schema: { type: 'string' } } : {} };
    answers[key] = {
      description: answer.description,
      headers: headersOf(...headers),
      ...(content ? { content } : {}),
    };
  }
  if (traits.single) {
    answers[304] = { description: 'Still the same (`If-None-Match`)', headers: headersOf('X-Request-Id', 'ETag') };
  }
  return { ...answers, ...refusalsOf(route) };
}

const securityOf = ({ scope, takesLiveToken }: Route): object[] =>
  scope === undefined ? [] : [{ bearer: [scope] }, ...(takesLiveToken ? [{ liveToken: [] }] : [])];

/**
 * The whole API as an OpenAPI 3.1 document, made from what its operations declare.
 * @throws Error, if two different schemas have one name
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
        responses: answersOf(route, traits(route), schemas),
      },
    });
  }
  const used = [...new Set(routes.map((route) => route.tag))];
  return {
    openapi: '3.1.0',
    info: { title: 'FusionCommerce', version, description },
    servers: [{ url: '/' }],
    tags: used.map((name) => ({ name, ...(tags[name] === undefined ? {} : { description: tags[name] }) })),
    paths,
    components: {
      schemas: { ...schemas.named, Problem: problemSchema },
      parameters,
      responses: sharedRefusals(),
      headers: answerHeaders,
      examples: problemExamples(),
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'A key of a tenant, `sk_…` or `pk_…`.' },
        liveToken: {
          type: 'apiKey',
          in: 'query',
          name: 'token',
          description: 'From `POST /v1/campaigns/{id}/live-token`.',
        },
      },
    },
  };
}
