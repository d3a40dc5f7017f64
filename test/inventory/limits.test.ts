import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, cronUntil, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';

let store: Store;
let payments: ReturnType<typeof paymentFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { KAFKA_WEBHOOK_SECRET: 'pushed', KAFKA_CONSUME_TENANTS: 'default' } });
  payments = paymentFixture(store);
});
afterAll(() => store.close());

const maximum = 1_000_000_000;
const largestInteger = 2_147_483_647;
const setQuantity = (sku: string, quantity: number) => store.send('PUT', `/v1/inventory/${sku}`, { quantity });
const adjust = (sku: string, delta: number) =>
  store.send('POST', `/v1/inventory/${sku}/adjustments`, { delta, reason: 'counted' });
const importLines = (lines: object[]) =>
  store.send('POST', '/v1/products/import', lines.map((line) => JSON.stringify(line)).join('\n'), {
    headers: { 'content-type': 'application/x-ndjson' },
  });
const quantityOf = async (sku: string) => (await payments.stockOf(sku))?.quantity;

/** Sets the largest count that the table can hold. This was possible before counts had a maximum. */
const setLargestCount = (...skus: string[]) =>
  store.database.query(
    `with filled as (
       update inventory.inventory set quantity = ${largestInteger} - reserved, version = ${largestInteger}
       where sku = any($1) returning sku, quantity, reserved, tenant_id
     )
     insert into inventory.adjustments (tenant_id, sku, delta, reason, created_at)
     select f.tenant_id, f.sku, f.quantity + f.reserved
         + (select coalesce(sum(l.n) filter (where r.status = 'committed'), 0)
            from inventory.reservations r, unnest(r.skus, r.quantities) l(sku, n) where l.sku = f.sku)
         - coalesce((select sum(a.delta) from inventory.adjustments a where a.sku = f.sku), 0), 'filled', now()
     from filled f`,
    [skus],
  );

async function placePaidOrder(sku: string, quantity = 2) {
  const { order, payment, intent } = await payments.checkout(sku, quantity);
  await payments.pay(intent);
  await until(async () => (await payments.orderOf(order.id)).status === 'confirmed');
  return { order, payment };
}

describe('a count above the maximum', () => {
  test('is rejected by every operation, and the maximum is accepted; held units are counted', async () => {
    await addProduct(store, 'TOP', 10);
    await store.send('POST', '/v1/orders', oneLine('TOP', 3));
    const over = await setQuantity('TOP', maximum - 2);
    expect([over.status, over.body.errors[0].pointer]).toEqual([422, '/quantity']);
    expect((await setQuantity('TOP', maximum - 3)).status).toBe(200);
    expect((await adjust('TOP', 1)).body.errors[0].pointer).toBe('/delta');
    const { body: report } = await importLines([{ sku: 'TOP', inventory: maximum - 2 }]);
    expect(report).toMatchObject({ updated: 0, rejected: [{ code: 'validation_failed' }] });
    expect((await importLines([{ sku: 'TOP', inventory: maximum - 3 }])).body.updated).toBe(1);
    const event = {
      ...{ specversion: '1.0', id: 'above', source: '/warehouse', type: 'inventory.adjusted', tenantid: 'default' },
      data: { sku: 'TOP', delta: 1, reason: 'received' },
    };
    await store.send('POST', '/webhooks/kafka', event, { key: 'pushed' });
    await until(async () => (await store.send('GET', '/v1/dead-letters')).body.data.length === 1);
    expect((await store.send('GET', '/v1/dead-letters')).body.data[0].reason).toContain(`exceed ${maximum}`);
    expect(await quantityOf('TOP')).toBe(maximum - 3);
  });

  test('that already exists can be lowered, but not raised', async () => {
    await addProduct(store, 'ABOVE', 10);
    await store.send('POST', '/v1/orders', oneLine('ABOVE', 3));
    await setLargestCount('ABOVE');
    expect((await adjust('ABOVE', -1)).status).toBe(201);
    expect((await adjust('ABOVE', 1)).status).toBe(422);
    expect((await setQuantity('ABOVE', maximum)).status).toBe(200);
    expect((await setQuantity('ABOVE', 5)).status).toBe(200);
  });
});

describe('when the count is at the largest integer,', () => {
  test('a paid order can be cancelled or refunded, and units above the limit are written off in the ledger', async () => {
    for (const sku of ['FULL-CANCEL', 'FULL-REFUND']) await addProduct(store, sku, 5);
    const cancelled = await placePaidOrder('FULL-CANCEL');
    const refunded = await placePaidOrder('FULL-REFUND');
    await setLargestCount('FULL-CANCEL', 'FULL-REFUND');
    expect((await store.send('POST', `/v1/orders/${cancelled.order.id}/cancel`)).status).toBe(200);
    await store.send('POST', `/v1/payments/${refunded.payment.id}/refunds`, {});
    await until(async () => (await payments.orderOf(refunded.order.id)).status === 'refunded');
    await payments.quiet();
    for (const sku of ['FULL-CANCEL', 'FULL-REFUND']) {
      expect([sku, await quantityOf(sku)]).toEqual([sku, largestInteger]);
      const ledgerRows = await store.database.query(
        `select delta, quantity from inventory.adjustments where sku = $1 and reason like 'returned above%'`,
        [sku],
      );
      expect(ledgerRows).toEqual([{ delta: -2, quantity: largestInteger }]);
    }
    await payments.audit();
  });

  test('a held order that is cancelled or expires, and a place that is left, return their units', async () => {
    const fixture = campaignFixture(store);
    const campaign = await fixture.start('FULL-PLACE', 5);
    await addProduct(store, 'FULL-HELD', 9);
    const orders = [];
    for (let n = 0; n < 2; n++) orders.push((await store.send('POST', '/v1/orders', oneLine('FULL-HELD', 2))).body);
    await fixture.join(campaign.id, 'a');
    await setLargestCount('FULL-HELD', 'FULL-PLACE');
    expect((await store.send('POST', `/v1/orders/${orders[0]?.id}/cancel`)).status).toBe(200);
    expect((await fixture.leave(campaign.id, 'a')).status).toBe(200);
    const { id, reservation } = orders[1];
    const failed = async () => (await payments.orderOf(id)).status === 'failed';
    await cronUntil(store, new Date(reservation.expiresAt), failed);
    for (const sku of ['FULL-HELD', 'FULL-PLACE']) {
      expect(await payments.stockOf(sku)).toEqual({ quantity: largestInteger, reserved: 0 });
    }
    await payments.audit();
  });
});

test('a version that has reached the largest integer starts again at the next change of the row', async () => {
  const product = await addProduct(store, 'OLD-ROW', 9);
  await setLargestCount('OLD-ROW');
  await store.database.query(`update catalog.products set version = ${largestInteger} where sku = 'OLD-ROW'`);
  expect((await store.send('POST', '/v1/orders', oneLine('OLD-ROW'))).status).toBe(201);
  expect((await store.send('GET', '/v1/inventory/OLD-ROW')).body.version).toBe(2);
  expect((await store.send('PATCH', `/v1/products/${product.id}`, { name: 'Renamed' })).status).toBe(200);
});
