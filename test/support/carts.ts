import { createHash, randomBytes, randomUUID } from 'node:crypto';
import type { Reply, Send, Store } from './harness.ts';

export const address = { name: 'Ada', line1: 'Rue 1', city: 'Paris', postalCode: '75001', country: 'FR' };

const now = '2026-01-01T00:00:00Z';

/** Adds a tax rate of the tenant `default`. */
export const addTaxRate = (store: Store, country: string, rate: number) =>
  store.database.query(
    `insert into orders.tax_rates (id, tenant_id, name, country, rate, created_at, updated_at)
     values ($1, 'default', 'VAT', $2, $3, $4, $4)`,
    [randomUUID(), country, rate, now],
  );

/** Adds a shipping option of the tenant `default` and returns its id. */
export async function addShippingOption(store: Store, country: string, price: number): Promise<string> {
  const id = randomUUID();
  await store.database.query(
    `insert into orders.shipping_options (id, tenant_id, name, countries, currency, price, created_at, updated_at)
     values ($1, 'default', 'Post', array[$2], 'USD', $3, $4, $4)`,
    [id, country, price, now],
  );
  return id;
}

/** Adds a discount of the tenant `default` in percent and returns its id. */
export async function addDiscount(
  store: Store,
  code: string | null,
  percent: number,
  { usageLimit = null, perCustomerLimit = null }: { usageLimit?: number | null; perCustomerLimit?: number | null } = {},
): Promise<string> {
  const id = randomUUID();
  await store.database.query(
    `insert into orders.discounts (id, tenant_id, code, name, type, value, usage_limit, per_customer_limit, combinable,
       created_at, updated_at)
     values ($1, 'default', $2, 'Sale', 'percentage', $3, $4, $5, false, $6, $6)`,
    [id, code, percent, usageLimit, perCustomerLimit, now],
  );
  if (usageLimit !== null)
    await store.database.query(`insert into orders.discount_counters values ($1, 'default', 0)`, [id]);
  return id;
}

/** The shopper of a browser: a publishable key, and the token of a cart or a session. */
export type Shopper = {
  id: string;
  token: string;
  send: (method: string, path: string, body?: unknown, options?: Send) => Promise<Reply>;
  /** Sends `expectedTotal`; by default, the total that a read has just shown. */
  checkout: (expectedTotal?: number, idempotencyKey?: string) => Promise<Reply>;
};

/** Makes a cart with a publishable key. `path` of `send` begins after the cart's own path. */
export async function openCart(
  store: Store,
  input: Record<string, unknown> = {},
  key?: string,
  headers: Record<string, string> = {},
): Promise<Shopper> {
  const publishable = key ?? (await store.database.key({ kind: 'publishable' }));
  const reply = await store.send('POST', '/v1/carts', { currency: 'USD', ...input }, { key: publishable, headers });
  if (reply.status !== 201) throw new Error(`no cart: ${JSON.stringify(reply.body)}`);
  const { id, token } = reply.body;
  const send: Shopper['send'] = (method, path, body, options = {}) =>
    store.send(method, `/v1/carts/${id}${path}`, body, {
      key: publishable,
      ...options,
      headers: { 'cart-token': token, ...options.headers },
    });
  return {
    ...{ id, token, send },
    async checkout(expectedTotal, idempotencyKey) {
      const total = expectedTotal ?? (await send('GET', '')).body.totals.total;
      return send('POST', '/checkout', { expectedTotal: total }, idempotencyKey ? { idempotencyKey } : {});
    },
  };
}

/** Makes a session of a customer and returns its token. */
export async function openSession(store: Store, customerId: string, tenant = 'default'): Promise<string> {
  const token = `cs_test_${randomBytes(16).toString('hex')}`;
  await store.database.query(
    `insert into platform.customer_sessions (token_hash, tenant_id, customer_id, created_at, expires_at)
     values ($1, $2, $3, now(), now() + interval '1 hour')`,
    [createHash('sha256').update(token).digest('hex'), tenant, customerId],
  );
  return token;
}

/** Removes the taxes, shipping options and discounts of every tenant. */
export const clearTerms = (store: Store) =>
  store.database.query(
    `with a as (delete from orders.tax_rates), b as (delete from orders.shipping_options),
       c as (delete from orders.discount_counters), d as (delete from orders.discount_customers)
     delete from orders.discounts`,
  );
