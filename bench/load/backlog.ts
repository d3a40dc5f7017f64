import type { Fixture } from '../fixture/fixture.ts';

/** The messages of one request to the queue, as the queue's binding sends them: at most 100. */
const batchSize = 100;

async function post(fixture: Fixture, path: string, body: unknown = {}): Promise<void> {
  const response = await fetch(`${fixture.inventoryQueueUrl}${path}`, { method: 'POST', body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`POST ${path} to the queue returned ${response.status}`);
}

/**
 * Adds orders of one unit whose holds are pending, as POST /v1/orders with `Prefer: respond-async` writes them, and
 * their order.created messages to the inventory's queue, which is paused.
 */
export async function fillQueue(fixture: Fixture, sku: string, count: number): Promise<void> {
  await post(fixture, '/pause');
  // Orders of the case `order-intake` have no message in the queue.
  await fixture.pool.query(`update inventory.reservations set status = 'released' where status = 'pending'`);
  const { rows } = await fixture.pool.query<{ event: object }>(
    `with new_orders as (
       insert into orders.orders (id, customer_id, items, total, currency, status, tenant_id)
       select platform.uuid7(), 'customer-' || g, jsonb_build_array(jsonb_build_object('sku', $1::text, 'quantity', 1,
         'price', 10)), 10, 'USD', 'created', 'default'
       from generate_series(1, $2::int) g returning id, customer_id, items
     ), new_holds as (
       insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, created_at)
       select id, 'default', array[$1::text], array[1], 'pending', now() from new_orders
     ), new_events as (
       insert into platform.events (tenant_id, topic, key, payload, time)
       select 'default', 'order.created', id, jsonb_build_object('orderId', id, 'customerId', customer_id, 'total', 10,
         'currency', 'USD', 'items', items), now() from new_orders order by id
       returning *
     )
     select platform.envelope(e) as event from new_events e order by e.seq`,
    [sku, count],
  );
  for (let from = 0; from < rows.length; from += batchSize) {
    const messages = rows
      .slice(from, from + batchSize)
      .map(({ event }) => ({ body: Buffer.from(JSON.stringify(event)).toString('base64') }));
    await post(fixture, '/batch', { messages });
  }
}

/** Starts the delivery of a filled queue. */
export const resumeQueue = (fixture: Fixture): Promise<void> => post(fixture, '/resume');
