import type { Budget } from '../../base/budget.ts';
import { cellAttribute } from '../../base/cells.ts';
import { describeError, log } from '../../base/log.ts';
import type { Context } from '../../context.ts';
import { type StripeAccount, StripeCallError, type StripeUpdate } from '../../stripe/client.ts';
import { handledTypes, listUpdates, lookUpUpdate, webhookOnlyTypes } from '../../stripe/webhook.ts';
import { type ApplyResult, applyStripeUpdate, isOutage } from './updates.ts';

type EventUpdate = StripeUpdate & { eventId: string };
type MissedEvent = { eventId: string; tenant: string; paymentId: string };
export type MissedEventCounts = {
  told: number;
  applied: number;
  failed: number;
  changed: { tenant: string; skus: string[] }[];
};

const second = 1_000;
/** An event may appear in the list some seconds after its time, so the last minute is read again. */
const overlapMs = 60 * second;
/** Where a new installation begins to read: one hour ago. */
const initialLookBackMs = 3_600 * second;
/** Stripe retries a webhook for three days. */
const webhookWindowMs = 4 * 24 * 3_600 * second;
/** The most events of one window (100 a request). A window with more events is split. */
const maxEventsPerWindow = 2_000;

export const noCounts = (): MissedEventCounts => ({ told: 0, applied: 0, failed: 0, changed: [] });

/** The key under which an event is set aside. */
const keyOf = (account: StripeAccount, eventId: string) => (account === null ? eventId : `${account} ${eventId}`);

/** Applies an event. If it fails, it is set aside and retried later, and the other events go on. */
async function applyEvent(
  context: Context,
  { tenant, paymentId }: MissedEvent,
  update: EventUpdate,
  counts: MissedEventCounts,
): Promise<void> {
  const key = keyOf(update.account, update.eventId);
  try {
    const { outcome, skus }: ApplyResult = await applyStripeUpdate(context, update);
    if (outcome === 'applied') counts.applied++;
    if (skus?.length) counts.changed.push({ tenant, skus });
    await context.db.run('payments.note_heard', context.call, { tenant, eventId: key });
  } catch (error) {
    if (isOutage(error)) throw error;
    counts.failed++;
    await noteFailedRow(
      context,
      { job: update.account === null ? 'hear-stripe' : 'hear-accounts', tenant, key, subject: paymentId },
      error,
    );
  }
}

/**
 * Stores a row that failed as a dead letter of its job, and logs it. `untilReplayed`: the job does not try it again by
 * itself.
 */
export async function noteFailedRow(
  context: Context,
  row: { job: string; tenant: string; key: string; subject?: string; untilReplayed?: boolean },
  error: unknown,
): Promise<void> {
  const facts = describeError(error);
  const reason = [facts.error, facts.code, facts.constraint].filter((part) => part !== undefined).join(' ');
  await context.db.run('platform.note_failed_row', context.call, { ...row, reason });
  const line = {
    ...{ kind: 'job' as const, id: `${row.job} ${row.key}`, outcome: 'set_aside' },
    ...{ tenant: row.tenant, cell: cellAttribute(context.db.cell) },
  };
  log({ ...line, durationMs: 0, dbCalls: context.db.usage.calls, ...facts });
}

/** Applies the events of one account that are not applied yet. @returns false if the budget was used up before the end */
async function applyMissing(
  context: Context,
  account: StripeAccount,
  updates: EventUpdate[],
  counts: MissedEventCounts,
  budget: Budget,
): Promise<boolean> {
  const byId = new Map(updates.map((update) => [update.eventId, update]));
  // A refund or a dispute names only its PaymentIntent, which may be unknown until an event of this list is applied.
  const paymentOf = new Map(
    updates.flatMap(({ intentId, paymentId }) => (intentId && paymentId ? [[intentId, paymentId] as const] : [])),
  );
  const waiting: MissedEvent[] = [];
  for (let from = 0; from < updates.length; from += 1_000) {
    const events = updates.slice(from, from + 1_000).map(({ eventId, paymentId, intentId, setupId }) => ({
      eventId,
      intentId,
      setupId,
      paymentId: paymentId ?? paymentOf.get(intentId ?? ''),
    }));
    if (!budget.spend()) return false;
    const found = await context.db.run<{ events: MissedEvent[] }>('payments.find_unheard', context.call, {
      account,
      events,
    });
    waiting.push(...found.events);
  }
  // The events of one payment are applied in order, different payments in parallel.
  const queues = [...Map.groupBy(waiting, ({ paymentId }) => paymentId).values()];
  let outOfBudget = false;
  const worker = async () => {
    for (let queue = queues.shift(); queue && !outOfBudget; queue = queues.shift()) {
      for (const event of queue) {
        const update = byId.get(event.eventId);
        if (!update || outOfBudget) continue;
        if (budget.spend(2)) await applyEvent(context, event, update, counts);
        else outOfBudget = true;
      }
    }
  };
  await Promise.all(Array.from({ length: 5 }, worker));
  return !outOfBudget;
}

