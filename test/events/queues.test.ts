import { describe, expect, test } from 'vitest';
import type { LeasedEvent } from '../../src/db/platform/outbox.ts';
import type { Event } from '../../src/domain/events.ts';
import type { Bindings } from '../../src/env.ts';
import { deliverToQueues } from '../../src/events/queues.ts';

/** The documented limits of Cloudflare Queues: messages per batch, bytes of a message, bytes of a batch. */
const limits = { messages: 100, message: 128_000, batch: 256_000 };

const sizeOf = (body: unknown) => Buffer.byteLength(JSON.stringify(body));

/** A queue that stores what it accepts, and rejects what Cloudflare Queues would reject. */
function fakeQueue(fails: (batch: Event[]) => boolean = () => false) {
  const batches: Event[][] = [];
  const sendBatch = async (messages: { body: Event; contentType: string }[]) => {
    const bodies = messages.map(({ body }) => body);
    const sizes = bodies.map(sizeOf);
    if (messages.length > limits.messages) throw new TypeError('too many messages');
    if (Math.max(...sizes) > limits.message) throw new TypeError('message too large');
    if (sizes.reduce((sum, size) => sum + size, 0) > limits.batch) throw new TypeError('batch too large');
    if (messages.some(({ contentType }) => contentType !== 'json')) throw new TypeError('no JSON');
    if (fails(bodies)) throw new Error('queue away');
    batches.push(bodies);
  };
  return { batches, queue: { sendBatch } as unknown as Queue };
}

let seq = 0;
const leased = (topic: string, payload: unknown = {}): LeasedEvent => {
  seq++;
  const time = '2026-11-22T12:00:00.000Z';
  const event = { seq, id: `id-${seq}`, topic, key: `key-${seq}`, tenant: 'default', payload, traceparent: null, time };
  return { ...event, cell: 'default' };
};

const bindings = (queues: Record<string, Queue>) => queues as unknown as Bindings;

describe('events are sent to the queues of their consumers', () => {
  test('unchanged, in order, and in batches within the limits of a queue', async () => {
    const { batches, queue } = fakeQueue();
    const events = Array.from({ length: 450 }, (_, index) =>
      leased('order.created', { text: 'ä'.repeat(index % 7 === 0 ? 20_000 : 10) }),
    );
    const delivery = await deliverToQueues(bindings({ INVENTORY_QUEUE: queue }), events);
    expect(delivery).toEqual({ delivered: events.map((event) => event.seq), failed: [], returned: [] });
    expect(batches.flat().map(({ id }) => id)).toEqual(events.map(({ id }) => id));
    expect(batches.length).toBeLessThan(25);
    expect(batches[0]?.[1]).toEqual({
      specversion: '1.0',
      id: events[1]?.id,
      type: 'order.created',
      source: '/fusioncommerce',
      time: '2026-11-22T12:00:00.000Z',
      tenantid: 'default',
      subject: events[1]?.key,
      sequence: String(events[1]?.seq),
      data: { text: 'ä'.repeat(10) },
    });
  });

  test('with the traceparent of the request that caused them', async () => {
    const { batches, queue } = fakeQueue();
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    await deliverToQueues(bindings({ INVENTORY_QUEUE: queue }), [{ ...leased('order.created'), traceparent }]);
    expect(batches[0]?.[0]?.traceparent).toBe(traceparent);
  });

  test('without data if they are too large for a message: `dataref` says where the data is', async () => {
    const { batches, queue } = fakeQueue();
    const fits = leased('order.created', { text: '長'.repeat(39_000) });
    const large = leased('order.created', { text: '長'.repeat(41_000) });
    const { delivered } = await deliverToQueues(bindings({ INVENTORY_QUEUE: queue }), [fits, large]);
    expect(delivered).toEqual([fits.seq, large.seq]);
    expect(batches.flat()[0]?.data).toEqual(fits.payload);
    expect(batches.flat()[1]).not.toHaveProperty('data');
    expect(batches.flat()[1]?.dataref).toBe(`/v1/events?key=${large.key}#${large.id}`);
  });

  test('and count as delivered if they have no consumer', async () => {
    const event = leased('order.refunded');
    expect(await deliverToQueues(bindings({}), [event])).toEqual({ delivered: [event.seq], failed: [], returned: [] });
  });
});

test('a batch that a queue rejects delays only its own events', async () => {
  const events = Array.from({ length: 250 }, () => leased('order.created'));
  const insufficient = leased('inventory.insufficient');
  const rejected = events[150]?.id;
  const inventory = fakeQueue((batch) => batch.some(({ id }) => id === rejected));
  const orders = fakeQueue();
  const env = bindings({ INVENTORY_QUEUE: inventory.queue, ORDERS_QUEUE: orders.queue });
  const delivery = await deliverToQueues(env, [...events, insufficient]);
  expect(delivery.failed).toEqual(
    events.slice(100, 200).map((event) => ({ seq: event.seq, error: 'inventory queue: Error', dead: false })),
  );
  expect(delivery.delivered).toEqual(
    [...events.slice(0, 100), ...events.slice(200), insufficient].map((event) => event.seq),
  );
  expect(orders.batches.flat()).toHaveLength(1);
});
