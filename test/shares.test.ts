import { expect, test } from 'vitest';
import type { Delivery } from '../src/consumers/message.ts';
import { inTurn } from '../src/consumers/shares.ts';
import type { Bindings } from '../src/env.ts';

/** A queue that counts the messages that are put off. */
function rig() {
  let putOff = 0;
  const sendBatch = async (messages: unknown[]) => {
    putOff += messages.length;
  };
  const env = { PAYMENTS_QUEUE: { sendBatch } } as unknown as Bindings;
  const deliveries = (count: number): Delivery[] =>
    Array.from(
      { length: count },
      (_, n) => ({ body: { id: `event-${n}` }, ack: () => undefined }) as unknown as Delivery,
    );
  return { env, deliveries, putOff: () => putOff };
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
  const { env, deliveries, putOff } = rig();
  const { taken, work, end } = held();
  const both = [3, 4].map((count) => inTurn(env, 'payments', 'small', deliveries(count), work));
  end();
  await Promise.all(both);
  expect(taken).toEqual([3, 4]);
  expect(putOff()).toBe(0);
});

test('a tenant has ten messages under way at most, and the others are put off', async () => {
  const { env, deliveries, putOff } = rig();
  const { taken, work, end } = held();
  const three = [7, 7, 7].map((count) => inTurn(env, 'payments', 'large', deliveries(count), work));
  end();
  await Promise.all(three);
  expect(taken).toEqual([7, 3]);
  expect(putOff()).toBe(11);
  await inTurn(env, 'payments', 'large', deliveries(10), work);
  expect(taken).toEqual([7, 3, 10]);
});
