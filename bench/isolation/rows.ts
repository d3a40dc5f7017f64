import type { Fixture } from '../fixture/fixture.ts';
import type { Noise } from './options.ts';

const rejectingTables = [
  ['orders.orders', 'id'],
  ['inventory.reservations', 'order_id'],
  ['payments.payments', 'order_id'],
  ['shipping.label_requests', 'order_id'],
  ['shipping.label_voids', 'order_id'],
] as const;

/** Makes the database reject every change of the noisy tenant's bad rows. */
export async function rejectBadRows(fixture: Fixture): Promise<void> {
  await fixture.pool.query(`
    create function public.reject_change() returns trigger language plpgsql as $$
    begin
      raise exception using errcode = '23514', constraint = 'bad_row', message = 'a bad row';
    end $$`);
  for (const [table, id] of rejectingTables) {
    await fixture.pool.query(`create trigger reject_change before update on ${table} for each row
      when (old.tenant_id = 'noisy' and old.${id} like 'bad-%') execute function public.reject_change()`);
  }
}

const badRows = `
  insert into inventory.inventory (sku, tenant_id, quantity, reserved) values ('BAD', 'noisy', 0, 300)
    on conflict do nothing;
  insert into orders.orders (id, tenant_id, customer_id, items, total, currency, status, created_at, updated_at)
    select 'bad-ROUND-' || n, 'noisy', 'c', '[{"sku":"BAD","quantity":1,"price":10}]', 10, 'USD', 'created', now(), now()
    from generate_series(1, 300) n;
  insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
    select 'bad-ROUND-' || n, 'noisy', '{BAD}', '{1}', case when n <= 200 then 'held' else 'pending' end,
      case when n <= 200 then now() - interval '1 hour' end, now() - interval '1 hour'
    from generate_series(1, 300) n;
  insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id, stripe_payment_intent_id,
      intent_open, mode, checked_at)
    select 'bad-ROUND-' || n, 'bad-ROUND-' || n, 10, 'USD', 'pending', 'noisy', 'pi_bad_ROUND_' || n, true, 'hold',
      now() - interval '1 hour'
    from generate_series(1, 100) n;
  insert into shipping.label_requests (order_id, tenant_id, shipment_id, status, address, attempts, tried_at, created_at)
    select 'bad-ROUND-' || n, 'noisy', 'bad-ROUND-' || n, 'open', '{}', 1, now() - interval '1 day',
      now() - interval '1 day'
    from generate_series(1, 100) n;
  insert into shipping.label_voids (shipment_id, tenant_id, order_id, status, due_at, created_at)
    select 'bad-ROUND-' || n, 'noisy', 'bad-ROUND-' || n, 'open', now() - interval '1 hour', now()
    from generate_series(1, 100) n;
  with entered as materialized (select platform.act_as('noisy'))
    select platform.emit('no.such.topic', 'bad-ROUND-' || n, '{}', false) from entered, generate_series(1, 300) n;`;

const slowPayments = `
  insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id, stripe_payment_intent_id,
      intent_open, mode, campaign_id, user_id, capture_asked, checked_at)
    select 'slow-ROUND-' || n, 'slow-ROUND-' || n, 10, 'USD', case when n % 2 = 0 then 'pending' else 'cancelled' end,
      'noisy', 'pi_noisy_ROUND_' || n, true, 'hold', 'c', 'u-' || n, n % 2 = 0, now()
    from generate_series(1, 800) n;
  with entered as materialized (select platform.act_as('noisy'))
    select platform.emit(
      case when n % 2 = 0 then 'payment.capture.requested' else 'payment.cancelled' end,
      'slow-ROUND-' || n, jsonb_build_object('paymentId', 'slow-ROUND-' || n, 'orderId', 'slow-ROUND-' || n), true)
    from entered, generate_series(1, 800) n;`;

const removal = `
  set session_replication_role = replica;
  delete from platform.outbox where tenant_id = 'noisy';
  delete from platform.dead_letters where tenant_id = 'noisy';
  delete from payments.payments where tenant_id = 'noisy';
  delete from inventory.reservations where tenant_id = 'noisy';
  delete from orders.orders where tenant_id = 'noisy';
  delete from shipping.label_requests where tenant_id = 'noisy';
  delete from shipping.label_voids where tenant_id = 'noisy';
  set session_replication_role = origin;`;

/** Adds the rows of a noisy phase, and makes the Stripe emulator slow for their payments. */
export async function addNoise(fixture: Fixture, round: number, noises: Noise[]): Promise<void> {
  if (noises.includes('bad-rows')) await fixture.pool.query(badRows.replaceAll('ROUND', String(round)));
  if (!noises.includes('queue')) return;
  const fault = { times: 1_000_000, path: '/v1/payment_intents/pi_noisy', action: 'delay', ms: 2_000 };
  await fetch(`${fixture.stripeUrl}/_emulator/faults`, { method: 'POST', body: JSON.stringify(fault) });
  await fixture.pool.query(slowPayments.replaceAll('ROUND', String(round)));
}

/** Removes the noisy tenant's rows, so that queues and jobs have no work from them in the next quiet phase. */
export async function removeNoise(fixture: Fixture): Promise<void> {
  await fixture.pool.query(removal);
}
