import { request as open } from 'node:http';
import fc from 'fast-check';
import { workerRoutes as routes } from '../../dev/openapi/routes.ts';
import { toCursor } from '../../src/http/cursor.ts';
import type { Valid } from './requests.ts';
import { anyBody, headerName, headerValue, json, parameter, segment } from './values.ts';

/** A request made from a valid one by changing one part of it. It is sent byte for byte. */
export type FuzzedRequest = {
  /** The part that was changed, such as `path` or `headers`. A change of the body is described in full. */
  change: string;
  method: string;
  path: string;
  headers: Record<string, string>;
  body: Uint8Array | undefined;
};

/** A response. The status is 0 if the server closed the connection before the response was read. */
export type RawResponse = { status: number; headers: Record<string, string | string[] | undefined>; text: string };

/** The path of every value inside a JSON value. The first path is empty: the whole value. */
function valuePathsOf(value: unknown, path: string[] = []): string[][] {
  const members = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  return [path, ...members.flatMap(([name, inner]) => valuePathsOf(inner, [...path, name]))];
}

/** The ways to change one value of a valid body. `text` is JSON. */
const valueChanges = {
  'replaced by': (text: string) => text,
  'in an array with': (text: string, valid: string) => `[${valid},${text}]`,
  'in an object with': (text: string, valid: string) => `{"value":${valid},"__proto__":${text}}`,
} as const;
/** The ways to change a member of an object of a valid body. */
const memberChanges = ['left out', 'named twice, then', 'beside an unknown'] as const;
type BodyChange = keyof typeof valueChanges | (typeof memberChanges)[number];

const samePath = (one: string[], other: string[]): boolean =>
  one.length === other.length && one.every((name, index) => name === other[index]);

/** The value as JSON, with the change at the path `target`. `path` is the path of `value`. */
function render(value: unknown, target: string[], change: BodyChange, text: string, path: string[] = []): string {
  const isTarget = samePath(path, target);
  if (isTarget && change in valueChanges) {
    return valueChanges[change as keyof typeof valueChanges](text, JSON.stringify(value));
  }
  if (Array.isArray(value)) {
    return `[${value.map((item, index) => render(item, target, change, text, [...path, String(index)])).join(',')}]`;
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).flatMap(([name, inner]) => {
    const memberPath = [...path, name];
    const isChanged = samePath(memberPath, target);
    if (isChanged && change === 'left out') return [];
    const member = `${JSON.stringify(name)}:${render(inner, target, change, text, memberPath)}`;
    return isChanged && change === 'named twice, then' ? [member, `${JSON.stringify(name)}:${text}`] : [member];
  });
  if (isTarget && change === 'beside an unknown') members.push(`"__proto__":${text}`, `"x":${text}`);
  return `{${members.join(',')}}`;
}

/** JSON strings and names that Postgres cannot store. */
export const unstorable = ['"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"x\\udc00"', '{"\\u0000":"x"}'];

/** The value as JSON texts, one for each path and unstorable text. The text replaces the value at that path. */
export const withUnstorableText = (value: unknown): string[] =>
  valuePathsOf(value).flatMap((target) => unstorable.map((text) => render(value, target, 'replaced by', text)));

const bodyChanges = [...Object.keys(valueChanges), ...memberChanges] as BodyChange[];

/** The value as a JSON text with a change at one path. */
const changedJson = (value: unknown): fc.Arbitrary<string> =>
  fc
    .record({ target: fc.constantFrom(...valuePathsOf(value)), change: fc.constantFrom(...bodyChanges), text: json })
    .map(({ target, change, text }) => render(value, target, change, text));

/** Positions for forged cursors. A cursor's checksum has no key, so anyone can make a valid one. */
const position = fc.oneof(
  fc.constantFrom(
    ...[
      '',
      'x',
      'NaN',
      '-1',
      '1.5',
      '1e3',
      '0x10',
      ' 1',
      'Infinity',
      '0',
      '9'.repeat(15),
      '9'.repeat(16),
      '9'.repeat(400),
    ],
    ...['a\0b', '\0', '[]', 'null', "' or 1=1; --", 'x'.repeat(300), '2026-01-01T00:00:00.000Z', '\u202e', '..'],
    ...['019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f', '019AB3F1-0A4B-7C3D-8E5F-6A7B8C9D0E1F', '{}', '1\n', '١٢'],
  ),
  fc.string({ unit: 'binary', maxLength: 40 }).map((text) => text.toWellFormed()),
  fc.nat().map(String),
);

/** A cursor for the right list, with a valid checksum and any position. */
const forgedCursor = (base: FuzzedRequest): fc.Arbitrary<FuzzedRequest> =>
  position.map((text) => ({
    ...base,
    change: `cursor of ${JSON.stringify(text)}`,
    path: `${base.path}?cursor=${toCursor(`${base.path}?`, text)}`,
  }));

