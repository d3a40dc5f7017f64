import type { Budget } from '../../base/budget.ts';
import type { Context } from '../../context.ts';
import { StripeCallError } from '../../stripe/client.ts';
import { type MissedEventCounts, noCounts, readEvents, rereadEvents, retryEvents } from './events.ts';

type Reading = { tenant: string; account: string; readUntil: string | null };
type FailedEvent = { account: string; eventId: string };

/** How many accounts a cron run reads. The next run takes the others. */
const maxAccounts = 200;
/** A run reads this many accounts at a time. */
const parallel = 5;
/** What one account may use of a run, if there are many. */
const leastCalls = 20;
/** An account's window is small, so that an account without events costs few calls of the budget. */
const maxEventsPerWindow = 200;
/** Where the reading of a new account begins. Its first payment may have been opened while no cron ran. */
const initialLookBackMs = 24 * 3_600_000;

/**
 * Takes a turn of each account. Each has a part of the budget, so that one with many events delays no other, and an
 * error of Stripe about one account stops no other.
 * @throws StripeCallError if Stripe is unavailable
 */
async function takeTurns(
  context: Context,
  accounts: Reading[],
  counts: MissedEventCounts,
  budget: Budget,
  kind: { recheck?: true },
  turn: (reading: Reading, part: Budget, note: (result: object) => Promise<unknown>) => Promise<void>,
): Promise<void> {
  const waiting = [...accounts];
  const share = Math.max(leastCalls, Math.floor(budget.calls / Math.max(1, accounts.length)));
  const worker = async () => {
    for (let reading = waiting.shift(); reading && budget.spend(); reading = waiting.shift()) {
      const { tenant, account } = reading;
      const note = (result: object) =>
        context.db.run('payments.note_account_reading', context.call, { tenant, account, ...kind, ...result });
      try {
        await turn(reading, budget.part(share), note);
      } catch (error) {
        if (!(error instanceof StripeCallError)) throw error;
        // First, so that the next run begins with other accounts: Stripe may respond for those.
        await note({ withdrawn: error.noAccess });
        if (error.unavailable) throw error;
        counts.failed++;
      }
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
}

/**
 * Cron job: does for the accounts of tenants what `applyMissedEvents` does for the platform's own. Accounts with open
 * payments are read each minute (every ten minutes while Stripe gives no access), others each hour.
 * @throws StripeCallError if Stripe is unavailable
 */
export async function applyMissedEventsOfAccounts(context: Context, budget: Budget): Promise<MissedEventCounts> {
  const counts = noCounts();
  const { accounts, again } = await context.db.run<{ accounts: Reading[]; again: FailedEvent[] }>(
    'payments.find_account_readings',
    context.call,
    { limit: maxAccounts },
  );
  const failed = Map.groupBy(again, ({ account }) => account);
  await takeTurns(context, accounts, counts, budget, {}, async (reading, part, note) => {
    const { account, readUntil } = reading;
    const eventIds = (failed.get(account) ?? []).map(({ eventId }) => eventId);
    // Half of its part at most, so that events which fail again and again do not keep the list from being read.
    await retryEvents(context, account, eventIds, counts, part.part(Math.ceil(part.calls / 2)));
    const from = { readUntil, lookBackMs: initialLookBackMs, maxEvents: maxEventsPerWindow };
    let isNoted = false;
    await readEvents(context, account, from, counts, part, async (until) => {
      await note({ until });
      isNoted = true;
    });
    if (!isNoted) await note({});
  });
  return counts;
}

/** Hourly cron job: does for the accounts of tenants what `recheckRecentEvents` does for the platform's own. */
export async function recheckEventsOfAccounts(context: Context, budget: Budget): Promise<MissedEventCounts> {
  const counts = noCounts();
  const { accounts } = await context.db.run<{ accounts: Reading[] }>('payments.find_account_readings', context.call, {
    limit: maxAccounts,
    recheck: true,
  });
  await takeTurns(context, accounts, counts, budget, { recheck: true }, async ({ account }, part, note) => {
    await rereadEvents(context, account, maxEventsPerWindow, counts, part);
    await note({});
  });
  return counts;
}
