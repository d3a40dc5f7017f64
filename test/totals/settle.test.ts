import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';
import { parseExactly, plainAmounts } from './exact.ts';
import { type Totals, totalsOf } from './model.ts';
import { inputOf, now, type Order, offered, type Shop, sale } from './shop.ts';

const runs = Number(process.env.MODEL_RUNS ?? 1) * 400;
const seed = Number(process.env.SEED ?? 20261130);

let database: Database;
let client: pg.Client;
beforeAll(async () => {
  database = await createDatabase();
  client = new pg.Client(database.url);
  await client.connect();
  await client.query(`select set_config('app.now', $1, false)`, [now]);
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

/** Stores each shop as a tenant of its own. */
async function store(shops: Shop[]): Promise<void> {
  const tenant = (index: number): string => `shop-${index}`;
  const rows = <T extends object>(of: (shop: Shop) => T[]) =>
    JSON.stringify(
      shops.flatMap((shop, index) =>
        of(shop).map((row, n) => ({ ...row, tenant: tenant(index), id: `${tenant(index)}-${n}`, n })),
      ),
    );
  await client.query(
    `insert into platform.tenants (id, name, country, prices_include_tax)
     select r->>'tenant', 'Shop', r->>'country', (r->>'pricesIncludeTax')::boolean from jsonb_array_elements($1::jsonb) r`,
    [rows(({ country, pricesIncludeTax }) => [{ country, pricesIncludeTax }])],
  );
  await client.query(
    `insert into catalog.products (id, tenant_id, sku, name, price, currency, tax_category, weight, collections)
     select r->>'id', r->>'tenant', r->>'sku', 'Name of ' || (r->>'sku'), 1, 'EUR', r->>'taxCategory', (r->>'weight')::int,
       array(select jsonb_array_elements_text(r->'collections')) from jsonb_array_elements($1::jsonb) r`,
    [rows(({ products }) => products)],
  );
  await client.query(
    `insert into orders.tax_rates (id, tenant_id, name, country, region, category, rate, created_at, updated_at)
     select r->>'id', r->>'tenant', r->>'name', r->>'country', r->>'region', r->>'category', (r->>'rate')::numeric, now(), now()
     from jsonb_array_elements($1::jsonb) r`,
    [rows(({ taxRates }) => taxRates)],
  );
  await client.query(
    `insert into orders.shipping_options (id, tenant_id, name, countries, currency, price, free_from, min_weight, max_weight,
       tax_category, created_at, updated_at)
     select r->>'id', r->>'tenant', 'Post', array(select jsonb_array_elements_text(r->'countries')), r->>'currency',
       (r->>'price')::numeric, (r->>'freeFrom')::numeric, (r->>'minWeight')::int, (r->>'maxWeight')::int, r->>'taxCategory',
       now(), now() from jsonb_array_elements($1::jsonb) r`,
    [rows(({ options }) => options)],
  );
  const list = (name: string): string => `case when r->'${name}' <> 'null' then
    array(select jsonb_array_elements_text(r->'${name}')) end`;
  await client.query(
    `insert into orders.discounts (id, tenant_id, code, name, type, value, currency, starts_at, ends_at, min_subtotal, skus,
       collections, usage_limit, combinable, created_at, updated_at)
     select r->>'id', r->>'tenant', r->>'code', 'Discount', r->>'type', (r->>'value')::numeric, r->>'currency',
       (r->>'startsAt')::timestamptz, (r->>'endsAt')::timestamptz, (r->>'minSubtotal')::numeric, ${list('skus')},
       ${list('collections')}, (r->>'usageLimit')::int, (r->>'combinable')::boolean, now(), now()
     from jsonb_array_elements($1::jsonb) r`,
    [rows(({ discounts }) => discounts)],
  );
  await client.query(
    `insert into orders.discount_counters (discount_id, tenant_id, used)
     select r->>'id', r->>'tenant', (r->>'used')::int from jsonb_array_elements($1::jsonb) r where r->>'usageLimit' is not null`,
    [rows(({ discounts }) => discounts)],
  );
}

type Settled = Totals & {
  invalidDiscounts: { code: string; reason: string }[];
  shippingOptions: { id: string; price: string }[];
  shippingOption: { id: string } | null;
  names: Record<string, string | null>;
};

async function settle(index: number, order: Order): Promise<Settled> {
  const lines = order.lines.map((line, n) => ({ id: String(n + 1), ...line }));
  const terms = {
    ...{ currency: order.currency, customerId: 'c', discountCodes: order.codes, shippingOptional: true },
    ...{
      shippingAddress: order.address,
      shippingOptionId: order.option === null ? null : `shop-${index}-${order.option}`,
    },
  };
  await client.query(`select set_config('app.tenant_id', $1, false)`, [`shop-${index}`]);
  const { rows } = await client.query('select orders.settle($1, $2)::text as settled', [JSON.stringify(lines), terms]);
  return parseExactly(rows[0].settled) as Settled;
}

test('an order has the totals of a model that reads every rate, shipping option and discount of its tenant', async () => {
  const sales = fc.sample(sale, { seed, numRuns: runs });
  await store(sales.map(({ shop }) => shop));
  const seen = new Set<string>();
  for (const [index, { shop, order }] of sales.entries()) {
    const settled = await settle(index, order);
    const { input, invalid } = inputOf(shop, order);
    const expected = totalsOf(input);
    const { discounts, lines, taxLines, taxIncluded, total, subtotal, discount, shipping, shippingTax, tax } = settled;
    const found = plainAmounts({ taxIncluded, total, subtotal, discount, shipping, shippingTax, tax, lines, taxLines });
    const isUntaxed = order.address === null && shop.taxRates.length > 0;
    const unknown = {
      ...(isUntaxed ? { tax: null, shippingTax: null, taxLines: null } : {}),
      ...(isUntaxed && !shop.pricesIncludeTax ? { total: null } : {}),
    };
    const { discounts: expectedDiscounts, ...amounts } = expected;
    expect({ index, shop, order, found }).toEqual({ index, shop, order, found: { ...amounts, ...unknown } });
    expect(plainAmounts(discounts)).toEqual(
      expectedDiscounts.map((one) => ({ ...one, id: one.id.replace('d-', `shop-${index}-`) })),
    );
    const refused = settled.invalidDiscounts.map(({ code, reason }) => `${code.toUpperCase()} ${reason}`);
    expect({ index, refused: refused.sort() }).toEqual({ index, refused: invalid });
    expect(settled.shippingOptions.map(({ id, price }) => `${id} ${Number(price)}`).sort()).toEqual(
      offered(shop, order)
        .map(({ index: n, price }) => `shop-${index}-${n} ${price}`)
        .sort(),
    );
    for (const { reason } of settled.invalidDiscounts) seen.add(reason);
    if (taxLines !== null && taxLines.length > 1) seen.add('several rates');
    if (discounts.length > 1) seen.add('combined');
    if (settled.shippingOption !== null) seen.add('shipping');
  }
  // The sales are of no use if they miss a rule.
  expect([...seen].sort()).toEqual(
    ['combined', 'ended', 'no_item', 'not_started', 'other_currency', 'several rates', 'shipping']
      .concat(['subtotal_too_low', 'unknown', 'used_up'])
      .sort(),
  );
});
