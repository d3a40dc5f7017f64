import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { codesOf } from '../../dev/openapi/codes.ts';
import { workerRoutes as routes } from '../../dev/openapi/routes.ts';
import { isCode, statusOf } from '../../src/base/errors.ts';
import type { Route } from '../../src/http/declaration.ts';
import { type Store, startStore } from '../support/harness.ts';
import {
  type CarrierName,
  carriers,
  checksum,
  createFixture,
  type Fixture,
  settled,
  signed,
  validRequest,
  variables,
} from './requests.ts';
import {
  type FuzzedRequest,
  fuzzedRequests,
  type RawResponse,
  readJson,
  sendRaw,
  withUnstorableText,
} from './shots.ts';

/** The number of requests for each operation, and the random seed: `ABUSE_RUNS=1000 ABUSE_SEED=7 npm test`. */
const numRuns = Number(process.env.ABUSE_RUNS ?? 25);
const seed = Number(process.env.ABUSE_SEED ?? 20261122);

let store: Store;
let fixture: Fixture;
let key: string;
beforeAll(async () => {
  store = await startStore({ variables });
  fixture = await createFixture(store);
  key = store.key;
});
afterAll(() => store.close());

/** Describes what is wrong with a response: a 5xx, or an error that is not a problem document with a declared code. */
function faultOf(route: Route, request: FuzzedRequest, { status, headers, text }: RawResponse): string | undefined {
  const response = `${route.id}: ${status} ${text.slice(0, 300)}`;
  if (status === 0) return undefined;
  if (status >= 500) return `failed: ${response}`;
  // The path `/` redirects to the documentation.
  if (status === 302 && request.change === 'path' && headers.location === '/docs') return undefined;
  if (status < 400) return status < 200 || (status >= 300 && status !== 304) ? `odd status: ${response}` : undefined;
  if (headers['content-type'] !== 'application/problem+json') return `no problem document: ${response}`;
  const problem: { code?: unknown; status?: number; requestId?: string; detail?: unknown } = JSON.parse(text);
  if (!isCode(problem.code) || statusOf[problem.code] !== status || problem.status !== status)
    return `code: ${response}`;
  if (problem.requestId !== headers['x-request-id'] || typeof problem.detail !== 'string')
    return `members: ${response}`;
  // A changed path or method may address another operation, or none.
  const anyOperation = request.change === 'path' || request.change === 'method';
  const routingErrors = ['not_found', 'method_not_allowed'];
  const declared = anyOperation ? [...routingErrors, ...routes.flatMap((each) => codesOf(each))] : codesOf(route);
  return declared.includes(problem.code) ? undefined : `undeclared: ${response}`;
}

/** Whether an error leaves a stored row, as documented: an order without stock is stored as failed. */
const storesError = (route: Route, text: string) =>
  route.id === 'placeOrder' && text.includes('insufficient_inventory');

/** Every operation. The carriers' webhook occurs once for each carrier. */
const targets = routes.flatMap((route): [string, Route, CarrierName][] =>
  route.path.includes('{carrier}')
    ? carriers.map((carrier) => [`${route.id} (${carrier})`, route, carrier])
    : [[route.id, route, 'manual']],
);

/** Its own, so that a new operation does not change the requests to the others. */
const seedOf = (name: string): number => [...name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), seed) | 0;

const isSigned = (route: Route): boolean => route.scope === undefined && route.stream !== undefined;

