import { request as open } from 'node:http';
import fc from 'fast-check';
import { routes } from '../../dev/openapi/routes.ts';
import { toCursor } from '../../src/http/cursor.ts';
import type { Valid } from './requests.ts';
import { anyBody, headerName, headerValue, json, parameter, segment } from './values.ts';

/** One invalid request, byte for byte, and a description of what is wrong with it. */
export type Shot = {
  what: string;
  method: string;
  path: string;
  headers: Record<string, string>;
  body: Uint8Array | undefined;
};

export type Hit = { status: number; headers: Record<string, string | string[] | undefined>; text: string };

/** The path of every value inside a JSON value. The first path is empty: the whole value. */
function placesOf(value: unknown, at: string[] = []): string[][] {
  const inner = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  return [at, ...inner.flatMap(([step, of]) => placesOf(of, [...at, step]))];
}

/** The ways to spoil one value of a valid body. `text` is JSON. */
const spoilings = {
  'replaced by': (text: string) => text,
  'in an array with': (text: string, valid: string) => `[${valid},${text}]`,
  'in an object with': (text: string, valid: string) => `{"value":${valid},"__proto__":${text}}`,
} as const;
const memberSpoilings = ['left out', 'named twice, then', 'beside an unknown'] as const;
type Spoiling = keyof typeof spoilings | (typeof memberSpoilings)[number];

function render(value: unknown, place: string[], how: Spoiling, text: string, at: string[] = []): string {
  const here = at.length === place.length && at.every((step, n) => step === place[n]);
  if (here && how in spoilings) return spoilings[how as keyof typeof spoilings](text, JSON.stringify(value));
  if (Array.isArray(value)) {
    return `[${value.map((item, n) => render(item, place, how, text, [...at, String(n)])).join(',')}]`;
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).flatMap(([name, of]) => {
    const step = [...at, name];
    const spoilt = step.length === place.length && step.every((part, n) => part === place[n]);
    if (spoilt && how === 'left out') return [];
    const member = `${JSON.stringify(name)}:${render(of, place, how, text, step)}`;
    return spoilt && how === 'named twice, then' ? [member, `${JSON.stringify(name)}:${text}`] : [member];
  });
  if (here && how === 'beside an unknown') members.push(`"__proto__":${text}`, `"x":${text}`);
  return `{${members.join(',')}}`;
}

/** JSON strings and names that Postgres cannot store. */
export const unstorable = ['"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"x\\udc00"', '{"\\u0000":"x"}'];

/** The value as JSON texts. In each, one value at one path is replaced by one of the unstorable texts. */
export const unstorableAt = (value: unknown): string[] =>
  placesOf(value).flatMap((place) => unstorable.map((text) => render(value, place, 'replaced by', text)));

const ways = [...Object.keys(spoilings), ...memberSpoilings] as Spoiling[];

/** The value as a JSON text in which one path is spoilt. */
const spoiltJson = (value: unknown): fc.Arbitrary<string> =>
  fc
    .record({ place: fc.constantFrom(...placesOf(value)), how: fc.constantFrom(...ways), text: json })
    .map(({ place, how, text }) => render(value, place, how, text));

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
const forgedCursor = (base: Shot): fc.Arbitrary<Shot> =>
  position.map((text) => ({
    ...base,
    what: `cursor of ${JSON.stringify(text)}`,
    path: `${base.path}?cursor=${toCursor(`${base.path}?`, text)}`,
  }));

