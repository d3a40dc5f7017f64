import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { randomFrom, scriptOf, signWebhook } from '../../bench/load/recipes.ts';

const skus = Array.from({ length: 100 }, (_, index) => `sku-${index}`);

test('the same seed makes the same carts, and another seed makes other carts', () => {
  const bodiesOf = (seed: number) => {
    const script = scriptOf({ kind: 'order', skus, lines: 3, async: false }, seed)();
    return Array.from({ length: 20 }, () => script.next(0, '')?.body);
  };
  expect(bodiesOf(1)).toEqual(bodiesOf(1));
  expect(bodiesOf(1)).not.toEqual(bodiesOf(2));
});

test('no two orders of a run have the same Idempotency-Key, even if different clients send them', () => {
  const makeScript = scriptOf({ kind: 'order', skus, lines: 1, async: false }, 1);
  const keys = Array.from({ length: 200 }, () => makeScript().next(0, '')?.headers['idempotency-key']);
  expect(new Set(keys).size).toBe(200);
});

test('each line of an order has a different SKU', () => {
  const request = scriptOf({ kind: 'order', skus, lines: 25, async: true }, 3)().next(0, '');
  const { items } = JSON.parse(request?.body ?? '') as { items: { sku: string }[] };
  expect(new Set(items.map(({ sku }) => sku)).size).toBe(25);
  expect(request?.headers.prefer).toBe('respond-async');
});

test('no user joins twice', () => {
  const makeScript = scriptOf({ kind: 'join', campaigns: ['one'] }, 1);
  const bodies = Array.from({ length: 100 }, () => makeScript().next(0, '')?.body);
  expect(new Set(bodies).size).toBe(100);
});

test('each team gets one join for each free place, by different users, and none after the last', () => {
  const makeScript = scriptOf({ kind: 'team-join', teams: ['t1', 't2'], places: 2 }, 1);
  const sent = Array.from({ length: 5 }, () => makeScript().next(0, ''));
  const path = (team: string) => `/v1/teams/${team}/join`;
  expect(sent.map((request) => request?.path)).toEqual([path('t1'), path('t2'), path('t1'), path('t2'), undefined]);
  expect(new Set(sent.map((request) => request?.body)).size).toBe(5);
});

test('a client opens a team and fills it by its id and its code, with different users and keys', () => {
  const script = scriptOf({ kind: 'team-fill', campaign: 'c1' }, 1)();
  const body = '{"team":{"id":"t1","code":"code1"}}';
  const sent = Array.from({ length: script.steps }, (_, step) => script.next(step, body));
  expect(sent.map((request) => request?.path)).toEqual([
    ...['/v1/campaigns/c1/teams', '/v1/teams/t1/join', '/v1/teams/by-code/code1/join'],
  ]);
  expect(new Set(sent.map((request) => request?.body)).size).toBe(3);
  expect(new Set(sent.map((request) => request?.headers['idempotency-key'])).size).toBe(3);
  expect(script.countsSteps).toBe(true);
});

test('one webhook is sent for each payment, and none after the last', () => {
  const payments = [1, 2].map((n) => ({ paymentId: `p${n}`, intentId: `pi_${n}` }));
  const makeScript = scriptOf({ kind: 'webhook', payments, amount: 1_000, secret: 's' }, 1);
  const sent = [0, 1, 2].map(() => makeScript().next(0, '')?.body);
  expect(sent.map((body) => (body === undefined ? undefined : JSON.parse(body).data.object.id))).toEqual([
    ...['pi_1', 'pi_2', undefined],
  ]);
});

test("a webhook has Stripe's signature of its time and body", () => {
  const mac = createHmac('sha256', 'whsec').update('1700000000.{}').digest('hex');
  expect(signWebhook('{}', 'whsec', 1_700_000_000)['stripe-signature']).toBe(`t=1700000000,v1=${mac}`);
});

test('a checkout pays the order that was just placed, with its amount in cents', () => {
  const script = scriptOf({ kind: 'checkout', skus, secret: 's' }, 1)();
  const order = script.next(0, '');
  expect([order?.path, JSON.parse(order?.body ?? '').expand]).toEqual(['/v1/orders', ['payment']]);
  const placed = '{"id":"o1","payment":{"id":"p1","stripePaymentIntentId":"pi_1","amount":19.99}}';
  const paid = JSON.parse(script.next(1, placed)?.body ?? '');
  expect(paid.data.object).toMatchObject({ id: 'pi_1', amount_received: 1_999, metadata: { paymentId: 'p1' } });
});

test('random numbers lie between 0 and 1 and differ', () => {
  const random = randomFrom(7);
  const numbers = Array.from({ length: 1_000 }, random);
  expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...numbers)).toBeLessThan(1);
  expect(new Set(numbers).size).toBeGreaterThan(990);
});
