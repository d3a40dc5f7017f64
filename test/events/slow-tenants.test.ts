import { afterEach, expect, test, vi } from 'vitest';
import { workOnShare } from '../../src/consumers/slow-tenants.ts';
import type { Bindings } from '../../src/env.ts';
import type { Delivery } from '../../src/events/message.ts';

afterEach(() => {
  vi.useRealTimers();
});

/** A queue that notes for how many seconds messages are put off. */
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

/** Work that ends when it is told to, and notes how many messages it has. */
function held() {
  const taken: number[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const work = async (mine: Delivery[]) => {
    taken.push(mine.length);
    await promise;
  };
  return { taken, work, end: resolve };
}

test('two small batches of a tenant are worked on at once, and neither is put off', async () => {
  const { env, deliveries, delays } = fixture();
  const { taken, work, end } = held();
  const both = [3, 4].map((count) => workOnShare(env, 'payments', 'small', deliveries(count), work));
  end();
  await Promise.all(both);
  expect(taken).toEqual([3, 4]);
  expect(delays).toEqual([]);
});

test('a tenant has ten messages under way at most, and the others are put off', async () => {
  const { env, deliveries, delays } = fixture();
  const { taken, work, end } = held();
  const three = [7, 7, 7].map((count) => workOnShare(env, 'payments', 'large', deliveries(count), work));
  end();
  await Promise.all(three);
  expect(taken).toEqual([7, 3]);
  expect(delays).toEqual(Array(11).fill(1));
  await workOnShare(env, 'payments', 'large', deliveries(10), work);
  expect(taken).toEqual([7, 3, 10]);
});

test('of a tenant that Stripe is slow for, a share comes again after 5 s, the next after 10 s, and so on', async () => {
  vi.useFakeTimers();
  const { env, deliveries, delays } = fixture();
  const { taken, work, end } = held();
  const first = workOnShare(env, 'payments', 'slow', deliveries(10), work);
  vi.advanceTimersByTime(2_000);
  await workOnShare(env, 'payments', 'slow', deliveries(25), work);
  expect(taken).toEqual([10]);
  expect(delays).toEqual([...Array(10).fill(5), ...Array(10).fill(10), ...Array(5).fill(15)]);
  end();
  await first;
});
