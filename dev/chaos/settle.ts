import { setTimeout as sleep } from 'node:timers/promises';
import type { Journal } from './journal.ts';
import { member } from './journal.ts';
import type { ChaosPlatform } from './platform.ts';

/** What is still to be done, each with a number. */
export type Open = Record<string, number>;

/** The id that a history of it goes by, and the rows. */
const questions: Record<string, [id: string, rows: string]> = {
  'events to deliver': ['key', 'platform.outbox'],
  'holds to decide': ['order_id', `inventory.reservations where status = 'pending'`],
  'holds that have not ended': ['order_id', `inventory.reservations where status = 'held'`],
  'orders without an end': ['id', `orders.orders where status = 'created'`],
  'payments to settle': [
    'payment_id',
    `payments.payments where status = 'pending' or intent_open or refunds_told > refund_done`,
  ],
  'refunds to make': ['payment_id', `payments.refunds where status = 'pending'`],
  'campaigns to settle': [
    'id',
    `group_commerce.group_commerce_campaigns where status = 'active' or settled_at is null`,
  ],
  'places to settle': ['order_id', `group_commerce.participants where state in ('joined', 'secured', 'ordered')`],
  'labels to make': ['order_id', `shipping.label_requests where status = 'open'`],
};

/** Counts everything that is open: rows, and webhooks that Stripe still has to send. */
export async function countOpen(platform: ChaosPlatform): Promise<Open> {
  const sql = Object.entries(questions)
    .map(([name, [, of]]) => `select '${name}' as name, (select count(*)::int from ${of}) as n`)
    .join(' union all ');
  const rows = await platform.query<{ name: string; n: number }>(sql);
  const report = await platform.emulator('GET', 'webhooks');
  const pending = Number(member(report, 'pending') ?? 0);
  const all = [...rows, { name: 'webhooks to send', n: pending }];
  return Object.fromEntries(all.filter(({ n }) => n > 0).map(({ name, n }) => [name, n]));
}

/** The first few of each thing that is open, by id. */
export async function nameOpen(platform: ChaosPlatform): Promise<{ name: string; id: string }[]> {
  const named: { name: string; id: string }[] = [];
  for (const [name, [id, of]] of Object.entries(questions)) {
    const rows = await platform.query<{ id: string }>(`select ${id} as id from ${of} order by 1 limit 3`);
    named.push(...rows.map((row) => ({ name, id: row.id })));
  }
  return named;
}

/** Longer than any lease and any pause of a sink: what has not moved for so long never will. */
const stuckMs = 150_000;

export type Settled = { open: Open; turns: number; clock: number };

/**
 * Lets the crons come again and again, each time for a later time, until nothing is open or `withinMs` are over. Holds,
 * places and campaigns so come to their ends, and debits at Stripe are decided. What waits for the real clock (leases, a
 * sink that was away) is waited for.
 */
export async function settle(
  platform: ChaosPlatform,
  journal: Journal,
  withinMs: number,
  told: (open: Open) => void,
  signal: AbortSignal,
): Promise<Settled> {
  const started = Date.now();
  let ahead = 0;
  let [last, since] = ['', started];
  for (let turns = 1; ; turns++) {
    // A little more than what the cron leaves a payment alone for; for a while days, for campaigns that end late.
    const step = turns > 5 && turns < 16 ? 86_400_000 : 310_000;
    ahead += step;
    const clock = Date.now() + ahead;
    // Stripe's clock goes with ours: debits settle, holds lapse, idempotency keys are forgotten.
    await platform.emulator('POST', 'clock', { advanceSeconds: step / 1000 });
    if (turns > 11) await decideDebits(platform);
    await platform.worker.cron('* * * * *', clock).catch((error: Error) => journal.count('crons', error.message));
    await platform.worker.cron('17 * * * *', clock).catch((error: Error) => journal.count('crons', error.message));
    await sleep(turns < 6 ? 400 : 1_000, undefined, { signal }).catch(() => undefined);
    const open = await countOpen(platform);
    told(open);
    const quiet = Object.keys(open).length === 0;
    // Two looks: a message that is just being applied has left the outbox and not yet changed a row.
    if (quiet && Object.keys(await secondLook(platform, signal)).length === 0) return { open: {}, turns, clock };
    const now = Date.now();
    if (JSON.stringify(open) !== last) [last, since] = [JSON.stringify(open), now];
    if (signal.aborted || now - started > withinMs || now - since > stuckMs) return { open, turns, clock };
  }
}

type Processing = { payment_intents: { id: string; status: string }[] };

/** Debits that wait for ever are decided now: one half each way. */
async function decideDebits(platform: ChaosPlatform): Promise<void> {
  const { payment_intents: intents } = (await platform.emulator('GET', 'processing')) as Processing;
  for (const { id } of intents) {
    const outcome = id.charCodeAt(id.length - 1) % 2 === 0 ? 'succeed' : 'fail';
    await platform.emulator('POST', `payment_intents/${id}/settle`, { outcome });
  }
}

async function secondLook(platform: ChaosPlatform, signal: AbortSignal): Promise<Open> {
  await sleep(700, undefined, { signal }).catch(() => undefined);
  return countOpen(platform);
}
