import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Reply, type Store, startStore, until } from '../support/harness.ts';
import { jobSecret } from '../support/secrets.ts';
import { home, secret, shop, sign, unprintable } from '../support/shipping.ts';

let store: Store;
const { orderOf, reaches, shipped, historyOf, requestOf } = shop(() => store);
beforeAll(async () => {
  store = await startStore({ variables: { SHIPPING_WEBHOOK_SECRET: secret } });
  await addProduct(store, 'GIFT', 10_000, 0);
  await addProduct(store, 'CARD', 10_000, 0);
});
afterAll(() => store.close());

type Items = { lineId: string; quantity: number }[];
type Parcel = { id: string; trackingNumber: string; status: string; items: Items };

/** A confirmed order that costs nothing, with these quantities of two products. */
const ordered = async (quantities: number[], more: object = {}): Promise<string> => {
  const items = quantities.map((quantity, index) => ({ sku: ['GIFT', 'CARD'][index], quantity }));
  const { body } = await store.send('POST', '/v1/orders', { customerId: 'customer-1', items, ...more });
  await reaches(body.id, 'confirmed');
  return body.id;
};
const units = (quantity: number, lineId = '1') => ({ lineId, quantity });
const send = (orderId: string, items: Items, address: object | null = home, key?: string): Promise<Reply> =>
  store.send(
    'POST',
    '/v1/shipments',
    { orderId, items, ...(address && { address }) },
    key === undefined ? {} : { idempotencyKey: key },
  );
const sent = async (...given: Parameters<typeof send>): Promise<Parcel> => {
  const reply = await send(...given);
  expect([reply.status, reply.body.detail]).toEqual([201, undefined]);
  return reply.body;
};
const cancel = (id: string) => store.send('POST', `/v1/orders/${id}/cancel`, {});
const move = async ({ trackingNumber }: Parcel, status: string) => {
  const update = { eventId: `${trackingNumber} ${status}`, trackingNumber, status };
  const body = JSON.stringify({ occurredAt: new Date().toISOString(), ...update });
  const headers = { 'x-signature': sign(body) };
  const reply = await store.send('POST', '/webhooks/shipping/manual', body, {
    key: null,
    idempotencyKey: null,
    headers,
  });
  expect(reply.status).toBe(200);
};
const fulfilled = async (id: string): Promise<number[]> =>
  (await orderOf(id)).items.map((line: { fulfilledQuantity: number }) => line.fulfilledQuantity);
/** Refunds units of the first line. */
const refundUnits = (id: string, quantity: number) =>
  store.database.query('update orders.orders set refunded_quantities = array[$2::int] where id = $1', [id, quantity]);
const settings = (automaticLabels: boolean) => store.send('PATCH', '/v1/tenant', { automaticLabels });

