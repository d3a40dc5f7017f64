import { neon } from '@neondatabase/serverless';
import { drizzle } from 'drizzle-orm/neon-http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openSession, type Session } from '../../bench/growth/session.ts';
import { sha256 } from '../../src/base/sha256.ts';
import { orderPage } from '../../src/db/orders/queries.ts';
import { createDatabase, type Database } from '../support/harness.ts';

let database: Database;
let session: Session;

beforeAll(async () => {
  database = await createDatabase();
  session = await openSession(database.url);
});
afterAll(async () => {
  await session.close();
  await database.drop();
});

test('a page of orders reads only the payments of its orders, however much the tenant has grown since its tables were analyzed', async () => {
  const key = await database.key();
  await database.query('analyze');
  await database.query(`
    insert into orders.orders (id, tenant_id, customer_id, items, total, currency, status, created_at, updated_at)
    select 'order-' || n, 'default', 'c', '[]', 10, 'USD', 'created', now(), now() from generate_series(1, 1000) n`);
  await database.query(`
    insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id)
    select 'payment-' || n, 'order-' || n, 10, 'USD', 'pending', 'default' from generate_series(1, 1000) n`);
  const { sql: text, params: values } = orderPage(
    drizzle(neon('postgres://u:p@localhost/d')),
    {},
    undefined,
    21,
  ).toSQL();
  const read = { call: JSON.stringify({ keyHash: sha256(key) }), scope: 'orders:read' };
  const { lines } = await session.explain({ text, values, read });
  const scans = lines.flatMap((line) => line.scans);
  expect(scans.filter((scan) => scan.includes('payments'))).toEqual([
    'Index Scan idx_payments_order on payments: 21',
    'Index Scan idx_payments_order on payments: 21', // for its refunds
  ]);
});