type Window = { account: StripeAccount; types: string[]; from: number; to: number; maxEvents: number };

/**
 * Reads an account's events between two times in windows of `maxEvents` and applies those that were missed. Calls
 * `recordProgress` after each window, when all of its events are applied or set aside.
 */
async function readWindows(
  context: Context,
  { account, types, from, to, maxEvents }: Window,
  counts: MissedEventCounts,
  budget: Budget,
  recordProgress: (until: number) => Promise<void>,
): Promise<void> {
  let span = to - from;
  for (let start = from; start < to; ) {
    const end = Math.min(to, start + span);
    if (!budget.spend(maxEvents / 100)) return;
    const most = span > second ? maxEvents : 10_000;
    const updates = await listUpdates(context.settings, account, types, start, end, most);
    if (updates === undefined && span > second) {
      span = Math.max(second, Math.floor(span / 4));
      continue;
    }
    counts.told += updates?.length ?? 0;
    if (!(await applyMissing(context, account, updates ?? [], counts, budget))) return;
    await recordProgress(end);
    start = end;
    span *= 2;
  }
}

/** Retries events of one account that failed before. @throws StripeCallError if Stripe is unavailable */
export async function retryEvents(
  context: Context,
  account: StripeAccount,
  eventIds: string[],
  counts: MissedEventCounts,
  budget: Budget,
): Promise<void> {
  for (const eventId of eventIds) {
    if (!budget.spend(2)) break;
    const update = await lookUpUpdate(context.settings, account, eventId).catch((error: unknown) => {
      if (!(error instanceof StripeCallError) || error.unavailable) throw error;
      counts.failed++;
      return null;
    });
    if (update === null) continue; // the next run retries it
    if (update?.eventId) await applyMissing(context, account, [{ ...update, eventId: update.eventId }], counts, budget);
    else await context.db.run('payments.note_heard', context.call, { tenant: '*', eventId: keyOf(account, eventId) });
  }
}

/**
 * Reads an account's events since `readUntil` and applies those that no webhook has delivered. `lookBackMs`: where to
 * begin if they were never read.
 */
export async function readEvents(
  context: Context,
  account: StripeAccount,
  { readUntil, lookBackMs, maxEvents }: { readUntil: string | null; lookBackMs: number; maxEvents: number },
  counts: MissedEventCounts,
  budget: Budget,
  recordProgress: (until: string) => Promise<void>,
): Promise<void> {
  // A cron that runs for a later time cannot read events of the future.
  const to = Math.min(context.now().getTime(), Date.now());
  const from = (readUntil === null ? to - lookBackMs : Math.min(new Date(readUntil).getTime(), to)) - overlapMs;
  const window = { account, types: handledTypes, from, to: to + second, maxEvents };
  await readWindows(context, window, counts, budget, (until) =>
    recordProgress(new Date(Math.min(until, to)).toISOString()),
  );
}

/** Reads the last four days of an account again: see `recheckRecentEvents`. */
export function rereadEvents(
  context: Context,
  account: StripeAccount,
  maxEvents: number,
  counts: MissedEventCounts,
  budget: Budget,
): Promise<void> {
  const to = Math.max(context.now().getTime(), Date.now()) + second;
  const window = { account, types: webhookOnlyTypes, from: to - webhookWindowMs, to, maxEvents };
  return readWindows(context, window, counts, budget, async () => undefined);
}

/**
 * Cron job, since a webhook can be lost: reads the list of events of the platform's own account from where the last run
 * ended, and applies those that no webhook has delivered. The cost depends on the number of changes, not on the number
 * of waiting payments. The time until which the list was read decides which holds may end (`payments.awaits_stripe`).
 * @throws StripeCallError
 */
export async function applyMissedEvents(context: Context, budget: Budget): Promise<MissedEventCounts> {
  const counts = noCounts();
  const { readUntil, again } = await context.db.run<{ readUntil: string | null; again: string[] }>(
    'payments.find_reading',
    context.call,
    {},
  );
  await retryEvents(context, null, again, counts, budget);
  const from = { readUntil, lookBackMs: initialLookBackMs, maxEvents: maxEventsPerWindow };
  await readEvents(context, null, from, counts, budget, async (until) => {
    await context.db.run('payments.note_reading', context.call, { until });
  });
  return counts;
}

/**
 * Hourly cron job: reads the last four days again for events about rows that the reconciliation no longer checks, such
 * as a dispute, or a refund that a bank returns after it had succeeded. Applied events have no further effect.
 */
export async function recheckRecentEvents(context: Context, budget: Budget): Promise<MissedEventCounts> {
  const counts = noCounts();
  await rereadEvents(context, null, maxEventsPerWindow, counts, budget);
  return counts;
}
