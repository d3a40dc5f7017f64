import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import Stripe from 'stripe';
import { Progress } from '../../dev/support/progress.ts';
import { type Fixture, startFixture } from '../fixture/fixture.ts';
import { fillWaiting, sharesOf } from './fill.ts';
import { help, type ReconcileScaleOptions, readReconcileScaleOptions } from './options.ts';
import { findBrokenGuarantees, type JobLine, type LostWebhook, reportOf, type TurnFacts } from './report.ts';

type Keys = Map<string, string>;
type ResponseBody = { id: string; stripePaymentIntentId: string; code?: string };

async function send(fixture: Fixture, key: string, path: string, body: object) {
  const response = await fetch(fixture.api + path, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      'idempotency-key': crypto.randomUUID(),
    },
    body: JSON.stringify(body),
  });
  return { ok: response.ok, body: (await response.json()) as ResponseBody };
}

/** @throws Error for any status other than 2xx */
async function post(fixture: Fixture, key: string, path: string, body: object) {
  const reply = await send(fixture, key, path, body);
  if (!reply.ok) throw new Error(`POST ${path}: ${JSON.stringify(reply.body)}`);
  return reply.body;
}

/** Orders the only unit of a new product and pays for it, but loses Stripe's webhook. The hold expires in `holdMs`. */
async function payWithoutWebhook(
  fixture: Fixture,
  stripe: Stripe,
  key: string,
  { tenant, sku, holdMs, turnsBefore }: { tenant: string; sku: string; holdMs: number; turnsBefore: number },
): Promise<LostWebhook> {
  await post(fixture, key, '/v1/products', { sku, name: sku, price: 10, currency: 'USD', inventory: 1 });
  const order = await post(fixture, key, '/v1/orders', { customerId: 'first', items: [{ sku, quantity: 1 }] });
  const payment = await post(fixture, key, '/v1/payments', { orderId: order.id });
  const intent = payment.stripePaymentIntentId;
  const fault = {
    times: 1,
    path: `/v1/payment_intents/${intent}/confirm`,
    action: 'delay',
    ms: 0,
    loseEvents: true,
  };
  await fetch(`${fixture.stripeUrl}/_emulator/faults`, { method: 'POST', body: JSON.stringify(fault) });
  await stripe.paymentIntents.confirm(intent, { payment_method: 'pm_card_visa', return_url: 'https://shop.test' });
  const paidAt = Date.now();
  const holdEnds = paidAt + holdMs;
  await fixture.pool.query('update inventory.reservations set expires_at = $2 where order_id = $1', [
    order.id,
    new Date(holdEnds),
  ]);
  return { tenant, sku, orderId: order.id, paidAt, holdEnds, turnsBefore, status: 'created' };
}

async function stripeRequests(fixture: Fixture): Promise<Record<string, number>> {
  const response = await fetch(`${fixture.stripeUrl}/_emulator/requests`);
  return ((await response.json()) as { requests: Record<string, number> }).requests;
}

/** The jobs of the cron scheduled for this time, from the Worker's log. */
async function jobsAt(fixture: Fixture, at: Date): Promise<JobLine[]> {
  const text = await readFile(fixture.workerLog, 'utf8');
  return text
    .split('\n')
    .filter((line) => line.includes('"kind":"job"') && line.includes(at.toISOString()))
    .map((line) => JSON.parse(line.slice(line.indexOf('{'))))
    .filter(({ id }) => String(id).endsWith(at.toISOString()))
    .map(({ id, outcome, dbCalls, applied }) => ({
      ...{ name: String(id).split(' ')[0] ?? '', outcome, dbCalls, applied: Number(applied ?? 0) },
    }));
}

/**
 * Updates the status of each lost webhook, and lets another buyer order each unit. Returns the SKUs that were sold
 * again.
 */
async function checkOrders(fixture: Fixture, keys: Keys, lost: LostWebhook[], turn: number): Promise<string[]> {
  const soldAgain: string[] = [];
  for (const webhook of lost) {
    const { rows } = await fixture.pool.query<{ status: string; updated_at: Date }>(
      'select status, updated_at from orders.orders where id = $1',
      [webhook.orderId],
    );
    webhook.status = rows[0]?.status ?? 'missing';
    if (webhook.status === 'confirmed' && webhook.turn === undefined) {
      webhook.turn = turn;
      webhook.repairedAt = rows[0]?.updated_at.getTime() ?? 0;
    }
    const order = { customerId: 'second', items: [{ sku: webhook.sku, quantity: 1 }] };
    const reply = await send(fixture, keys.get(webhook.tenant) ?? '', '/v1/orders', order);
    if (reply.ok) soldAgain.push(webhook.sku);
    else if (reply.body.code !== 'insufficient_inventory')
      throw new Error(`POST /v1/orders: ${JSON.stringify(reply.body)}`);
  }
  return soldAgain;
}

