import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';

// The final total of a place in a campaign with tiers is never above what was authorized, whatever the tax.

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

const case_ = fc
  .record({
    currency: fc.constantFrom('USD', 'EUR', 'JPY', 'KRW'),
    cents: fc.integer({ min: 50, max: 5_000_000 }),
    fall: fc.double({ min: 0.001, max: 0.999, noNaN: true }),
    quantity: fc.integer({ min: 1, max: 20 }),
    taxIncluded: fc.boolean(),
    reverseCharge: fc.boolean(),
    rates: fc.uniqueArray(fc.integer({ min: 0, max: 30_000 }), { maxLength: 3 }),
    place: fc.integer({ min: -1, max: 2 }),
    shippingPlace: fc.integer({ min: -1, max: 2 }),
    shipping: fc.option(fc.integer({ min: 0, max: 3_000 })),
  })
  .map(({ cents, fall, rates, place, shippingPlace, shipping, currency, ...rest }) => {
    const unit = currency === 'JPY' || currency === 'KRW' ? 1 : 100;
    const placeOf = (n: number) => (n < 0 || n >= rates.length ? null : n);
    const lower = Math.max(1, Math.floor(cents * (1 - fall)));
    return {
      ...rest,
      currency,
      entry: (cents / unit).toFixed(unit === 1 ? 0 : 2),
      price: (lower / unit).toFixed(unit === 1 ? 0 : 2),
      terms: {
        taxIncluded: rest.taxIncluded,
        reverseCharge: rest.reverseCharge,
        rates: rates.map((rate, index) => ({ name: `Tax ${index}`, rate: (rate / 1_000).toFixed(3) })),
        tax: placeOf(place),
        shipping:
          shipping === null
            ? null
            : { price: (shipping / unit).toFixed(unit === 1 ? 0 : 2), tax: placeOf(shippingPlace) },
      },
    };
  });

const totalsOf = (price: string) => `orders.totals(c->'terms' || jsonb_build_object('currency', c->'currency', 'lines',
  jsonb_build_array(jsonb_build_object('id', '1', 'sku', 'A', 'quantity', c->'quantity', 'price', c->'${price}', 'tax',
    c->'terms'->'tax'))))`;

type Row = {
  c: ReturnType<typeof JSON.parse>;
  before: string;
  after: string;
  expected: string;
  fit: boolean;
  terms: boolean;
  lower: number;
};

