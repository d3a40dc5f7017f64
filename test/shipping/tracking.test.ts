import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Store, startStore } from '../support/harness.ts';
import { home, secret, shop, sign } from '../support/shipping.ts';

let store: Store;
const { orderOf, free, shipped, historyOf } = shop(() => store);
beforeAll(async () => {
  store = await startStore({ variables: { SHIPPING_WEBHOOK_SECRET: secret } });
  await addProduct(store, 'GIFT', 1_000, 0);
});
afterAll(() => store.close());

const track = (update: Record<string, unknown>, signature = sign, carrier = 'manual') => {
  const body = JSON.stringify({ occurredAt: new Date().toISOString(), ...update });
  return store.send('POST', `/webhooks/shipping/${carrier}`, body, {
    key: null,
    idempotencyKey: null,
    headers: { 'x-signature': signature(body) },
  });
};

describe('a parcel', () => {
  const parcel = async () => {
    const order = await free(home);
    const { id, trackingNumber } = await shipped(order);
    return { order, id, trackingNumber };
  };
  const statusOf = async (id: string) => (await store.send('GET', `/v1/shipments/${id}`)).body.status;

  test('moves its order from confirmed to shipped and delivered by tracking updates alone', async () => {
    const { order, id, trackingNumber } = await parcel();
    expect((await orderOf(order)).status).toBe('confirmed');
    expect((await track({ eventId: 'a', trackingNumber, status: 'in_transit' })).body).toEqual({ received: true });
    expect([(await orderOf(order)).status, await statusOf(id)]).toEqual(['shipped', 'in_transit']);
    const cancel = await store.send('POST', `/v1/orders/${order}/cancel`);
    expect([cancel.status, cancel.body.code]).toEqual([409, 'order_not_cancellable']);
    await track({ eventId: 'b', trackingNumber, status: 'delivered' });
    expect([(await orderOf(order)).status, await statusOf(id)]).toEqual(['delivered', 'delivered']);
    expect((await historyOf(order)).filter((type) => type === 'shipping.status.changed')).toHaveLength(2);
    const { body } = await store.send('GET', `/v1/events?topic=shipping.status.changed&key=${order}`);
    expect(body.data[0].data).toEqual({ orderId: order, trackingNumber, status: 'delivered' });
  });

  test('that is delivered never changes back, whatever arrives late', async () => {
    const { order, id, trackingNumber } = await parcel();
    await track({ eventId: 'b', trackingNumber, status: 'delivered' });
    for (const [eventId, status] of Object.entries({ a: 'in_transit', c: 'created', d: 'exception' })) {
      expect((await track({ eventId, trackingNumber, status })).status).toBe(200);
    }
    expect([(await orderOf(order)).status, await statusOf(id)]).toEqual(['delivered', 'delivered']);
  });

  test('with a duplicate update, even concurrently, changes once', async () => {
    const { order, trackingNumber } = await parcel();
    for (const status of ['in_transit', 'exception']) {
      const update = { eventId: `same ${status}`, trackingNumber, status };
      const answers = await Promise.all(Array.from({ length: 10 }, () => track(update)));
      expect(answers.map((answer) => answer.status)).toEqual(Array(10).fill(200));
    }
    expect((await historyOf(order)).filter((type) => type === 'shipping.status.changed')).toHaveLength(2);
  });

  test('is not confused with another parcel that has the same event id', async () => {
    const [first, second] = [await parcel(), await parcel()];
    for (const { trackingNumber } of [first, second]) {
      await track({ eventId: '1', trackingNumber, status: 'in_transit' });
    }
    expect([await statusOf(first.id), await statusOf(second.id)]).toEqual(['in_transit', 'in_transit']);
  });

  test('with an exception reports it, and keeps its status', async () => {
    const { order, id, trackingNumber } = await parcel();
    await track({ eventId: 'a', trackingNumber, status: 'in_transit' });
    await track({ eventId: 'x', trackingNumber, status: 'exception', detail: 'Nobody was at home.' });
    expect([(await orderOf(order)).status, await statusOf(id)]).toEqual(['shipped', 'in_transit']);
    const { body } = await store.send('GET', `/v1/events?topic=shipping.status.changed&key=${order}`);
    expect(body.data[0].data.status).toBe('exception');
    const [row] = await store.database.query('select exception from shipping.shipments where id = $1', [id]);
    expect(row).toEqual({ exception: 'Nobody was at home.' });
  });

  test('with an update older than the inbox remembers gets an error with the reason', async () => {
    const { id, trackingNumber } = await parcel();
    const occurredAt = new Date(Date.now() - 29 * 86_400_000).toISOString();
    const { status, body } = await track({ eventId: 'old', trackingNumber, status: 'delivered', occurredAt });
    expect([status, body.errors[0].detail]).toEqual([
      422,
      'It is older than 28 days: it may have been applied before.',
    ]);
    expect(await statusOf(id)).toBe('created');
  });

  test('of a cancelled order changes without the order', async () => {
    const { order, id, trackingNumber } = await parcel();
    await store.send('POST', `/v1/orders/${order}/cancel`);
    await track({ eventId: 'a', trackingNumber, status: 'delivered' });
    expect([(await orderOf(order)).status, await statusOf(id)]).toEqual(['cancelled', 'delivered']);
  });

  test('does not change if the signature is forged, old or missing', async () => {
    const { id, trackingNumber } = await parcel();
    const longAgo = Math.floor(Date.now() / 1000) - 301;
    const forgeries = [
      (body: string) => sign(body, 'guess'),
      (body: string) => sign(body, secret, longAgo),
      (body: string) => sign(`${body} `),
      () => '',
    ];
    for (const forge of forgeries) {
      const reply = await track({ eventId: 'f', trackingNumber, status: 'delivered' }, forge);
      expect([reply.status, reply.body.code]).toEqual([400, 'invalid_signature']);
    }
    expect(await statusOf(id)).toBe('created');
  });

  test('that is unknown is ignored, and an unknown carrier is a 404', async () => {
    const stranger = await track({ eventId: 'a', trackingNumber: 'FC000000000000000000', status: 'delivered' });
    expect([stranger.status, stranger.body]).toEqual([200, { received: true }]);
    for (const carrier of ['dhl', 'shippo']) {
      expect((await track({ eventId: 'a', trackingNumber: 'x', status: 'delivered' }, undefined, carrier)).status).toBe(
        404,
      );
    }
    const odd = await track({ eventId: 'a', trackingNumber: 'x', status: 'lost' });
    expect([odd.status, odd.body.code]).toEqual([422, 'validation_failed']);
  });
});
