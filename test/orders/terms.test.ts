import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addProduct, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const now = '2026-01-01T00:00:00Z';
const address = { name: 'Ada', line1: 'Rue 1', city: 'Paris', postalCode: '75001', country: 'FR' };

test('an order has the tax of its address, the price of its shipping option and its discounts', async () => {
  const { sku } = await addProduct(store, 'TERMS', 10, 10);
  await store.database.query(
    `insert into orders.tax_rates (id, tenant_id, name, country, rate, created_at, updated_at)
     values ('rate', 'default', 'TVA', 'FR', 20, $1, $1)`,
    [now],
  );
  const optionId = randomUUID();
  await store.database.query(
    `insert into orders.shipping_options (id, tenant_id, name, countries, currency, price, created_at, updated_at)
     values ($2, 'default', 'Post', '{FR}', 'USD', 5, $1, $1)`,
    [now, optionId],
  );
  const discountId = randomUUID();
  await store.database.query(
    `insert into orders.discounts (id, tenant_id, code, name, type, value, usage_limit, combinable, created_at, updated_at)
     values ($2, 'default', 'Spring', 'Spring sale', 'percentage', 10, 1, false, $1, $1)`,
    [now, discountId],
  );
  await store.database.query(`insert into orders.discount_counters values ($1, 'default', 0)`, [discountId]);
  const input = {
    ...{ customerId: 'c', items: [{ sku, quantity: 3 }], shippingAddress: address, email: 'ada@example.com' },
    ...{ discountCodes: ['spring'], shippingOptionId: optionId },
  };
  const placed = await store.send('POST', '/v1/orders', input);
  expect(placed.status, JSON.stringify(placed.body)).toBe(201);
  expect(placed.body).toMatchObject({
    ...{ subtotal: 30, discountTotal: 3, shippingTotal: 5, shippingTax: 1, taxTotal: 6.4, total: 38.4 },
    taxLines: [{ name: 'TVA', rate: 20, taxable: 32, amount: 6.4 }],
    discounts: [{ id: discountId, code: 'Spring', amount: 3, allocations: [{ lineId: '1', amount: 3 }] }],
    items: [{ id: '1', sku, discount: 3, tax: 5.4, total: 32.4 }],
  });
  const read = await store.send('GET', `/v1/orders/${placed.body.id}`);
  expect(read.body).toMatchObject({ items: placed.body.items, total: 38.4, number: placed.body.number });

  const second = await store.send('POST', '/v1/orders', input);
  expect([second.status, second.body.code]).toEqual([422, 'discount_invalid']);
  await store.send('POST', `/v1/orders/${placed.body.id}/cancel`, {});
  const third = await store.send('POST', '/v1/orders', input);
  expect(third.status, JSON.stringify(third.body)).toBe(201);
});