describe('parcels of one order', () => {
  test('share the units of a line, and the order is shipped when all have left and delivered when all have arrived', async () => {
    const id = await ordered([3, 2]);
    const first = await sent(id, [units(2), units(1, '2')]);
    expect(first).toMatchObject({ status: 'created', items: [units(2), units(1, '2')] });
    expect(await fulfilled(id)).toEqual([2, 1]);
    const second = await sent(id, [units(1), units(1, '2')]);
    expect(second.trackingNumber).not.toBe(first.trackingNumber);
    expect(await orderOf(id)).toMatchObject({ status: 'confirmed', shipment: second, shipments: [first, second] });
    expect(await fulfilled(id)).toEqual([3, 2]);

    await move(second, 'delivered');
    expect(await orderOf(id)).toMatchObject({ status: 'confirmed', shipment: { id: second.id, status: 'delivered' } });
    await move(first, 'in_transit');
    expect((await orderOf(id)).status).toBe('shipped');
    await move(second, 'in_transit');
    await move(first, 'delivered');
    expect((await orderOf(id)).status).toBe('delivered');
    const history = await historyOf(id);
    expect(history.filter((type) => type === 'shipping.label.created')).toHaveLength(2);
    expect((await store.send('GET', `/v1/shipments/${first.id}`)).body).toMatchObject({ items: first.items });
  });

  test('leave the rest to a request without items, which returns the same shipment each time', async () => {
    const id = await ordered([3]);
    await sent(id, [units(1)]);
    const rest = await store.send('POST', '/v1/shipments', { orderId: id, address: home });
    expect([rest.status, rest.body.items]).toEqual([201, [units(2)]]);
    expect((await store.send('POST', '/v1/shipments', { orderId: id, address: home })).body).toEqual(rest.body);
    const more = await send(id, [units(1)]);
    expect([more.status, more.body.code, more.body.detail]).toEqual([
      409,
      'conflict',
      'Line 1 has 0 units left to ship, not 1. The others are in a parcel or were refunded.',
    ]);
  });

  test('are each made once for an idempotency key, and another key makes another parcel', async () => {
    const id = await ordered([3]);
    const [first, again] = [await sent(id, [units(1)], home, 'part-1'), await sent(id, [units(1)], home, 'part-1')];
    expect(again).toEqual(first);
    expect((await sent(id, [units(1)], home, 'part-2')).id).not.toBe(first.id);
    expect(await fulfilled(id)).toEqual([2]);
  });

  test('need lines and units of the order, and an address', async () => {
    const id = await ordered([2]);
    const errors = async (reply: Promise<Reply>) =>
      (await reply).body.errors?.map((each: { pointer: string }) => each.pointer);
    expect(await errors(send(id, [units(1), units(1, '2')]))).toEqual(['/items/1/lineId']);
    expect(await errors(send(id, []))).toEqual(['/items']);
    expect(await errors(send(id, [units(0)]))).toEqual(['/items/0/quantity']);
    expect(await errors(send(id, [units(1)], null))).toEqual(['/address']);
    expect((await send(id, [units(2), units(1)])).body.detail).toMatch(/^Line 1 has 2 units left to ship, not 3\./);
    expect([await fulfilled(id), (await orderOf(id)).shipments]).toEqual([[0], []]);
  });

  test('get back the units of one whose address the carrier rejects', async () => {
    const id = await ordered([2]);
    const refused = await send(id, [units(2)], unprintable);
    expect([refused.status, refused.body.errors?.[0]?.pointer]).toEqual([422, '/address/line1']);
    expect(await fulfilled(id)).toEqual([0]);
    await sent(id, [units(2)]);
    await store.settled();
    expect((await orderOf(id)).shipments).toHaveLength(1);
  });

  test('all end when their order is cancelled, and their units are in no parcel then', async () => {
    const id = await ordered([3]);
    const parcels = [await sent(id, [units(1)]), await sent(id, [units(2)])];
    expect((await cancel(id)).body).toMatchObject({ status: 'cancelled' });
    const { shipments } = await orderOf(id);
    expect(shipments.map((each: Parcel) => [each.id, each.status])).toEqual(
      parcels.map((each) => [each.id, 'cancelled']),
    );
    expect(await fulfilled(id)).toEqual([0]);
    const voids = await store.database.query('select from shipping.label_voids where order_id = $1', [id]);
    expect(voids).toHaveLength(2);
    expect((await historyOf(id)).filter((type) => type === 'shipping.cancelled')).toHaveLength(2);
  });

  test('prevent the cancellation of their order once one of them has left', async () => {
    const id = await ordered([2]);
    await move(await sent(id, [units(1)]), 'in_transit');
    const refused = await cancel(id);
    expect([refused.status, refused.body.code, refused.body.detail]).toEqual([
      409,
      'order_not_cancellable',
      'A parcel of the order is on its way. Refund the units that have not been shipped.',
    ]);
    expect((await orderOf(id)).status).toBe('confirmed');
    await move(await sent(id, [units(1)]), 'in_transit');
    expect((await orderOf(id)).status).toBe('shipped');
  });

  test('that leave with a cancelled label take their units from a later parcel', async () => {
    const id = await ordered([2]);
    const first = await sent(id, [units(1)]);
    await cancel(id);
    // As after a refund that failed at the bank.
    await store.database.query(`update orders.orders set status = 'confirmed' where id = $1`, [id]);
    const second = await sent(id, [units(2)]);
    await move(first, 'in_transit');
    expect(await orderOf(id)).toMatchObject({ status: 'confirmed', items: [{ fulfilledQuantity: 1 }] });
    expect((await store.send('GET', `/v1/shipments/${second.id}`)).body.status).toBe('cancelled');
    await move(await sent(id, [units(1)]), 'in_transit');
    expect((await orderOf(id)).status).toBe('shipped');
  });
});