/** Describes rows of stock, holds, orders and payments that do not match. */
async function findInconsistencies(fixture: Fixture): Promise<string[]> {
  const { rows } = await fixture.pool.query<{ problem: string }>(`
    with used as (
      select r.tenant_id, l.sku, coalesce(sum(l.n) filter (where r.status = 'held'), 0) as held,
        coalesce(sum(l.n) filter (where r.status in ('held', 'committed', 'released')), 0) as ever,
        coalesce(sum(l.n) filter (where r.status = 'committed'), 0) as committed
      from inventory.reservations r, unnest(r.skus, r.quantities) l(sku, n) group by 1, 2
    )
    select format('%s %s: %s in stock, %s reserved, %s held, %s sold', i.tenant_id, i.sku, i.quantity, i.reserved, u.held,
      u.committed) as problem
    from inventory.inventory i join used u using (tenant_id, sku)
    where i.reserved <> u.held or i.quantity < 0
      or i.quantity + i.reserved + u.committed <> case when i.sku = 'CROWD' then u.ever else 1 end
    union all
    select format('%s orders %s whose hold is %s and whose payment is %s', count(*), o.status, r.status, p.status)
    from orders.orders o join inventory.reservations r on r.order_id = o.id join payments.payments p on p.order_id = o.id
    where (o.status = 'confirmed') <> (r.status = 'committed') or (o.status = 'confirmed') <> (p.status = 'succeeded')
      or (o.status = 'failed') <> (r.status = 'released')
    group by o.status, r.status, p.status`);
  return rows.map(({ problem }) => problem);
}

/**
 * The buyers that pay before this turn: one for each tenant and a second for the first, spread over the turns. Every
 * second hold expires before the next cron.
 */
const buyersOf = ({ tenants, turns, every }: ReconcileScaleOptions, turn: number) =>
  Array.from({ length: tenants + 1 }, (_, n) => ({
    tenant: `tenant-${n % tenants}`,
    sku: `LAST-${n}`,
    holdMs: n % 2 === 0 ? (every * 1_000) / 4 : 900_000,
    n,
  })).filter(({ n }) => n % (turns - 1) === turn - 1 && turn < turns);

async function run(options: ReconcileScaleOptions, progress: Progress): Promise<boolean> {
  const fixture = await startFixture({ progress, variables: { RESERVATION_TTL_SECONDS: '900' } });
  try {
    const { hostname, port } = new URL(fixture.stripeUrl ?? '');
    const stripe = new Stripe('sk_test_dev', { host: hostname, port, protocol: 'http', maxNetworkRetries: 2 });
    const keys: Keys = new Map();
    const shares = sharesOf(options.payments, options.tenants);
    for (const { tenant } of shares) keys.set(tenant, await fixture.createKey(tenant));
    await progress.step('Payments', async () => {
      for (const { tenant, count } of shares) await fillWaiting(fixture, tenant, count);
      await fixture.pool.query('analyze');
    });
    const lost: LostWebhook[] = [];
    const turns: TurnFacts[] = [];
    const soldTwice: string[] = [];
    let requests: Record<string, number> = {};
    for (let turn = 1; turn <= options.turns; turn++) {
      const next = Date.now() + options.every * 1_000;
      for (const buyer of buyersOf(options, turn)) {
        const key = keys.get(buyer.tenant) ?? '';
        lost.push(await payWithoutWebhook(fixture, stripe, key, { ...buyer, turnsBefore: turn - 1 }));
      }
      await sleep(Math.max(next - Date.now(), 0));
      if (turn === 1) requests = await stripeRequests(fixture);
      const at = new Date();
      const facts = await progress.step(`Turn ${turn}`, async () => {
        const { rows } = await fixture.pool.query<{ n: number }>(
          `select count(*)::int as n from payments.payments where status = 'pending'`,
        );
        await fixture.cron('* * * * *', at);
        return { at: at.getTime(), jobs: await jobsAt(fixture, at), stripe: {}, waiting: rows[0]?.n ?? 0 } as TurnFacts;
      });
      soldTwice.push(...(await checkOrders(fixture, keys, lost, turn)));
      const now = await stripeRequests(fixture);
      const before = requests;
      facts.stripe = Object.fromEntries(
        Object.entries(now)
          .map(([name, n]): [string, number] => [name, n - (before[name] ?? 0)])
          .filter(([, n]) => n > 0),
      );
      requests = now;
      turns.push(facts);
    }
    await progress.step('Queues', () => fixture.settled());
    console.log(reportOf(lost, turns));
    const broken = findBrokenGuarantees(lost, turns, [...new Set(soldTwice)], await findInconsistencies(fixture));
    console.log(
      broken.length === 0
        ? `  All guarantees held: ${lost.length} lost webhooks repaired, no unit sold twice.`
        : broken.map((text) => `  BROKEN  ${text}`).join('\n'),
    );
    return broken.length === 0;
  } finally {
    await fixture.stop();
  }
}

try {
  const options = readReconcileScaleOptions(process.argv.slice(2));
  if (options === null) console.log(help);
  else {
    const progress = new Progress((text) => process.stdout.write(text), process.stdout.isTTY === true);
    if (!(await run(options, progress))) process.exitCode = 1;
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
