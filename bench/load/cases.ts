import { setTimeout as sleep } from 'node:timers/promises';
import { fillQueue, resumeQueue } from './backlog.ts';
import { amountOf, type Bench, type Case, type Turn } from './case.ts';
import { teamCases } from './cases-teams.ts';
import type { Loaded, Recipe } from './job.ts';
import { paymentCents, type Shop, seedOutbox, seedPayments } from './seed.ts';

export const relayedEvents = 20_000;
const decidedHolds = 20_000;

const bearer = (key: string): Record<string, string> => ({ authorization: `Bearer ${key}` });

const send = (bench: Bench, turn: Turn, recipe: Recipe, key = bench.fixture.secretKey): Promise<Loaded> =>
  bench.load.run({ ...turn, url: bench.fixture.api, headers: bearer(key), recipe });

const sendToBareWorker = (bench: Bench, turn: Turn, method: 'GET' | 'POST', path: string): Promise<Loaded> =>
  bench.load.run({
    ...turn,
    url: bench.fixture.workers.bare ?? '',
    headers: {},
    recipe: { kind: 'same', method, path },
  });

const runPreparedStatement = (bench: Bench, turn: Turn, hot: boolean, rate?: number): Promise<Loaded> => {
  const seconds = 'seconds' in turn.for ? turn.for.seconds : 1;
  const { clients, seed } = turn;
  return bench.limit.run({ url: bench.fixture.adminUrl, clients, seconds, hot, seed, rate });
};

/** Waits until the query returns `done`. Resolves with the seconds since `began`. */
async function secondsUntil(bench: Bench, began: number, query: string): Promise<number> {
  for (;;) {
    const { rows } = await bench.fixture.pool.query<{ done: boolean }>(query);
    if (rows[0]?.done) return (performance.now() - began) / 1000;
    await sleep(10);
  }
}

/** The figures of work that no client waits for. */
const workDone = (amount: number, seconds: number): Loaded => ({
  ...{ p50: Number.NaN, p95: Number.NaN, p99: Number.NaN },
  ...{ requests: amount, begun: amount, failed: 0, seconds, statuses: {}, firstFailure: undefined },
});

const nothingPending = `select not exists (select from inventory.reservations where status = 'pending') as done`;
const allDelivered = `select not exists (select from platform.outbox where sink = 'kafka') as done`;

const order = (skus: (shop: Shop) => string[], lines: number): Case['run'] => {
  return (bench, turn) => send(bench, turn, { kind: 'order', skus: skus(bench.shop), lines, async: false });
};
const spread = (shop: Shop): string[] => shop.skus;
const hot = (shop: Shop): string[] => [shop.hotSku];

const limit = (name: string, title: string, run: Case['run']): Case => ({
  name,
  title,
  isLimit: true,
  against: [],
  sinks: 'none',
  counted: false,
  run,
});

