import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, oneLine, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const put = (sku: string, change: object) => store.send('PUT', `/v1/inventory/${sku}`, change);
const adjust = (sku: string, delta: number) =>
  store.send('POST', `/v1/inventory/${sku}/adjustments`, { delta, reason: 'counted' });
/** The quantities of the events inventory.low of a SKU, oldest first. */
async function reported(sku: string): Promise<number[]> {
  const rows = await store.database.query<{ quantity: number }>(
    `select (payload->>'quantity')::int as quantity from platform.events
     where topic = 'inventory.low' and key = $1 and tenant_id = 'default' order by seq`,
    [sku],
  );
  return rows.map(({ quantity }) => quantity);
}

/** A product with 10 units and a threshold of 3. */
async function addWithThreshold(sku: string): Promise<string> {
  const { id } = await addProduct(store, sku, 10);
  expect((await put(sku, { lowStockThreshold: 3 })).body).toMatchObject({ quantity: 10, lowStockThreshold: 3 });
  return id;
}

describe('inventory.low', () => {
  test('is emitted once when orders take the stock to the threshold, and again after it has risen above it', async () => {
    await addWithThreshold('LOW-ORDERS');
    for (const quantity of [6, 1, 1]) await store.send('POST', '/v1/orders', oneLine('LOW-ORDERS', quantity));
    expect(await reported('LOW-ORDERS')).toEqual([3]);
    await adjust('LOW-ORDERS', 5);
    expect(await reported('LOW-ORDERS')).toEqual([3]);
    await adjust('LOW-ORDERS', -6);
    expect(await reported('LOW-ORDERS')).toEqual([3, 1]);
    expect((await store.send('GET', '/v1/events?topic=inventory.low&key=LOW-ORDERS')).body.data[0].data).toEqual({
      ...{ sku: 'LOW-ORDERS', quantity: 1, lowStockThreshold: 3 },
    });
  });

  test.each([
    ['a count', async (sku: string) => void (await put(sku, { quantity: 2 }))],
    ['an adjustment', async (sku: string) => void (await adjust(sku, -8))],
    [
      'an import',
      async (sku: string) =>
        void (await store.send('POST', '/v1/products/import', JSON.stringify({ sku, inventory: 2 }), {
          headers: { 'content-type': 'application/x-ndjson' },
        })),
    ],
    [
      'an order that the queue decides',
      async (sku: string) => {
        await store.send('POST', '/v1/orders', oneLine(sku, 8), { headers: { prefer: 'respond-async' } });
        await store.settled();
      },
    ],
    [
      'a threshold that the stock has reached already',
      (sku: string) => put(sku, { lowStockThreshold: 10 }).then(() => {}),
    ],
  ])('is emitted by %s', async (cause, change) => {
    const sku = `LOW-${cause.replaceAll(' ', '-')}`.slice(0, 60);
    await addWithThreshold(sku);
    await change(sku);
    expect(await reported(sku)).toHaveLength(1);
  });

  test('is emitted by a place in a campaign', async () => {
    const productId = await addWithThreshold('LOW-PLACE');
    await put('LOW-PLACE', { quantity: 4 });
    const { body: campaign } = await store.send('POST', '/v1/campaigns', {
      ...{ productId, minParticipants: 1, maxParticipants: 2, price: 5 },
      startTime: new Date(Date.now() - 1000).toISOString(),
      endTime: new Date(Date.now() + 3_600_000).toISOString(),
    });
    expect((await store.send('POST', `/v1/campaigns/${campaign.id}/join`, { userId: 'u' })).status).toBe(201);
    expect(await reported('LOW-PLACE')).toEqual([3]);
  });

  test('is emitted once by orders that come at once', async () => {
    await addWithThreshold('LOW-RACE');
    const orders = Array.from({ length: 12 }, () => store.send('POST', '/v1/orders', oneLine('LOW-RACE')));
    const statuses = (await Promise.all(orders)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 201)).toHaveLength(10);
    expect(await reported('LOW-RACE')).toEqual([3]);
  });

  test('is not emitted without a threshold, nor after it was removed', async () => {
    await addProduct(store, 'LOW-NONE', 1);
    await store.send('POST', '/v1/orders', oneLine('LOW-NONE'));
    await addWithThreshold('LOW-REMOVED');
    expect((await put('LOW-REMOVED', { lowStockThreshold: null, quantity: 0 })).body.lowStockThreshold).toBeNull();
    expect([await reported('LOW-NONE'), await reported('LOW-REMOVED')]).toEqual([[], []]);
  });

  test.each([
    [{}, ''],
    [{ lowStockThreshold: -1 }, '/lowStockThreshold'],
    [{ lowStockThreshold: 1.5 }, '/lowStockThreshold'],
    [{ quantity: null }, '/quantity'],
  ])('%j is rejected, and names the fault', async (change, pointer) => {
    await addProduct(store, `LOW-BAD-${JSON.stringify(change).length}`, 1);
    const { status, body } = await put('LOW-BAD-2', change);
    expect([status, body.errors?.[0]?.pointer]).toEqual([422, pointer]);
  });
});