describe('orders.reprice_place', () => {
  test('computes the totals at the lower price with the same terms, and never more than before', async () => {
    const cases = fc.sample(case_, { numRuns: 1_500, seed: 1_204 });
    const rows = await database.query<Row>(
      `select c, e.before->>'total' as before, r.amounts->>'total' as after, ${totalsOf('price')}->>'total' as expected,
         r.amounts ? 'terms' as terms,
         orders.lines_agree(r.amounts->'lines', (r.amounts->>'subtotal')::numeric, (r.amounts->>'discount')::numeric,
           (r.amounts->>'tax')::numeric, (r.amounts->>'shippingTax')::numeric, (r.amounts->>'taxIncluded')::boolean,
           r.amounts->'taxLines') as fit
       from jsonb_array_elements($1::jsonb) with ordinality u(c, n)
       cross join lateral (select ${totalsOf('entry')} as before) e
       cross join lateral (select orders.reprice_place(c || jsonb_build_object('sku', 'A',
         'amounts', e.before || jsonb_build_object('terms', c->'terms'))) as amounts) r
       order by n`,
      [JSON.stringify(cases)],
    );
    expect(rows).toHaveLength(cases.length);
    for (const { c, before, after, expected, fit, terms } of rows) {
      expect([after, fit, terms], JSON.stringify(c)).toEqual([expected, true, false]);
      expect(Number(after), JSON.stringify(c)).toBeLessThanOrEqual(Number(before));
    }
  });

  test('applies the rates of a tax provider, and never takes more than before', async () => {
    const cases = fc.sample(case_, { numRuns: 1_500, seed: 1_205 });
    // The provider's answer at the entry price: every rate on the line, and the first on shipping, each rounded alone.
    const rows = await database.query<Row>(
      `select c, b.amounts->>'total' as before, r.amounts->>'total' as after, r.amounts ? 'taxCalculation' as terms,
         orders.lines_agree(r.amounts->'lines', (r.amounts->>'subtotal')::numeric, (r.amounts->>'discount')::numeric,
           (r.amounts->>'tax')::numeric, (r.amounts->>'shippingTax')::numeric, (r.amounts->>'taxIncluded')::boolean,
           r.amounts->'taxLines') as fit,
         (r.amounts->'lines'->0->>'tax')::float - q.rate * (r.amounts->>'subtotal')::float
           / (100 + case when (c->>'taxIncluded')::boolean then q.rate else 0 end) as lower
       from (
         select n, c || jsonb_build_object('terms', c->'terms' || '{"rates": [], "tax": null, "reverseCharge": false}'
             || case when c->'terms'->'shipping' = 'null' then '{}'
               else jsonb_build_object('shipping', c->'terms'->'shipping' || '{"tax": null}') end) as c, c->'terms'->'rates' as rates
         from jsonb_array_elements($1::jsonb) with ordinality u(c, n)
       ) u
       cross join lateral (select ${totalsOf('entry')} as totals, case platform.currency_decimals(c->>'currency')
         when 0 then 1 else 0.01 end as unit,
         (select coalesce(sum((x->>'rate')::numeric), 0) from jsonb_array_elements(rates) x) as rate) q
       cross join lateral (
         select orders.apply_taxes(q.totals, jsonb_build_object('calculationId', 'taxcalc_1',
           'lines', jsonb_build_array(jsonb_build_object('id', '1', 'amount', sum(orders.fraction(
             (q.totals->>'subtotal')::numeric, t.rate, 100 + case when (c->>'taxIncluded')::boolean then q.rate else 0 end, q.unit)))),
           'shipping', 0, 'taxLines', coalesce(jsonb_agg(jsonb_build_object('name', t.name, 'rate', t.rate,
             'taxable', (q.totals->>'subtotal')::numeric, 'amount', orders.fraction((q.totals->>'subtotal')::numeric, t.rate, 100, q.unit))), '[]')),
           c->>'currency') || jsonb_build_object('terms', c->'terms') as amounts
         from (select x->>'name' as name, (x->>'rate')::numeric as rate from jsonb_array_elements(rates) x) t
       ) b
       cross join lateral (select orders.reprice_place(c || jsonb_build_object('sku', 'A', 'amounts', b.amounts)) as amounts) r
       order by n`,
      [JSON.stringify(cases)],
    );
    expect(rows).toHaveLength(cases.length);
    for (const { c, before, after, fit, terms, lower } of rows) {
      const unit = c.currency === 'JPY' || c.currency === 'KRW' ? 1 : 0.01;
      expect([fit, terms], JSON.stringify(c)).toEqual([true, false]);
      expect(Number(after), JSON.stringify(c)).toBeLessThanOrEqual(Number(before));
      expect(Math.abs(lower), JSON.stringify(c)).toBeLessThanOrEqual(unit * 2.001); // two rates may round against it
    }
  });

  test('lowers the tax in proportion if the rates do not explain it', async () => {
    const [row] = await database.query<{ amounts: Record<string, unknown> }>(
      `select orders.reprice_place('{"sku": "A", "quantity": 1, "price": 50, "currency": "USD", "amounts": {
         "subtotal": 100, "discount": 0, "shipping": 10, "shippingTax": 0.5, "tax": 4.5, "total": 114.5,
         "taxIncluded": false, "taxCalculation": "taxcalc_1", "shippingOption": {"id": "o"},
         "taxLines": [{"name": "Sales tax", "rate": 8, "taxable": 60, "amount": 4.5}],
         "lines": [{"id": "1", "name": "Box", "subtotal": 100, "discount": 0, "tax": 4, "total": 104}],
         "terms": {"taxIncluded": false, "rates": [], "tax": null, "shipping": {"price": 10, "tax": null}}}}') as amounts`,
    );
    expect(row?.amounts).toEqual({
      ...{ subtotal: 50, discount: 0, shipping: 10, shippingTax: 0.5, tax: 2.5, total: 62.5, taxIncluded: false },
      taxLines: [{ name: 'Sales tax', rate: 8, taxable: 30, amount: 2.5 }],
      lines: [{ id: '1', name: 'Box', subtotal: 50, discount: 0, tax: 2, total: 52 }],
      shippingOption: { id: 'o' },
    });
  });
});