export const cases: Case[] = [
  limit('limit-static', 'limit: a static response of a bare Worker', (bench, turn) =>
    sendToBareWorker(bench, turn, 'GET', '/static'),
  ),
  limit('limit-cache', 'limit: one cache lookup of a bare Worker', (bench, turn) =>
    sendToBareWorker(bench, turn, 'GET', '/cached'),
  ),
  limit('limit-select', 'limit: one-row select of a bare Worker', (bench, turn) =>
    sendToBareWorker(bench, turn, 'GET', '/select'),
  ),
  limit('limit-insert', 'limit: one-row insert of a bare Worker', (bench, turn) =>
    sendToBareWorker(bench, turn, 'POST', '/insert'),
  ),
  limit('limit-order', 'limit: one prepared statement, 10,000 SKUs', (bench, turn) =>
    runPreparedStatement(bench, turn, false),
  ),
  limit('limit-hot', 'limit: one prepared statement, one hot SKU', (bench, turn) =>
    runPreparedStatement(bench, turn, true),
  ),
  limit('limit-order-alone', 'limit: one prepared statement, one connection', (bench, turn) =>
    runPreparedStatement(bench, { ...turn, clients: 1 }, false),
  ),
  {
    name: 'product-hit',
    title: 'product by id, from the edge cache',
    against: ['limit-static', 'limit-cache'],
    sinks: 'none',
    counted: false,
    run: (bench, turn) =>
      send(
        bench,
        turn,
        { kind: 'same', method: 'GET', path: `/v1/products/${bench.shop.productId}` },
        bench.fixture.publishableKey,
      ),
  },
  {
    name: 'product-miss',
    title: 'product by id, not in the cache',
    against: ['limit-select'],
    sinks: 'none',
    counted: true,
    run(bench, turn) {
      // Reads other products each time, because a response stays in the cache for 30 s.
      const ids = bench.shop.uncachedIds;
      const first = (turn.seed * 9_973) % ids.length;
      const paths = [...ids.slice(first), ...ids.slice(0, first)].map((id) => `/v1/products/${id}`);
      return send(bench, turn, { kind: 'paths', paths }, bench.fixture.publishableKey);
    },
  },
  {
    name: 'product-page',
    title: 'page of 20 products',
    against: ['limit-select'],
    sinks: 'none',
    counted: true,
    run: (bench, turn) =>
      send(bench, turn, { kind: 'same', method: 'GET', path: '/v1/products' }, bench.fixture.publishableKey),
  },
  {
    name: 'order',
    title: 'order of 1 line, 10,000 SKUs',
    against: ['limit-insert', 'limit-order'],
    sinks: 'none',
    counted: true,
    run: order(spread, 1),
  },
  {
    ...limit('limit-order-paced', 'limit: one prepared statement, at the rate of order', (bench, turn) =>
      runPreparedStatement(bench, turn, false, bench.rates.get('order')),
    ),
    against: ['order'],
  },
  {
    name: 'order-alone',
    title: 'order of 1 line, 10,000 SKUs, one connection',
    against: ['limit-order-alone'],
    sinks: 'none',
    counted: false,
    run: (bench, turn) => order(spread, 1)(bench, { ...turn, clients: 1 }, {}),
  },
  {
    name: 'order-kafka',
    title: 'order of 1 line, with its events to Kafka',
    against: ['limit-insert', 'limit-order'],
    sinks: 'kafka',
    counted: false,
    run: order(spread, 1),
  },
  {
    name: 'order-25',
    title: 'order of 25 lines, 10,000 SKUs',
    against: ['order', 'limit-insert'],
    sinks: 'none',
    counted: true,
    run: order(spread, 25),
  },
  {
    name: 'order-hot',
    title: 'order of 1 line, one hot SKU',
    against: ['limit-hot', 'limit-insert'],
    sinks: 'none',
    counted: true,
    run: order(hot, 1),
  },
  {
    name: 'order-intake',
    title: 'order of one hot SKU, recorded for the queue',
    against: ['limit-insert', 'order-hot'],
    sinks: 'none',
    counted: true,
    run: (bench, turn) => send(bench, turn, { kind: 'order', skus: hot(bench.shop), lines: 1, async: true }),
  },
  {
    name: 'decide',
    title: 'decisions of 20,000 recorded holds on one SKU',
    against: ['limit-hot'],
    sinks: 'none',
    counted: false,
    async prepare(bench, turn) {
      await fillQueue(bench.fixture, bench.shop.hotSku, turn.warmUp ? 2_000 : decidedHolds);
      return {};
    },
    async run(bench, turn) {
      const began = performance.now();
      await resumeQueue(bench.fixture);
      return workDone(turn.warmUp ? 2_000 : decidedHolds, await secondsUntil(bench, began, nothingPending));
    },
  },
  {
    name: 'join',
    title: 'join of one campaign',
    against: ['limit-insert', 'order-hot'],
    sinks: 'none',
    counted: true,
    run: (bench, turn) => send(bench, turn, { kind: 'join', campaigns: bench.shop.campaigns.slice(0, 1) }),
  },
  {
    name: 'join-100',
    title: 'join over 100 campaigns',
    against: ['limit-insert', 'order'],
    sinks: 'none',
    counted: false,
    run: (bench, turn) => send(bench, turn, { kind: 'join', campaigns: bench.shop.campaigns.slice(1) }),
  },
  ...teamCases,
  {
    name: 'webhook',
    title: 'Stripe webhook, signed: payment succeeded',
    against: ['limit-insert', 'order'],
    sinks: 'none',
    counted: true,
    prepare: async (bench, turn) => ({ payments: await seedPayments(bench.fixture, amountOf(turn, 400)) }),
    run(bench, turn, { payments = [] }) {
      const recipe: Recipe = { kind: 'webhook', payments, amount: paymentCents, secret: 'whsec_dev' };
      return send(bench, { ...turn, for: { amount: payments.length } }, recipe);
    },
  },
  {
    name: 'checkout',
    title: 'whole checkout: order with payment, webhook',
    against: [],
    sinks: 'all',
    counted: false,
    run: (bench, turn) => send(bench, turn, { kind: 'checkout', skus: bench.shop.skus, secret: 'whsec_dev' }),
  },
  {
    name: 'relay',
    title: 'relay of 20,000 events to Kafka',
    against: [],
    sinks: 'kafka',
    counted: false,
    async prepare(bench, turn) {
      await seedOutbox(bench.fixture, turn.warmUp ? 2_000 : relayedEvents);
      // The same cron first asks Stripe about payments that waited for five minutes, which takes seconds.
      await bench.fixture.pool.query(`update payments.payments set checked_at = now() where status = 'pending'`);
      return {};
    },
    async run(bench, turn) {
      const amount = turn.warmUp ? 2_000 : relayedEvents;
      const began = performance.now();
      const outcome = await bench.fixture.cron();
      if (outcome !== 'ok') throw new Error(`the cron that relays events ended with the outcome ${outcome}, not ok`);
      return workDone(amount, await secondsUntil(bench, began, allDelivered));
    },
  },
];

/**
 * The named cases and every case that they are compared with, in the order of the table. All cases if no name is given.
 */
export function withLimits(all: readonly Case[], names: readonly string[]): Case[] {
  if (names.length === 0) return [...all];
  const wanted = new Set<string>();
  const add = (name: string): void => {
    if (wanted.has(name)) return;
    wanted.add(name);
    for (const other of all.find((candidate) => candidate.name === name)?.against ?? []) add(other);
  };
  names.forEach(add);
  return all.filter(({ name }) => wanted.has(name));
}
