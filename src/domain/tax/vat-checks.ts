import type { Context } from '../../context.ts';
import { runLast } from '../../context.ts';
import { isVatRegistered, ViesUnavailable } from '../../vies/vies.ts';
import type { Event } from '../events.ts';

/** The queue gives a message up after 17 minutes, so a number that waits longer has lost its message. */
const lostAfterSeconds = 1_800;

/** Why a message was not applied. `isRequestedAgain`: the cron emits a new event, so it needs no dead letter. */
export type Failure = { reason: string; permanent: boolean; isRequestedAgain: true };

type Check = { eventId: string; customerId: string; number: string };

/**
 * Asks VIES about the VAT numbers of these customers of one tenant and records what it says: two database calls a
 * batch, with the requests between them. A number that was changed meanwhile is left to its own event.
 * @returns for each event that VIES could not decide the reason, by event id
 */
export async function checkVatNumbers(context: Context, tenant: string, events: Event[]) {
  const failures = new Map<string, Failure>();
  const messages = events.map(({ id, subject }) => ({ eventId: id, customerId: subject }));
  const { checks } = await context.db.run<{ checks: Check[] }>('orders.find_vat_checks', context.call, {
    tenant,
    messages,
  });
  const results: (Check & { valid: boolean })[] = [];
  await Promise.all(
    checks.map(async (check) => {
      try {
        results.push({ ...check, valid: await isVatRegistered(context.settings.VIES_URL, check.number) });
      } catch (error) {
        if (!(error instanceof ViesUnavailable)) throw error;
        failures.set(check.eventId, { reason: error.message, permanent: false, isRequestedAgain: true });
      }
    }),
  );
  if (results.length > 0) await runLast(context, 'orders.record_vat_checks', context.call, { tenant, results });
  return failures;
}

/** Cron job: asks again about each VAT number that has waited for 30 minutes. Its message was lost or given up. */
export const requestLostVatChecks = (context: Context): Promise<{ requested: number }> =>
  context.db.run('orders.request_lost_vat_checks', context.call, { idleSeconds: lostAfterSeconds, limit: 200 });