describe('the automatic label', () => {
  test('has every unit, so nothing is left for a parcel', async () => {
    const id = await ordered([2, 1], { shippingAddress: home });
    expect(await shipped(id)).toMatchObject({ items: [units(2), units(1, '2')] });
    expect(await fulfilled(id)).toEqual([2, 1]);
    expect((await send(id, [units(1)])).status).toBe(409);
  });

  test('is not made for a tenant that has turned it off; its parcels go to the address of the order', async () => {
    expect((await settings(false)).body.automaticLabels).toBe(false);
    try {
      const id = await ordered([2], { shippingAddress: home });
      await store.settled();
      expect([(await orderOf(id)).shipment, await requestOf(id)]).toEqual([null, undefined]);
      await sent(id, [units(1)], null);
      const rest = await store.send('POST', '/v1/shipments', { orderId: id });
      expect([rest.status, rest.body.items]).toEqual([201, [units(1)]]);
    } finally {
      await settings(true);
    }
  });

  test('that the carrier has rejected is replaced by the first parcel, and is never made after it', async () => {
    const id = await ordered([2], { shippingAddress: unprintable });
    await until(async () => (await requestOf(id))?.status === 'refused');
    expect(await fulfilled(id)).toEqual([0]);
    const first = await sent(id, [units(1)]);
    const { body } = await store.send('GET', `/v1/dead-letters?limit=100&status=open`);
    const letter = body.data.find((each: { key: string }) => each.key === id);
    expect((await store.send('POST', `/v1/dead-letters/${letter.id}/replay`)).status).toBe(202);
    await store.settled();
    expect((await orderOf(id)).shipments).toEqual([first]);
  });

  test('is for the units that were not refunded before it, and is not made if none are left', async () => {
    const job = (name: string, input: object) =>
      store.database.query<{ result: { tasks: { shipmentId: string }[] } }>(`select ${name}($1, $2) as result`, [
        { jobSecret },
        { tenant: 'default', ...input },
      ]);
    /** The labels to make for a confirmed order of three units, some of which were refunded. */
    const open = async (refunded: number) => {
      const id = await ordered([3]);
      await store.settled();
      await store.database.query('update orders.orders set shipping_address = $2 where id = $1', [
        id,
        JSON.stringify(home),
      ]);
      await refundUnits(id, refunded);
      const messages = [{ eventId: crypto.randomUUID(), orderId: id, shipmentId: crypto.randomUUID() }];
      const terms = { from: {}, parcel: {}, carrier: 'manual', seconds: 60 };
      const [row] = await job('shipping.open_labels', { messages, ...terms });
      return { id, tasks: row?.result.tasks ?? [] };
    };
    const { id, tasks } = await open(1);
    const label = { trackingNumber: `T-${id}`, carrier: 'manual', provider: 'manual', labelUrl: '/' };
    await job('shipping.record_labels', { results: tasks.map((task) => ({ orderId: id, ...task, ...label })) });
    expect((await orderOf(id)).shipments).toMatchObject([{ items: [units(2)] }]);
    expect((await open(3)).tasks).toEqual([]);
  });
});

test('a refund of the units that were not sent completes an order whose other parcels have left', async () => {
  const id = await ordered([3]);
  await move(await sent(id, [units(1)]), 'delivered');
  const unsent = await sent(id, [units(1)]);
  await refundUnits(id, 2);
  await store.database.query(
    `begin; select set_config('app.tenant_id', 'default', true); select orders.complete_shipping('${id}'); commit`,
  );
  expect(await orderOf(id)).toMatchObject({ status: 'delivered', items: [{ fulfilledQuantity: 1 }] });
  // Its unit was refunded before it was shipped.
  expect((await store.send('GET', `/v1/shipments/${unsent.id}`)).body.status).toBe('cancelled');
});

test('a unit that came back and was refunded does not keep the others from being sent', async () => {
  const id = await ordered([2]);
  await move(await sent(id, [units(1)]), 'delivered');
  await store.database.query(
    `update orders.orders set refunded_quantities = '{1}', returned_quantities = '{1}' where id = $1`,
    [id],
  );
  const second = await sent(id, [units(1)]);
  expect((await orderOf(id)).status).toBe('confirmed');
  await move(second, 'in_transit');
  expect((await orderOf(id)).status).toBe('shipped');
});

describe('concurrent requests', () => {
  /** The units in live parcels of each order never exceed those that it has, and the order counts them. */
  const live = async (id: string): Promise<number> => {
    const { shipments, items } = await orderOf(id);
    const parcels: Parcel[] = shipments.filter((each: Parcel) => each.status !== 'cancelled');
    const total = parcels.flatMap((each) => each.items).reduce((sum, { quantity }) => sum + quantity, 0);
    expect(total).toBe(items[0].fulfilledQuantity);
    expect(total).toBeLessThanOrEqual(items[0].quantity);
    return total;
  };

  test('for the last unit make one parcel', async () => {
    const id = await ordered([1]);
    const replies = await Promise.all(Array.from({ length: 8 }, (_, n) => send(id, [units(1)], home, `${id} ${n}`)));
    expect(replies.map(({ status }) => status).sort()).toEqual([201, ...Array(7).fill(409)]);
    expect(await live(id)).toBe(1);
  });

  test('for parcels and a cancellation leave no parcel of a cancelled order', async () => {
    for (let turn = 0; turn < 5; turn++) {
      const id = await ordered([4]);
      await Promise.all([...Array.from({ length: 4 }, (_, n) => send(id, [units(1)], home, `${id} ${n}`)), cancel(id)]);
      expect((await orderOf(id)).status).toBe('cancelled');
      expect(await live(id)).toBe(0);
    }
  });

  test('for parcels and the automatic label never send a unit twice', async () => {
    for (let turn = 0; turn < 5; turn++) {
      const items = [{ sku: 'GIFT', quantity: 3 }];
      const order = { customerId: 'customer-1', items, shippingAddress: home };
      const { body } = await store.send('POST', '/v1/orders', order);
      const id: string = body.id;
      const replies = await Promise.all(
        Array.from({ length: 4 }, async (_, n) => {
          const early = await send(id, [units(1)], home, `${id} ${n}`);
          if (early.body.detail !== 'The order is created, not confirmed.') return early;
          await reaches(id, 'confirmed');
          return send(id, [units(1)], home, `${id} ${n} later`);
        }),
      );
      await store.settled();
      const made = replies.filter(({ status }) => status === 201).length;
      expect(await live(id)).toBe(3);
      expect([0, 3]).toContain(made);
    }
  });
});