/** Spoils one part of a valid request: path, query, headers, method or body. `sign` adds the sender's signature. */
export function shotsAt(
  valid: Valid,
  key: string,
  sign?: (body: string) => Record<string, string>,
): fc.Arbitrary<Shot> {
  const bytes =
    valid.body === undefined
      ? undefined
      : Buffer.from(typeof valid.body === 'string' ? valid.body : JSON.stringify(valid.body));
  const base: Shot = {
    what: '',
    method: valid.method,
    path: valid.path,
    headers: { ...valid.headers, ...(valid.route.scope === undefined ? {} : { authorization: `Bearer ${key}` }) },
    body: bytes,
  };
  const headersFor = (body: string) => (sign ? { ...base.headers, ...sign(body) } : base.headers);
  const parts: fc.WeightedArbitrary<Shot>[] = [];

  const path = fc
    .tuple(fc.nat(valid.path.split('/').length), fc.array(segment, { minLength: 1, maxLength: 2 }), fc.boolean())
    .map(([at, segments, instead]) => {
      const steps = valid.path.split('/');
      steps.splice(Math.max(at, 1), instead ? 1 : 0, ...segments);
      return { ...base, what: 'path', path: steps.join('/') };
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
    .map((pairs) => ({ ...base, what: 'query', path: `${valid.path}?${pairs.join('&')}` }));
  parts.push({ arbitrary: query, weight: known.length > 0 ? 5 : 1 });

  const headers = fc
    .uniqueArray(fc.tuple(headerName, headerValue), { minLength: 1, maxLength: 3, selector: ([name]) => name })
    .map((some) => {
      const own = new Set(some.map(([name]) => name.toLowerCase()));
      const kept = Object.entries(base.headers).filter(([name]) => !own.has(name.toLowerCase()));
      return { ...base, what: 'headers', headers: { ...Object.fromEntries(kept), ...Object.fromEntries(some) } };
    });
  parts.push({ arbitrary: headers, weight: 3 });

  // Leave out the methods that the path declares: they are other operations, with tests of their own.
  const others = routes.filter((each) => each.path === valid.route.path).map((each) => each.method.toUpperCase());
  const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND', 'REPORT'].filter(
    (one) => !others.includes(one),
  );
  parts.push({
    arbitrary: fc.constantFrom(...methods).map((method) => ({ ...base, what: 'method', method })),
    weight: 1,
  });

  if (bytes) {
    const whole = anyBody.map((one) => ({
      ...base,
      what: `body: ${one.what}`,
      body: one.bytes,
      headers: headersFor(Buffer.from(one.bytes).toString()),
    }));
    parts.push({ arbitrary: whole, weight: 4 });
    const spoilt = spoiltJson(JSON.parse(bytes.toString())).map((body) => ({
      ...base,
      what: `place: ${body.slice(0, 400)}`,
      body: Buffer.from(body),
      headers: headersFor(body),
    }));
    parts.push({ arbitrary: spoilt, weight: 12 });
  } else {
    const unasked = anyBody.map((one) => ({ ...base, what: `unasked body: ${one.what}`, body: one.bytes }));
    if (base.method !== 'GET') parts.push({ arbitrary: unasked, weight: 1 });
  }
  return fc.oneof(...parts);
}

/** Whether the server closed the connection, because it rejected a long body that was still being sent. */
const cutOff = (error: unknown): boolean =>
  ['EPIPE', 'ECONNRESET'].includes(String(Reflect.get(Object(error), 'code')));

/**
 * Sends a shot, and retries it when the connection of a long body closes before the response was read. After ten such
 * tries the status is 0.
 */
export async function fire(url: string, shot: Shot): Promise<Hit> {
  for (let tries = 1; ; tries++) {
    try {
      return await fireOnce(url, shot);
    } catch (error) {
      if (!cutOff(error) || (shot.body?.byteLength ?? 0) < 65_536) throw error;
      if (tries === 10) return { status: 0, headers: {}, text: '' };
    }
  }
}

/** Sends a shot byte for byte, with unchanged path and headers. Reads the response, unless it is an event stream. */
function fireOnce(url: string, { method, path, headers, body }: Shot): Promise<Hit> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    let answered = false;
    const request = open({ hostname, port, method, path, headers, agent: false }, (response) => {
      answered = true;
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
    // The server may respond and close the connection before the whole of a body that is too long was sent.
    request.on('error', (error) => {
      if (!answered) reject(error);
    });
    if (body) request.setHeader('content-length', body.byteLength);
    request.end(body);
  });
}