/** The value of a JSON body. Undefined for a body that is not JSON, such as an image. */
export function readJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** Changes one part of a valid request: path, query, headers, method or body. `sign` adds the sender's signature. */
export function fuzzedRequests(
  valid: Valid,
  key: string,
  sign?: (body: string) => Record<string, string>,
): fc.Arbitrary<FuzzedRequest> {
  const bytes =
    valid.body === undefined
      ? undefined
      : Buffer.from(typeof valid.body === 'string' ? valid.body : JSON.stringify(valid.body));
  const base: FuzzedRequest = {
    change: '',
    method: valid.method,
    path: valid.path,
    headers: { ...valid.headers, ...(valid.route.scope === undefined ? {} : { authorization: `Bearer ${key}` }) },
    body: bytes,
  };
  const headersFor = (body: string) => (sign ? { ...base.headers, ...sign(body) } : base.headers);
  const parts: fc.WeightedArbitrary<FuzzedRequest>[] = [];

  const path = fc
    .tuple(fc.nat(valid.path.split('/').length), fc.array(segment, { minLength: 1, maxLength: 2 }), fc.boolean())
    .map(([index, inserted, replaceOne]) => {
      const segments = valid.path.split('/');
      segments.splice(Math.max(index, 1), replaceOne ? 1 : 0, ...inserted);
      return { ...base, change: 'path', path: segments.join('/') };
    });
  parts.push({ arbitrary: path, weight: 3 });

  const known = valid.route.query && 'shape' in valid.route.query ? Object.keys(valid.route.query.shape as object) : [];
  const declared = new Set(known);
  if (declared.has('cursor')) parts.push({ arbitrary: forgedCursor(base), weight: 6 });
  const pair = fc
    .tuple(fc.constantFrom(...known, 'limit', 'cursor', 'tenant', '__proto__', '%00', ''), parameter)
    .map(([name, value]) => `${name}=${value}`);
  const query = fc
    .array(pair, { minLength: 1, maxLength: 3 })
    .map((pairs) => ({ ...base, change: 'query', path: `${valid.path}?${pairs.join('&')}` }));
  parts.push({ arbitrary: query, weight: known.length > 0 ? 5 : 1 });

  const headers = fc
    .uniqueArray(fc.tuple(headerName, headerValue), { minLength: 1, maxLength: 3, selector: ([name]) => name })
    .map((added) => {
      const addedNames = new Set(added.map(([name]) => name.toLowerCase()));
      const kept = Object.entries(base.headers).filter(([name]) => !addedNames.has(name.toLowerCase()));
      return { ...base, change: 'headers', headers: { ...Object.fromEntries(kept), ...Object.fromEntries(added) } };
    });
  parts.push({ arbitrary: headers, weight: 3 });

  // Leave out the methods that the path declares: they are other operations, with tests of their own.
  const declaredMethods = routes
    .filter((each) => each.path === valid.route.path)
    .map((each) => each.method.toUpperCase());
  const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND', 'REPORT'].filter(
    (method) => !declaredMethods.includes(method),
  );
  parts.push({
    arbitrary: fc.constantFrom(...methods).map((method) => ({ ...base, change: 'method', method })),
    weight: 1,
  });

  if (bytes) {
    const replaced = anyBody.map(({ description, bytes }) => ({
      ...base,
      change: `body: ${description}`,
      body: bytes,
      headers: headersFor(Buffer.from(bytes).toString()),
    }));
    parts.push({ arbitrary: replaced, weight: 4 });
    const value = readJson(bytes.toString());
    if (value !== undefined) {
      const changed = changedJson(value).map((body) => ({
        ...base,
        change: `value: ${body.slice(0, 400)}`,
        body: Buffer.from(body),
        headers: headersFor(body),
      }));
      parts.push({ arbitrary: changed, weight: 12 });
    }
  } else {
    const unexpected = anyBody.map(({ description, bytes }) => ({
      ...base,
      change: `unexpected body: ${description}`,
      body: bytes,
    }));
    if (base.method !== 'GET') parts.push({ arbitrary: unexpected, weight: 1 });
  }
  return fc.oneof(...parts);
}

/** Whether the server closed the connection, because it rejected a long body that was still being sent. */
const isConnectionClosed = (error: unknown): boolean =>
  ['EPIPE', 'ECONNRESET'].includes(String(Reflect.get(Object(error), 'code')));

/**
 * Sends a request, and retries it if it has a long body and the connection closes before the response was read. After
 * ten such tries the status is 0.
 */
export async function sendRaw(url: string, request: FuzzedRequest): Promise<RawResponse> {
  for (let tries = 1; ; tries++) {
    try {
      return await sendRawOnce(url, request);
    } catch (error) {
      if (!isConnectionClosed(error) || (request.body?.byteLength ?? 0) < 65_536) throw error;
      if (tries === 10) return { status: 0, headers: {}, text: '' };
    }
  }
}

/** Sends a request byte for byte, with unchanged path and headers. Reads the response, unless it is an event stream. */
function sendRawOnce(url: string, { method, path, headers, body }: FuzzedRequest): Promise<RawResponse> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    let responded = false;
    const request = open({ hostname, port, method, path, headers, agent: false }, (response) => {
      responded = true;
      const chunks: Buffer[] = [];
      const done = () => {
        const text = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
        request.destroy();
      };
      if (response.headers['content-type']?.includes('event-stream')) done();
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', done);
      response.on('error', done);
    });
    // The server may respond to a body that is too long, and close the connection, before all of it was sent.
    request.on('error', (error) => {
      if (!responded) reject(error);
    });
    if (body) request.setHeader('content-length', body.byteLength);
    request.end(body);
  });
}
