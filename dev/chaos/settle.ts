import { setTimeout as sleep } from 'node:timers/promises';
import type { Journal } from './journal.ts';
import { member } from './journal.ts';
import type { ChaosPlatform } from './platform.ts';

/** Counts of unfinished work by kind. Kinds without any are left out. */
export type OpenWork = Record<string, number>;

/** The rows of each kind of unfinished work, and the column with the id for its history. */
const openRows: Record<string, [id: string, rows: string]> = {
  'events to deliver': ['key', 'platform.outbox'],
  'holds to decide': ['order_id', `inventory.reservations where status = 'pending'`],
  'holds to end': ['order_id', `inventory.reservations where status = 'held'`],
  'orders without a final status': ['id', `orders.orders where status = 'created'`],
  'payments to settle': [
    'payment_id',
    `payments.payments where status = 'pending' or intent_open or refunds_told > refund_done`,
  ],
  'refunds to make': ['payment_id', `payments.refunds where status = 'pending'`],
  'campaigns to settle': [
    'id',
    `group_commerce.group_commerce_campaigns where status = 'active' or settled_at is null`,
  ],
  'teams to settle': [
    'id',
    `group_commerce.teams where status = 'forming'
       or (settled_at is null and status in ('successful', 'expired', 'cancelled'))`,
  ],
  'places to settle': ['order_id', `group_commerce.participants where state in ('joined', 'secured', 'ordered')`],
  'waiting places to end': ['id', `group_commerce.waiting_places where state in ('waiting', 'offered')`],
  'carts to end': ['id', `orders.carts where status in ('open', 'ordered')`],
  'labels to make': ['order_id', `shipping.label_requests where status = 'open'`],
};

/** Counts all unfinished work: rows in the database, and webhooks that the Stripe emulator still has to send. */
export async function countOpen(platform: ChaosPlatform): Promise<OpenWork> {
  const sql = Object.entries(openRows)
    .map(([name, [, rows]]) => `select '${name}' as name, (select count(*)::int from ${rows}) as n`)
    .join(' union all ');
  const counts = await platform.query<{ name: string; n: number }>(sql);
  const report = await platform.emulator('GET', 'webhooks');
  const pending = Number(member(report, 'pending') ?? 0);
  const all = [...counts, { name: 'webhooks to send', n: pending }];
  return Object.fromEntries(all.filter(({ n }) => n > 0).map(({ name, n }) => [name, n]));
}

/** The ids of up to three rows of each kind of unfinished work. */
export async function listOpen(platform: ChaosPlatform): Promise<{ name: string; id: string }[]> {
  const listed: { name: string; id: string }[] = [];
  for (const [name, [id, from]] of Object.entries(openRows)) {
    const found = await platform.query<{ id: string }>(`select ${id} as id from ${from} order by 1 limit 3`);
    listed.push(...found.map((row) => ({ name, id: row.id })));
  }
  return listed;
}

/** Longer than any lease or pause of a sink. If the counts do not change for so long, they never will. */
const stuckMs = 150_000;

export type Settled = { open: OpenWork; turns: number; clock: number };

/**
 * Runs the crons with later and later times until no work is open or `withinMs` have passed. So holds, places and
 * campaigns end, and debits at Stripe are decided. Leases and paused sinks follow the real clock, so it waits for them.
 */
export async function settle(
  platform: ChaosPlatform,
  journal: Journal,
  withinMs: number,
  onProgress: (open: OpenWork) => void,
  signal: AbortSignal,
): Promise<Settled> {
  const started = Date.now();
  let aheadMs = 0;
  let [lastOpen, unchangedSince] = ['', started];
  for (let turns = 1; ; turns++) {
    // A little more than the time after which the cron checks a payment; then days, for campaigns that end late.
    const step = turns > 5 && turns < 16 ? 86_400_000 : 310_000;
    aheadMs += step;
    const clock = Date.now() + aheadMs;
    // Move Stripe's clock too, so that debits settle, holds lapse and idempotency keys expire.
    await platform.emulator('POST', 'clock', { advanceSeconds: step / 1000 });
    if (turns > 11) await decideDebits(platform);
    await platform.worker.cron('* * * * *', clock).catch((error: Error) => journal.count('crons', error.message));
    await platform.worker.cron('17 * * * *', clock).catch((error: Error) => journal.count('crons', error.message));
    await sleep(turns < 6 ? 400 : 1_000, undefined, { signal }).catch(() => undefined);
    const open = await countOpen(platform);
    onProgress(open);
    const isQuiet = Object.keys(open).length === 0;
    // Count twice: a message that is being applied has left the outbox and not changed a row yet.
    if (isQuiet && Object.keys(await countAgain(platform, signal)).length === 0) return { open: {}, turns, clock };
    const now = Date.now();
    if (JSON.stringify(open) !== lastOpen) [lastOpen, unchangedSince] = [JSON.stringify(open), now];
    if (signal.aborted || now - started > withinMs || now - unchangedSince > stuckMs) return { open, turns, clock };
  }
}

type Processing = { payment_intents: { id: string; status: string }[] };

/** Decides the remaining bank debits: about half succeed, the others fail. */
async function decideDebits(platform: ChaosPlatform): Promise<void> {
  const { payment_intents: intents } = (await platform.emulator('GET', 'processing')) as Processing;
  for (const { id } of intents) {
    const outcome = id.charCodeAt(id.length - 1) % 2 === 0 ? 'succeed' : 'fail';
    await platform.emulator('POST', `payment_intents/${id}/settle`, { outcome });
  }
}

async function countAgain(platform: ChaosPlatform, signal: AbortSignal): Promise<OpenWork> {
  await sleep(700, undefined, { signal }).catch(() => undefined);
  return countOpen(platform);
}
