import type { Budget } from '../base/budget.ts';
import { describeError, log } from '../base/log.ts';
import type { Context } from '../context.ts';
import { StripeCallError, type StripeUpdate } from '../stripe/client.ts';
import { handledTypes, listUpdates, lookUpUpdate, webhookOnlyTypes } from '../stripe/webhook.ts';
import { type Applied, applyStripeUpdate, isOutage } from './payments.ts';

type Told = StripeUpdate & { eventId: string };
type Unheard = { eventId: string; tenant: string; paymentId: string };
export type Heard = { told: number; applied: number; failed: number; changed: { tenant: string; skus: string[] }[] };

const second = 1_000;
/** An event may show in the list some seconds after its time, so the last minute is read again. */
const overlapMs = 60 * second;
/** Where a new installation begins to read. */
const firstMs = 3_600 * second;
/** Stripe gives a webhook up after three days. */
const missedMs = 4 * 24 * 3_600 * second;
/** Events of one window, 100 a request: a window with more is split. */
const maxInWindow = 2_000;

/** Applies an event; one that fails is set aside and read again later, and the others go on. */
async function apply(context: Context, { tenant, paymentId }: Unheard, update: Told, heard: Heard): Promise<void> {
  try {
    const { outcome, skus }: Applied = await applyStripeUpdate(context, update);
    if (outcome === 'applied') heard.applied++;
    if (skus?.length) heard.changed.push({ tenant, skus });
    await context.db.run('payments.note_heard', context.call, { tenant, eventId: update.eventId });
  } catch (error) {
    if (isOutage(error)) throw error;
    heard.failed++;
    await noteFailedRow(context, { job: 'hear-stripe', tenant, key: update.eventId, subject: paymentId }, error);
  }
}

/** Notes a row that failed as a dead letter of its job, with a line in the log. */
export async function noteFailedRow(
  context: Context,
  row: { job: string; tenant: string; key: string; subject?: string },
  error: unknown,
): Promise<void> {
  const facts = describeError(error);
  const reason = [facts.error, facts.code, facts.constraint].filter((part) => part !== undefined).join(' ');
  await context.db.run('platform.note_failed_row', context.call, { ...row, reason });
  const line = { kind: 'job' as const, id: `${row.job} ${row.key}`, tenant: row.tenant, outcome: 'set_aside' };
  log({ ...line, durationMs: 0, dbCalls: context.db.usage.calls, ...facts });
}

/** Applies what nobody has applied yet. @returns false if the budget was used up before the end */
async function applyEvents(context: Context, told: Told[], heard: Heard, budget: Budget): Promise<boolean> {
  const byId = new Map(told.map((update) => [update.eventId, update]));
  // A refund or a dispute names its intent alone, which we may not know before its own event here is applied.
  const paymentOf = new Map(
    told.flatMap(({ intentId, paymentId }) => (intentId && paymentId ? [[intentId, paymentId] as const] : [])),
  );
  const waiting: Unheard[] = [];
  for (let from = 0; from < told.length; from += 1_000) {
    const events = told.slice(from, from + 1_000).map(({ eventId, paymentId, intentId, setupId }) => ({
      eventId,
      intentId,
      setupId,
      paymentId: paymentId ?? paymentOf.get(intentId ?? ''),
    }));
    if (!budget.spend()) return false;
    const found = await context.db.run<{ events: Unheard[] }>('payments.find_unheard', context.call, { events });
    waiting.push(...found.events);
  }
  // One payment's events in their order; different payments at once.
  const queues = [...Map.groupBy(waiting, ({ paymentId }) => paymentId).values()];
  let outOfBudget = false;
  const worker = async () => {
    for (let queue = queues.shift(); queue && !outOfBudget; queue = queues.shift()) {
      for (const event of queue) {
        const update = byId.get(event.eventId);
        if (!update || outOfBudget) continue;
        if (budget.spend(2)) await apply(context, event, update, heard);
        else outOfBudget = true;
      }
    }
  };
  await Promise.all(Array.from({ length: 5 }, worker));
  return !outOfBudget;
}

/**
 * Reads events from one time to another in windows, and applies those that were missed.
 * @returns until when all of them are applied or set aside
 */
async function readWindows(
  context: Context,
  { types, from, to }: { types: string[]; from: number; to: number },
  heard: Heard,
  budget: Budget,
  note: (until: number) => Promise<void>,
): Promise<void> {
  let span = to - from;
  for (let start = from; start < to; ) {
    const end = Math.min(to, start + span);
    if (!budget.spend(Math.min(maxInWindow / 100, 20))) return;
    const most = span > second ? maxInWindow : 10_000;
    const told = await listUpdates(context.settings, types, start, end, most);
    if (told === undefined && span > second) {
      span = Math.max(second, Math.floor(span / 4));
      continue;
    }
    heard.told += told?.length ?? 0;
    if (!(await applyEvents(context, told ?? [], heard, budget))) return;
    await note(end);
    start = end;
    span *= 2;
  }
}

/**
 * The cron's part, since a webhook can be lost: reads Stripe's list of events from where the last turn ended and
 * applies those that no webhook has brought. A turn costs as much as has changed, however many payments wait. Until
 * when the list is read tells which holds may end (`payments.events_known_until`).
 * @throws StripeCallError
 */
export async function applyMissedEvents(context: Context, budget: Budget): Promise<Heard> {
  const heard: Heard = { told: 0, applied: 0, failed: 0, changed: [] };
  const { readUntil, again } = await context.db.run<{ readUntil: string | null; again: string[] }>(
    'payments.find_reading',
    context.call,
    {},
  );
  for (const eventId of again) {
    if (!budget.spend(2)) break;
    const update = await lookUpUpdate(context.settings, eventId).catch((error: unknown) => {
      if (!(error instanceof StripeCallError) || error.unavailable) throw error;
      heard.failed++;
      return null;
    });
    if (update === null) continue; // asked about again at the next turn
    if (update?.eventId) await applyEvents(context, [{ ...update, eventId: update.eventId }], heard, budget);
    else await context.db.run('payments.note_heard', context.call, { tenant: '*', eventId });
  }
  // A cron that is fired for a later time does not make Stripe's list longer.
  const to = Math.min(context.now().getTime(), Date.now());
  const from = (readUntil === null ? to - firstMs : Math.min(new Date(readUntil).getTime(), to)) - overlapMs;
  await readWindows(context, { types: handledTypes, from, to: to + second }, heard, budget, async (until) => {
    const input = { until: new Date(Math.min(until, to)).toISOString() };
    await context.db.run('payments.note_reading', context.call, input);
  });
  return heard;
}

/**
 * Once an hour, the last days again, for what no row asks about: a refund that a bank sends back after it had
 * succeeded, a dispute. What is known already changes nothing.
 */
export async function recheckRecentEvents(context: Context, budget: Budget): Promise<Heard> {
  const heard: Heard = { told: 0, applied: 0, failed: 0, changed: [] };
  const to = Math.max(context.now().getTime(), Date.now()) + second;
  await readWindows(
    context,
    { types: webhookOnlyTypes, from: to - missedMs, to },
    heard,
    budget,
    async () => undefined,
  );
  return heard;
}
