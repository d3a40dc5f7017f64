import { randomBytes } from 'node:crypto';
import type { Fixture } from '../fixture/fixture.ts';
import type { OpenCart } from './job.ts';

/** A tenant with a tax rate, a shipping option and a discount code, whose products all have one price. */
export type CartShop = { publishableKey: string; shippingOptionId: string };

const tenant = 'carts';
const skuCount = 10_000;
const cartCode = 'SAVE10';
/** The carts have these quantities of three SKUs, so they all cost the same. */
const quantities = [1, 2, 3];

async function post(fixture: Fixture, key: string, path: string, body: unknown): Promise<{ id: string }> {
  const response = await fetch(`${fixture.api}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (response.status !== 201) throw new Error(`POST ${path} returned ${response.status}: ${await response.text()}`);
  return (await response.json()) as { id: string };
}

/** Creates the tenant: 10,000 products by SQL, since they are not measured, and its terms by the API. */
export async function seedCartShop(fixture: Fixture): Promise<CartShop> {
  const secretKey = await fixture.createKey(tenant);
  const publishableKey = await fixture.createKey(tenant, 'publishable');
  await fixture.pool.query(
    `insert into catalog.products (id, sku, name, price, currency, tenant_id)
     select platform.uuid7(), 'sku-' || g, 'Product ' || g, 10, 'USD', $1 from generate_series(1, $2::int) g`,
    [tenant, skuCount],
  );
  await fixture.pool.query(
    `insert into inventory.inventory (sku, tenant_id, quantity)
     select 'sku-' || g, $1, 1000000000 from generate_series(1, $2::int) g`,
    [tenant, skuCount],
  );
  await post(fixture, secretKey, '/v1/tax-rates', { name: 'Sales tax', country: 'US', rate: 8 });
  const terms = { name: 'Standard', countries: ['US'], currency: 'USD', price: 5 };
  const { id: shippingOptionId } = await post(fixture, secretKey, '/v1/shipping-options', terms);
  const discount = { code: cartCode, name: '10 %', type: 'percentage', value: 10 };
  await post(fixture, secretKey, '/v1/discounts', discount);
  for (const table of ['catalog.products', 'inventory.inventory']) await fixture.pool.query(`vacuum analyze ${table}`);
  return { publishableKey, shippingOptionId };
}

/**
 * Adds carts that can be checked out, as the API writes them: three lines, an address, a shipping option and a code.
 */
export async function seedCarts(fixture: Fixture, shop: CartShop, count: number): Promise<OpenCart[]> {
  const prefix = `ct_${randomBytes(12).toString('hex')}`;
  const address = { name: 'Ada', street1: '1 Main St', city: 'Springfield', state: 'IL', zip: '62701', country: 'US' };
  const { rows } = await fixture.pool.query<{ id: string; token: string }>(
    `with made as (
       select platform.uuid7() as id, $2 || g as token, g from generate_series(1, $8::int) g
     ), added as (
       insert into orders.carts (id, tenant_id, token_hash, status, currency, items, email, shipping_address,
         shipping_option_id, discount_codes, expires_at, created_at, updated_at)
       select m.id, $1, encode(sha256(convert_to(m.token, 'UTF8')), 'hex'), 'open', 'USD', (
           select jsonb_agg(jsonb_build_object('id', platform.uuid7(), 'quantity', q.n,
             'sku', 'sku-' || (1 + (m.g * 7919 + q.place * 3333) % $4::int)) order by q.place)
           from unnest($3::int[]) with ordinality q(n, place)),
         'ada@example.com', $5::jsonb, $6, array[$7], now() + interval '1 day', now(), now()
       from made m
     )
     select id, token from made`,
    [tenant, prefix, quantities, skuCount, JSON.stringify(address), shop.shippingOptionId, cartCode, count],
  );
  return rows;
}