describe('an invalid request', () => {
  test.each(targets)(
    'to %s gets a documented error and changes no row, or succeeds',
    async (name, route, carrier) => {
      const { id } = route;
      const counts = { rejected: 0, accepted: 0 };
      const valid = validRequest(store, route, fixture, carrier);
      const sign = isSigned(route) ? (body: string) => signed(store, id, body, carrier).headers : undefined;
      let before = await checksum(store);
      await fc.assert(
        fc.asyncProperty(fuzzedRequests(valid, key, sign), async (request) => {
          for (let tries = 1; ; tries++) {
            const newKey = 'idempotency-key' in request.headers ? { 'idempotency-key': randomUUID() } : {};
            const response = await sendRaw(store.url, { ...request, headers: { ...request.headers, ...newKey } });
            expect(faultOf(route, request, response)).toBeUndefined();
            const { status, text } = response;
            const rejected = (status === 0 || status >= 400) && !storesError(route, text);
            counts[rejected ? 'rejected' : 'accepted']++;
            const after = await checksum(store);
            if (after === before) return;
            // Background work of an earlier request may have changed the rows. Wait until it is done, and retry.
            if (rejected && tries === 3) expect(after).toBe(before);
            await settled(store);
            before = await checksum(store);
            if (!rejected) return;
          }
        }),
        { seed: seedOf(name), numRuns },
      );
      expect(counts.rejected).toBeGreaterThan(numRuns / 20);
    },
    240_000,
  );

  test.each(targets)(
    'to %s never gets a 5xx for a string that Postgres cannot store, in any field, path or query parameter',
    async (_, route, carrier) => {
      const valid = validRequest(store, route, fixture, carrier);
      const authorization = route.scope === undefined ? {} : { authorization: `Bearer ${store.key}` };
      const requests: FuzzedRequest[] = [];
      const addRequest = (change: string, path: string, body?: string) => {
        const signature = isSigned(route) && body !== undefined ? signed(store, route.id, body, carrier).headers : {};
        const newKey = route.idempotency ? { 'idempotency-key': randomUUID() } : {};
        const headers = { ...valid.headers, ...authorization, ...signature, ...newKey };
        const bytes = body === undefined ? undefined : Buffer.from(body);
        requests.push({ change, method: valid.method, path, headers, body: bytes });
      };
      const value = typeof valid.body === 'string' ? readJson(valid.body) : valid.body;
      if (value !== undefined) {
        for (const body of withUnstorableText(value)) addRequest(`value: ${body}`, valid.path, body);
      }
      const isRaw = value === undefined && typeof valid.body === 'string';
      const text = isRaw ? String(valid.body) : value === undefined ? undefined : JSON.stringify(value);
      const names = route.query && 'shape' in route.query ? Object.keys(route.query.shape as object) : [];
      for (const bad of ['%00', 'a%00b', '%ED%A0%80', '%ff', '%C2%85']) {
        for (const name of names) addRequest('query', `${valid.path}?${name}=${bad}`, text);
        for (const [index, segment] of route.path.split('/').entries()) {
          if (!segment.startsWith('{')) continue;
          addRequest('path', valid.path.split('/').with(index, bad).join('/'), text);
        }
      }
      for (const request of requests) {
        expect(faultOf(route, request, await sendRaw(store.url, request))).toBeUndefined();
      }
    },
    120_000,
  );

  test('never makes the store unavailable or its rows unreadable', async () => {
    expect((await store.send('GET', '/healthz')).status).toBe(200);
    // It may be degraded, because an invalid event has become a dead letter.
    expect((await store.send('GET', '/readyz')).status).toBe(200);
    expect((await store.send('GET', `/v1/products/${fixture.product.id}`)).status).toBe(200);
    // Every invalid value was rejected by a schema. None reached the database to be rejected there.
    expect(store.logs().filter((line) => line.outcome === 'internal' || 'gap' in line)).toEqual([]);
  });
});

test('an import reports field names with characters that Postgres cannot store, and replays that report', async () => {
  const lines = ['{"\\u0000":0}', '{"\\ud800":0}', `{"${'😀'.repeat(300)}":0}`];
  const body = lines.join('\n');
  const headers = { 'content-type': 'application/x-ndjson' };
  const reply = await store.send('POST', '/v1/products/import', body, { headers, idempotencyKey: 'names' });
  const codes = reply.body.rejected.map((line: { code: string }) => line.code);
  expect([reply.status, codes]).toEqual([200, lines.map(() => 'validation_failed')]);
  const again = await store.send('POST', '/v1/products/import', body, { headers, idempotencyKey: 'names' });
  expect(again.body).toEqual(reply.body);
});

test('faultOf detects every kind of response that the API description does not allow', () => {
  const [route] = routes.filter((each) => each.id === 'getOrder');
  if (!route) throw new Error('getOrder is gone');
  const request: FuzzedRequest = {
    change: 'headers',
    method: 'GET',
    path: '/v1/orders/x',
    headers: {},
    body: undefined,
  };
  const problem = { status: 404, code: 'not_found', detail: 'd', requestId: 'r' };
  const response = (status: number, body: object, type = 'application/problem+json'): RawResponse => ({
    ...{ status, text: JSON.stringify(body) },
    headers: { 'content-type': type, 'x-request-id': 'r' },
  });
  expect(faultOf(route, request, response(404, problem))).toBeUndefined();
  expect(faultOf(route, request, response(200, {}, 'application/json'))).toBeUndefined();
  expect(faultOf(route, request, response(500, { ...problem, status: 500, code: 'internal' }))).toMatch(/^failed/);
  expect(faultOf(route, request, response(404, problem, 'application/json'))).toMatch(/^no problem document/);
  expect(faultOf(route, request, response(404, { ...problem, code: 'conflict' }))).toMatch(/^code/);
  expect(faultOf(route, request, response(404, { ...problem, requestId: 'other' }))).toMatch(/^members/);
  const full = { ...problem, status: 409, code: 'campaign_full' };
  expect(faultOf(route, request, response(409, full))).toMatch(/^undeclared/);
  expect(faultOf(route, { ...request, change: 'path' }, response(409, full))).toBeUndefined();
  expect(faultOf(route, request, response(302, {}))).toMatch(/^odd status/);
});
