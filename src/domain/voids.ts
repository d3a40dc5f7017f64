import { CarrierError } from '../carriers/carrier.ts';
import type { Context } from '../context.ts';
import type { AccountRow, LabelTask } from '../db/shipping/queries.ts';
import { openCarrier } from './carrier-accounts.ts';
import { toRequest } from './labels.ts';

/** A carrier has this long to respond. A label's lease lasts longer, so two calls for one label never overlap. */
const deadlineMs = 10_000;
const leaseSeconds = 120;
/** Labels that are voided in parallel in one cron run. The next run continues. */
const maxVoids = 10;

type Task = LabelTask & {
  tenant: string;
  account: AccountRow;
  carrier?: string;
  trackingNumber?: string;
  externalId?: string;
};

async function voidOne({ settings }: Context, task: Task) {
  const { tenant, orderId, shipmentId, trackingNumber, carrier = '', externalId } = task;
  const label = trackingNumber === undefined ? undefined : { trackingNumber, carrier, externalId };
  try {
    const provider = await openCarrier(settings, tenant, task.account);
    await provider.voidLabel(toRequest(task), label, AbortSignal.timeout(deadlineMs));
    return { tenant, orderId, shipmentId, outcome: 'voided' as const };
  } catch (error) {
    const isCarrierError = error instanceof CarrierError;
    const reason = isCarrierError ? error.message : `unexpected ${error instanceof Error ? error.name : 'error'}`;
    const outcome = isCarrierError && error.permanent ? ('refused' as const) : ('failed' as const);
    return { tenant, orderId, shipmentId, outcome, reason };
  }
}

/**
 * Cron job: voids the labels of cancelled and refunded orders at their carriers, in two database calls with the carrier
 * calls between them. It can be repeated: a void label stays void. An unavailable carrier is retried for 30 days. If a
 * carrier rejects a void, the shipment reports it.
 */
export async function voidLabels(context: Context): Promise<Record<string, number>> {
  const { tasks } = await context.db.run<{ tasks: Task[] }>('shipping.lease_voids', context.call, {
    limit: maxVoids,
    seconds: leaseSeconds,
  });
  if (tasks.length === 0) return { voided: 0, unvoided: 0 };
  const results = await Promise.all(tasks.map((task) => voidOne(context, task)));
  const { setAside } = await context.db.run<{ setAside: number }>('shipping.record_voids', context.call, { results });
  const voided = results.filter(({ outcome }) => outcome === 'voided').length;
  return { voided, unvoided: results.length - voided, ...(setAside > 0 && { setAside }) };
}
