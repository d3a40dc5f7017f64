import { ApiError } from '../base/errors.ts';
import { log } from '../base/log.ts';
import { type Context, runLast } from '../context.ts';
import { lookUpIntent, StripeCallError, type StripeUpdate } from '../stripe/client.ts';

export type ApplyResult = {
  outcome: 'applied' | 'duplicate' | 'unknown' | 'set_aside';
  tenant?: string;
  skus?: string[];
  reason?: string;
};

/**
 * Applies an update from a webhook or a lookup to the payment, its refunds and its order in one call. A refund or a
 * dispute names only its PaymentIntent. If that is unknown, its payment is looked up at Stripe.
 * @throws ApiError unavailable
 */
export async function applyStripeUpdate(context: Context, update: StripeUpdate): Promise<ApplyResult> {
  const applied = await applyUpdate(context, update);
  if (applied.outcome !== 'unknown' || update.intentId === undefined || update.intent !== undefined) return applied;
  const found = await lookUpIntent(context.settings, update.intentId).catch((error: unknown) => {
    if (!(error instanceof StripeCallError)) throw error;
    if (error.permanent) return undefined;
    const reason = `Stripe did not return the payment of ${update.intentId}.`;
    throw Object.assign(new ApiError('unavailable', reason), { cause: error });
  });
  if (found?.paymentId === undefined) return applied;
  const owner = await applyUpdate(context, found);
  const retried = owner.outcome === 'unknown' ? applied : await applyUpdate(context, update);
  return { ...retried, skus: [...(owner.skus ?? []), ...(retried.skus ?? [])] };
}

/** Whether a job has to stop: the database or Stripe is unavailable. A Stripe error about one row does not stop it. */
export const isOutage = (error: unknown): boolean =>
  error instanceof ApiError &&
  error.code === 'unavailable' &&
  !(error.cause instanceof StripeCallError && !error.cause.unavailable);

/** How long a buyer has to pay again after a payment that settles later has failed. */
const retryDeadlines = ({ settings }: Context) => ({
  holdSeconds: settings.RESERVATION_TTL_SECONDS,
  secureSeconds: settings.JOIN_SECURE_SECONDS,
  graceSeconds: settings.CAMPAIGN_GRACE_SECONDS,
});

/** Applies one update. One that does not fit its payment (another amount or tenant) changes nothing: `set_aside`. */
async function applyUpdate(context: Context, update: StripeUpdate): Promise<ApplyResult> {
  const started = Date.now();
  const applied = await runLast<ApplyResult>(context, 'payments.apply_stripe', context.call, {
    ...update,
    terms: retryDeadlines(context),
  });
  if (applied.outcome === 'set_aside') {
    log({
      kind: 'message',
      id: update.intentId ?? update.setupId ?? '',
      tenant: applied.tenant ?? null,
      outcome: 'set_aside',
      reason: applied.reason,
      durationMs: Date.now() - started,
      dbCalls: 1,
    });
  }
  return applied;
}
