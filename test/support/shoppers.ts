import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { type Database, oneLine, type Send, type Store } from './harness.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** A customer, and a session of it. */
export type Customer = { id: string; email: string; session: string };

/** Creates a customer in the database. */
export async function addCustomer({ query }: Database, tenant = 'default', fields: { email?: string } = {}) {
  const id = randomUUID();
  const email = fields.email ?? `${id}@example.com`;
  await query(
    `insert into orders.customers (id, tenant_id, email, created_at, updated_at) values ($1, $2, $3, now(), now())`,
    [id, tenant, email],
  );
  return { id, email };
}

/** Opens a session in the database. */
export async function addSession({ query }: Database, customerId: string, tenant = 'default', seconds = 3_600) {
  const session = `cs_test_${randomBytes(16).toString('hex')}`;
  await query(
    `insert into platform.customer_sessions (token_hash, tenant_id, customer_id, created_at, expires_at)
     values ($1, $2, $3, now() - interval '1 hour', now() + make_interval(secs => $4))`,
    [sha256(session), tenant, customerId, seconds],
  );
  return session;
}

/** A new customer with a session. */
export async function addShopper(database: Database, tenant = 'default'): Promise<Customer> {
  const customer = await addCustomer(database, tenant);
  return { ...customer, session: await addSession(database, customer.id, tenant) };
}

export const makeCartToken = (): string => `ct_test_${randomBytes(16).toString('hex')}`;

/** Makes a cart whose order this is, and returns its token. */
export async function addCartOf({ query }: Database, orderId: string, token = makeCartToken(), tenant = 'default') {
  const id = randomUUID();
  await query(
    `insert into orders.carts (id, tenant_id, token_hash, status, currency, order_id, expires_at, created_at, updated_at)
     values ($1, $2, $3, 'ordered', 'USD', $4, now() + interval '1 day', now(), now())`,
    [id, tenant, sha256(token), orderId],
  );
  await query('update orders.orders set cart_id = $2 where id = $1', [orderId, id]);
  return token;
}

/** Places an order of a customer with the store's secret key. */
export async function placeOrderOf(
  store: Store,
  customerId: string,
  sku: string,
  more: object = {},
  options: Send = {},
) {
  const { status, body } = await store.send('POST', '/v1/orders', oneLine(sku, 1, { customerId, ...more }), options);
  if (status !== 201) throw new Error(`no order: ${JSON.stringify(body)}`);
  return body as { id: string };
}

export const withCart = (key: string, token: string): Send => ({ key, headers: { 'cart-token': token } });
