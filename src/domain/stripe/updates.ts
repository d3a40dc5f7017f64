import { cellAttribute } from '../../base/cells.ts';
import { ApiError } from '../../base/errors.ts';
import { log } from '../../base/log.ts';
import { type Context, runLast } from '../../context.ts';
import { lookUpIntent, StripeCallError, type StripeUpdate } from '../../stripe/client.ts';
import { type Applied, applyInItsCell } from '../cells.ts';

export type ApplyResult = {
  outcome: 'applied' | 'duplicate' | 'unknown' | 'set_aside';
  tenant?: string;
  skus?: string[];
  reason?: string;
};

/** Runs `apply` in the cell of an update. */
type Search = (
  context: Context,
  cell: string | undefined,
  apply: (context: Context) => Promise<ApplyResult>,
) => Promise<Applied<ApplyResult>>;

/**
 * Applies an update to the payment, its refunds and its order in one call. A refund or a dispute names only its
 * PaymentIntent. If that is unknown, its payment is looked up at Stripe.
 */
async function applyWith(search: Search, context: Context, update: StripeUpdate): Promise<Applied<ApplyResult>> {
  const applied = await search(context, update.cell, (inside) => applyUpdate(inside, update));
  const isUnknown = applied.result.outcome === 'unknown';
  if (!isUnknown || update.intentId === undefined || update.intent !== undefined) return applied;
  const found = await lookUpIntent(context.settings, update.account, update.intentId).catch((error: unknown) => {
    if (!(error instanceof StripeCallError)) throw error;
    if (error.permanent || error.noAccess) return undefined;
    const reason = `Stripe did not return the payment of ${update.intentId}.`;
    throw Object.assign(new ApiError('unavailable', reason), { cause: error });
  });
  if (found?.paymentId === undefined) return applied;
  const owner = await search(context, found.cell, (inside) => applyUpdate(inside, found));
  const retried = owner.result.outcome === 'unknown' ? applied.result : await applyUpdate(owner.context, update);
  const skus = [...(owner.result.skus ?? []), ...(retried.skus ?? [])];
  return { context: owner.context, result: { ...retried, skus } };
}

/** Applies an update that was looked up, or read from Stripe's list, in the cell of its payment. @throws ApiError unavailable */
export const applyStripeUpdate = async (context: Context, update: StripeUpdate): Promise<ApplyResult> =>
  (await applyWith(async (same, _cell, apply) => ({ context: same, result: await apply(same) }), context, update))
    .result;

/**
 * Applies the update of a webhook in the cell that has its payment. All cells use the platform's account at Stripe, so
 * any of them may be meant.
 * @throws ApiError unavailable
 */
export const applyStripeWebhook = (context: Context, update: StripeUpdate): Promise<Applied<ApplyResult>> =>
  applyWith(applyInItsCell, context, update);

/** Whether a job has to stop: the database or Stripe is unavailable. A Stripe error about one row does not stop it. */
export const isOutage = (error: unknown): boolean =>
  error instanceof ApiError &&
  error.code === 'unavailable' &&
  !(error.cause instanceof StripeCallError && !error.cause.unavailable);

/** How long a buyer has to pay again after a late failure, and to confirm a charge for which the bank asks. */
const retryDeadlines = ({ settings }: Context) => ({
  holdSeconds: settings.RESERVATION_TTL_SECONDS,
  secureSeconds: settings.JOIN_SECURE_SECONDS,
  graceSeconds: settings.CAMPAIGN_GRACE_SECONDS,
  actionSeconds: settings.ACTION_REQUIRED_SECONDS,
});

/** Applies one update. One that does not fit its payment (another amount or tenant) changes nothing: `set_aside`. */
async function applyUpdate(context: Context, { cell: _cell, ...update }: StripeUpdate): Promise<ApplyResult> {
  const started = Date.now();
  const applied = await runLast<ApplyResult>(context, 'payments.apply_stripe', context.call, {
    ...update,
    terms: retryDeadlines(context),
  });
  if (applied.outcome === 'set_aside') {
    log({
      kind: 'message',
      id: [update.account ?? [], update.intentId ?? update.setupId ?? ''].flat().join(' '),
      tenant: applied.tenant ?? null,
      cell: cellAttribute(context.db.cell),
      outcome: 'set_aside',
      reason: applied.reason,
      durationMs: Date.now() - started,
      dbCalls: 1,
    });
  }
  return applied;
}
