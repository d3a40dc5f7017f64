import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

const totals = async (input: object) =>
  (await database.query<{ totals: Record<string, unknown> }>('select orders.totals($1) as totals', [input]))[0]?.totals;

test('an amount is split over the lines to the cent, and every sum agrees', async () => {
  const line = (id: string, sku: string, quantity: number, price: number) => ({ id, sku, quantity, price, tax: 0 });
  expect(
    await totals({
      ...{ currency: 'EUR', taxIncluded: false, rates: [{ name: 'VAT', rate: 19 }] },
      lines: [line('1', 'A', 1, 10), line('2', 'B', 1, 10), line('3', 'C', 1, 10)],
      discounts: [{ id: 'd', code: 'TEN', name: 'Ten', type: 'amount', value: 10, combinable: false }],
      shipping: { price: 5, tax: 0 },
    }),
  ).toEqual({
    ...{ subtotal: 30, discount: 10, shipping: 5, shippingTax: 0.95, tax: 4.75, total: 29.75, taxIncluded: false },
    lines: [
      { id: '1', subtotal: 10, discount: 3.34, tax: 1.26, total: 7.92 },
      { id: '2', subtotal: 10, discount: 3.33, tax: 1.27, total: 7.94 },
      { id: '3', subtotal: 10, discount: 3.33, tax: 1.27, total: 7.94 },
    ],
    taxLines: [{ name: 'VAT', rate: 19, taxable: 25, amount: 4.75 }],
    discounts: [
      {
        ...{ id: 'd', code: 'TEN', name: 'Ten', amount: 10 },
        allocations: [
          { lineId: '1', amount: 3.34 },
          { lineId: '2', amount: 3.33 },
          { lineId: '3', amount: 3.33 },
        ],
      },
    ],
  });
});
