import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isCode, statusOf } from '../src/errors.ts';
import { codesOf } from '../src/openapi-codes.ts';
import { routes } from '../src/routes/all.ts';
import type { Route } from '../src/routes/route.ts';
import { checksum, furnish, settled, signed, type Things, validRequest, variables } from './abuse-requests.ts';
import { fire, type Hit, type Shot, shotsAt } from './abuse-shots.ts';
import { type Store, startStore } from './harness.ts';

/** How many requests each operation gets, and where their sequence starts: `ABUSE_RUNS=1000 ABUSE_SEED=7 npm test`. */
const numRuns = Number(process.env.ABUSE_RUNS ?? 25);
const seed = Number(process.env.ABUSE_SEED ?? 20261122);

let store: Store;
let things: Things;
let key: string;
beforeAll(async () => {
  store = await startStore({ variables });
  things = await furnish(store);
  key = store.key;
});
afterAll(() => store.close());

/** What is wrong with an answer, if anything: a 5xx, or a refusal that is no problem document of a declared code. */
function faultOf(route: Route, shot: Shot, { status, headers, text }: Hit): string | undefined {
  const at = `${route.id}: ${status} ${text.slice(0, 300)}`;
  if (status >= 500) return `failed: ${at}`;
  if (status < 400) return status < 200 || (status >= 300 && status !== 304) ? `odd status: ${at}` : undefined;
  if (headers['content-type'] !== 'application/problem+json') return `no problem document: ${at}`;
  const problem: { code?: unknown; status?: number; requestId?: string; detail?: unknown } = JSON.parse(text);
  if (!isCode(problem.code) || statusOf[problem.code] !== status || problem.status !== status) return `code: ${at}`;
  if (problem.requestId !== headers['x-request-id'] || typeof problem.detail !== 'string') return `members: ${at}`;
  // Another path or method is another operation, or none.
  const elsewhere = shot.what === 'path' || shot.what === 'method';
  const declared = elsewhere ? routes.flatMap((each) => [...codesOf(each), 'not_found']) : codesOf(route);
  return declared.includes(problem.code) ? undefined : `undeclared: ${at}`;
}

/** A refusal that keeps what it refuses, as the contract has it. */
const keeps = (route: Route, text: string) => route.id === 'placeOrder' && text.includes('insufficient_inventory');

describe('whatever is sent to', () => {
  test.each(routes.map((route) => [route.id, route] as const))(
    '%s, it is refused by the book or done',
    async (id, route) => {
      const counts = { refused: 0, taken: 0 };
      const valid = validRequest(store, route, things);
      const sign =
        route.scope === undefined && route.stream ? (body: string) => signed(store, id, body).headers : undefined;
      let before = await checksum(store);
      await fc.assert(
        fc.asyncProperty(shotsAt(valid, key, sign), async (shot) => {
          for (let tries = 1; ; tries++) {
            const once = 'idempotency-key' in shot.headers ? { 'idempotency-key': randomUUID() } : {};
            const hit = await fire(store.url, { ...shot, headers: { ...shot.headers, ...once } });
            expect(faultOf(route, shot, hit)).toBeUndefined();
            const refused = hit.status >= 400 && !keeps(route, hit.text);
            counts[refused ? 'refused' : 'taken']++;
            const after = await checksum(store);
            if (after === before) return;
            // What a request before this one has set going may have moved it: once all rests, this one is asked again.
            if (refused && tries === 3) expect(after).toBe(before);
            await settled(store);
            before = await checksum(store);
            if (!refused) return;
          }
        }),
        { seed: seed + routes.indexOf(route), numRuns },
      );
      expect(counts.refused).toBeGreaterThan(numRuns / 10);
    },
    240_000,
  );

  test('all of it, the store lives on and knows its things', async () => {
    expect((await store.send('GET', '/healthz')).status).toBe(200);
    // It may be degraded: what was no event has become a dead letter.
    expect((await store.send('GET', '/readyz')).status).toBe(200);
    expect((await store.send('GET', `/v1/products/${things.product.id}`)).status).toBe(200);
    expect(store.logs().filter((line) => line.outcome === 'internal')).toEqual([]);
  });
});

test('an import’s report names what is no text in a form that can be kept', async () => {
  const lines = ['{"\\u0000":0}', '{"\\ud800":0}', `{"${'😀'.repeat(300)}":0}`];
  const body = lines.join('\n');
  const headers = { 'content-type': 'application/x-ndjson' };
  const reply = await store.send('POST', '/v1/products/import', body, { headers, idempotencyKey: 'names' });
  const codes = reply.body.rejected.map((line: { code: string }) => line.code);
  expect([reply.status, codes]).toEqual([200, lines.map(() => 'validation_failed')]);
  const again = await store.send('POST', '/v1/products/import', body, { headers, idempotencyKey: 'names' });
  expect(again.body).toEqual(reply.body);
});

test('an answer that breaks the book is found', () => {
  const [route] = routes.filter((each) => each.id === 'getOrder');
  if (!route) throw new Error('getOrder is gone');
  const shot: Shot = { what: 'headers', method: 'GET', path: '/v1/orders/x', headers: {}, body: undefined };
  const problem = { status: 404, code: 'not_found', detail: 'd', requestId: 'r' };
  const hit = (status: number, body: object, type = 'application/problem+json'): Hit => ({
    ...{ status, text: JSON.stringify(body) },
    headers: { 'content-type': type, 'x-request-id': 'r' },
  });
  expect(faultOf(route, shot, hit(404, problem))).toBeUndefined();
  expect(faultOf(route, shot, hit(200, {}, 'application/json'))).toBeUndefined();
  expect(faultOf(route, shot, hit(500, { ...problem, status: 500, code: 'internal' }))).toMatch(/^failed/);
  expect(faultOf(route, shot, hit(404, problem, 'application/json'))).toMatch(/^no problem document/);
  expect(faultOf(route, shot, hit(404, { ...problem, code: 'conflict' }))).toMatch(/^code/);
  expect(faultOf(route, shot, hit(404, { ...problem, requestId: 'other' }))).toMatch(/^members/);
  const full = { ...problem, status: 409, code: 'campaign_full' };
  expect(faultOf(route, shot, hit(409, full))).toMatch(/^undeclared/);
  expect(faultOf(route, { ...shot, what: 'path' }, hit(409, full))).toBeUndefined();
  expect(faultOf(route, shot, hit(302, {}))).toMatch(/^odd status/);
});
