import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Stripe from 'stripe';
import { Progress } from '../dev/progress.ts';
import type { NoiseJob } from './isolation-noise.ts';
import { help, type IsolationOptions, readIsolationOptions } from './isolation-options.ts';
import { type Rig, startRig } from './rig.ts';

const kinds = ['order', 'payment', 'webhook', 'refund'] as const;
type Times = Record<(typeof kinds)[number], number[]>;

async function send(rig: Rig, key: string, method: string, path: string, body?: object) {
  const response = await fetch(rig.api + path, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      ...(method === 'POST' && { 'idempotency-key': crypto.randomUUID() }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 200)}`);
  return JSON.parse(text);
}

/** One sale of the calm tenant: ordered, paid, heard of by webhook, refunded. Adds the milliseconds of each. */
async function sell(rig: Rig, key: string, stripe: Stripe, times: Times): Promise<void> {
  const timed = async <T>(kind: keyof Times, work: () => Promise<T>): Promise<T> => {
    const start = performance.now();
    const result = await work();
    times[kind].push(performance.now() - start);
    return result;
  };
  const reach = async (path: string, status: string): Promise<void> => {
    const late = Date.now() + 60_000;
    while ((await send(rig, key, 'GET', path)).status !== status) {
      if (Date.now() > late) throw new Error(`${path} is not ${status} after a minute`);
      await sleep(10);
    }
  };
  const order = await timed('order', () =>
    send(rig, key, 'POST', '/v1/orders', { customerId: 'calm', items: [{ sku: 'CALM', quantity: 1 }] }),
  );
  const payment = await timed('payment', () => send(rig, key, 'POST', '/v1/payments', { orderId: order.id }));
  const options = { payment_method: 'pm_card_visa', return_url: 'https://shop.test' };
  await stripe.paymentIntents.confirm(payment.stripePaymentIntentId, options);
  await timed('webhook', () => reach(`/v1/orders/${order.id}`, 'confirmed'));
  await timed('refund', async () => {
    await send(rig, key, 'POST', `/v1/payments/${payment.id}/refunds`, {});
    await reach(`/v1/payments/${payment.id}`, 'refunded');
  });
}

async function measure(rig: Rig, key: string, stripe: Stripe, seconds: number): Promise<Times> {
  const times: Times = { order: [], payment: [], webhook: [], refund: [] };
  let cron = Date.now();
  const end = Date.now() + seconds * 1000;
  let running: Promise<unknown> = Promise.resolve();
  while (Date.now() < end) {
    if (Date.now() >= cron) {
      cron = Date.now() + 10_000;
      running = Promise.all([running, rig.cron()]).catch(() => undefined);
    }
    await sell(rig, key, stripe, times);
    await sleep(100);
  }
  await running;
  return times;
}

/** Rows of the noisy tenant that raise in every job, and a queue full of charges for which Stripe is slow. */
async function prepareNoise(rig: Rig): Promise<void> {
  await rig.pool.query(`
    create function public.refuse() returns trigger language plpgsql as $$
    begin
      raise exception using errcode = '23514', constraint = 'bad_row', message = 'a bad row';
    end $$;
    create trigger refuse before update on orders.orders for each row
      when (old.tenant_id = 'noisy' and old.id like 'bad-%') execute function public.refuse();
    create trigger refuse before update on inventory.reservations for each row
      when (old.tenant_id = 'noisy' and old.order_id like 'bad-%') execute function public.refuse();
    create trigger refuse before update on payments.payments for each row
      when (old.tenant_id = 'noisy' and old.order_id like 'bad-%') execute function public.refuse();
    insert into inventory.inventory (sku, tenant_id, quantity, reserved) values ('BAD', 'noisy', 0, 300);
    insert into orders.orders (id, tenant_id, customer_id, items, total, currency, status, created_at, updated_at)
      select 'bad-' || n, 'noisy', 'c', '[{"sku":"BAD","quantity":1,"price":10}]', 10, 'USD', 'created', now(), now()
      from generate_series(1, 300) n;
    insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
      select 'bad-' || n, 'noisy', '{BAD}', '{1}', case when n <= 200 then 'held' else 'pending' end,
        case when n <= 200 then now() - interval '1 hour' end, now() - interval '1 hour'
      from generate_series(1, 300) n;
    insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id, stripe_payment_intent_id,
        intent_open, mode, campaign_id, user_id, capture_asked, checked_at)
      select 'slow-' || n, 'slow-' || n, 10, 'USD', case when n % 2 = 0 then 'pending' else 'cancelled' end, 'noisy',
        'pi_noisy_' || n, true, 'hold', 'c', 'u-' || n, n % 2 = 0, now()
      from generate_series(1, 1000) n;`);
  await rig.pool.query(
    `with entered as materialized (select platform.act_as('noisy')), emitted as materialized (
       select platform.emit(case when n % 2 = 0 then 'payment.capture.requested' else 'payment.cancelled' end, 'slow-' || n,
         jsonb_build_object('paymentId', 'slow-' || n, 'orderId', 'slow-' || n), true)
       from entered, generate_series(1, 1000) n) select count(*) from emitted`,
  );
  const fault = { times: 1_000_000, path: '/v1/payment_intents/pi_noisy', action: 'delay', ms: 2_000 };
  await fetch(`${rig.stripeUrl}/_emulator/faults`, { method: 'POST', body: JSON.stringify(fault) });
}

function startNoise(job: NoiseJob): ChildProcess {
  const child = fork(join(import.meta.dirname, 'isolation-noise.ts'), { execArgv: ['--no-warnings'] });
  child.on('error', () => undefined);
  child.send(job);
  return child;
}

const quantile = (values: number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] ?? Number.NaN;

function printTable(quiet: Times, noisy: Times): void {
  const row = (cells: string[]): void => console.log(`  ${cells.map((cell) => cell.padStart(10)).join('')}`);
  console.log('\n  milliseconds of the calm tenant, alone and beside the noisy one\n');
  row(['', 'sales', 'p50', 'p95', 'sales', 'p50', 'p95', 'times']);
  for (const kind of kinds) {
    const [a, b] = [quiet[kind], noisy[kind]];
    const figures = [a, b].flatMap((of) => [
      String(of.length),
      quantile(of, 0.5).toFixed(0),
      quantile(of, 0.95).toFixed(0),
    ]);
    row([kind, ...figures, (quantile(b, 0.95) / quantile(a, 0.95)).toFixed(1)]);
  }
}

async function run(options: IsolationOptions, progress: Progress): Promise<void> {
  const rig = await startRig({ progress, variables: { RESERVATION_TTL_SECONDS: '900' } });
  let noise: ChildProcess | undefined;
  try {
    const [calm, noisy] = [await rig.key('calm'), await rig.key('noisy')];
    const { hostname, port } = new URL(rig.stripeUrl ?? '');
    const stripe = new Stripe('sk_test_dev', { host: hostname, port, protocol: 'http', maxNetworkRetries: 2 });
    const product = { price: 10, currency: 'USD', inventory: 1_000_000 };
    await send(rig, calm, 'POST', '/v1/products', { ...product, sku: 'CALM', name: 'Calm' });
    const { id: productId } = await send(rig, noisy, 'POST', '/v1/products', {
      ...product,
      sku: 'NOISE',
      name: 'Noise',
    });
    const campaign = await send(rig, noisy, 'POST', '/v1/campaigns', {
      productId,
      minParticipants: 100_000,
      maxParticipants: 500_000,
      price: 5,
      startTime: new Date(Date.now() - 60_000).toISOString(),
      endTime: new Date(Date.now() + 86_400_000).toISOString(),
    });
    await measure(rig, calm, stripe, 5);
    const quiet = await progress.step('Alone', () => measure(rig, calm, stripe, options.seconds));
    await progress.step('Bad rows', () => prepareNoise(rig));
    noise = startNoise({ api: rig.api, key: noisy, campaignId: campaign.id, rate: options.rate });
    const loud = await progress.step('With noise', () => measure(rig, calm, stripe, options.seconds));
    printTable(quiet, loud);
  } finally {
    if (noise?.connected) noise.disconnect();
    await rig.stop();
  }
}

try {
  const options = readIsolationOptions(process.argv.slice(2));
  if (options === null) console.log(help);
  else await run(options, new Progress((text) => process.stdout.write(text), process.stdout.isTTY === true));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
