import { afterEach, expect, test, vi } from 'vitest';
import { defaultCell, qualifyTenant } from '../../src/base/cells.ts';
import { workOnShare } from '../../src/consumers/slow-tenants.ts';
import type { Bindings } from '../../src/env.ts';
import type { Delivery } from '../../src/events/message.ts';

afterEach(() => {
  vi.useRealTimers();
});

const tenant = (id: string) => qualifyTenant(id, defaultCell);

/** A queue that records the delays of the messages that are sent back to it. */
function fixture() {
  const delays: number[] = [];
  const sendBatch = async (messages: { delaySeconds: number }[]) => {
    delays.push(...messages.map(({ delaySeconds }) => delaySeconds));
  };
  const env = { PAYMENTS_QUEUE: { sendBatch } } as unknown as Bindings;
  const deliveries = (count: number): Delivery[] =>
    Array.from(
      { length: count },
      (_, n) => ({ body: { id: `event-${n}` }, ack: () => undefined }) as unknown as Delivery,
    );
  return { env, deliveries, delays };
}

/** Work that runs until `end` is called, and records its numbers of messages. */
function held() {
  const taken: number[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const work = async (mine: Delivery[]) => {
    taken.push(mine.length);
    await promise;
  };
  return { taken, work, end: resolve };
}

test('two small batches of a tenant are processed concurrently without delay', async () => {
  const { env, deliveries, delays } = fixture();
  const { taken, work, end } = held();
  const both = [3, 4].map((count) => workOnShare(env, 'payments', tenant('small'), deliveries(count), work));
  end();
  await Promise.all(both);
  expect(taken).toEqual([3, 4]);
  expect(delays).toEqual([]);
});

test('at most ten messages of a tenant are processed at once, and the others are delayed', async () => {
  const { env, deliveries, delays } = fixture();
  const { taken, work, end } = held();
  const three = [7, 7, 7].map((count) => workOnShare(env, 'payments', tenant('large'), deliveries(count), work));
  end();
  await Promise.all(three);
  expect(taken).toEqual([7, 3]);
  expect(delays).toEqual(Array(11).fill(1));
  await workOnShare(env, 'payments', tenant('large'), deliveries(10), work);
  expect(taken).toEqual([7, 3, 10]);
});

test('while Stripe is slow for a tenant, ten of its messages are delayed by 5 s, the next ten by 10 s, and so on', async () => {
  vi.useFakeTimers();
  const { env, deliveries, delays } = fixture();
  const { taken, work, end } = held();
  const first = workOnShare(env, 'payments', tenant('slow'), deliveries(10), work);
  vi.advanceTimersByTime(2_000);
  await workOnShare(env, 'payments', tenant('slow'), deliveries(25), work);
  expect(taken).toEqual([10]);
  expect(delays).toEqual([...Array(10).fill(5), ...Array(10).fill(10), ...Array(5).fill(15)]);
  end();
  await first;
});
