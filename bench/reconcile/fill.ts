import type { Fixture } from '../fixture/fixture.ts';

/** The number of waiting payments of each tenant. The first tenant has 90 %. */
export function sharesOf(payments: number, tenants: number): { tenant: string; count: number }[] {
  const rest = Math.floor((payments * 0.1) / (tenants - 1));
  return Array.from({ length: tenants }, (_, n) => ({
    tenant: `tenant-${n}`,
    count: n === 0 ? payments - rest * (tenants - 1) : rest,
  }));
}

/**
 * Payments that wait for their buyers, and their orders of one unit. Their holds expire over the next hour, some of
 * them during the run. The cron has checked each payment at Stripe within the last ten minutes.
 */
const rows = `
  with made as (
    insert into orders.orders (id, tenant_id, customer_id, items, total, currency, status, created_at, updated_at)
    select $1 || '-' || n, $1, 'c', '[{"sku":"CROWD","quantity":1,"price":10}]', 10, 'USD', 'created', now(), now()
    from generate_series($2::int, $3::int) n returning id, split_part(id, '-', 3)::int as n
  ), held as (
    insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
    select id, $1, array['CROWD'], array[1], 'held', now() + n % 3600 * interval '1 second', now() from made
  )
  insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id, stripe_payment_intent_id,
    intent_open, created_at, updated_at, checked_at)
  select 'p-' || id, id, 10, 'USD', 'pending', $1, 'pi_' || replace(id, '-', '_'), true, now(), now(),
    now() - n % 600 * interval '1 second'
  from made`;

async function addIntents(fixture: Fixture, tenant: string, from: number, to: number): Promise<void> {
  const intents = Array.from({ length: to - from + 1 }, (_, n) => {
    const orderId = `${tenant}-${from + n}`;
    return {
      id: `pi_${orderId.replaceAll('-', '_')}`,
      amount: 1_000,
      currency: 'usd',
      metadata: { paymentId: `p-${orderId}`, orderId, tenant },
    };
  });
  const response = await fetch(`${fixture.stripeUrl}/_emulator/intents`, {
    method: 'POST',
    body: JSON.stringify({ intents }),
  });
  if (!response.ok) throw new Error(`the Stripe emulator returned ${response.status}: ${await response.text()}`);
}

const chunk = 4_000;

/** Inserts a tenant's waiting payments into the database and into the Stripe emulator. */
export async function fillWaiting(fixture: Fixture, tenant: string, count: number): Promise<void> {
  await fixture.pool.query(
    `insert into inventory.inventory (sku, tenant_id, quantity, reserved) values ('CROWD', $1, 0, $2)`,
    [tenant, count],
  );
  for (let from = 1; from <= count; from += chunk) {
    const to = Math.min(from + chunk - 1, count);
    await Promise.all([fixture.pool.query(rows, [tenant, from, to]), addIntents(fixture, tenant, from, to)]);
  }
}
