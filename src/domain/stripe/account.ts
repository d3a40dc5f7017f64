import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { time } from '../../base/fields.ts';
import type { Context } from '../../context.ts';
import type { WriteResult } from '../../db/client.ts';
import { createAccount, createAccountLink, isAccountEnabled } from '../../stripe/accounts.ts';
import { StripeCallError } from '../../stripe/client.ts';
import type { AccountUpdate } from '../../stripe/webhook.ts';
import { type Applied, applyInItsCell } from '../cells.ts';

export const onboarding = z
  .object({
    account: z.string().meta({ description: 'The id of the account at Stripe' }),
    url: z.string().meta({ description: 'Stripe’s page for the owner of the account. It works once.' }),
    expiresAt: time,
  })
  .meta({ id: 'StripeOnboarding' });

export const newOnboarding = z.strictObject({
  returnUrl: z
    .url({ protocol: /^https?$/ })
    .max(2_048)
    .optional()
    .meta({
      description:
        'Where Stripe sends the browser afterwards, and when the link has expired. Default: the shop’s `storefrontUrl`, or this API',
    }),
});

type Onboarding = z.infer<typeof onboarding>;
type Known = { account: string | null; storefrontUrl: string | null; country: string | null };

/** Turns an error of Stripe into the one for the client. */
function toOnboardingError(account: string | null, error: unknown): unknown {
  if (!(error instanceof StripeCallError)) return error;
  if (error.noAccess)
    return new ApiError('conflict', `Stripe gives no access to the account ${account}: its owner has withdrawn it.`);
  if (error.permanent) return new ApiError('conflict', `Stripe rejects the request: ${error.code}.`);
  return new ApiError('unavailable', 'Stripe did not complete the request. Repeat with the same Idempotency-Key.');
}

/**
 * Returns a link on which the owner of the tenant's account enters what Stripe needs. The first call makes the account,
 * once: concurrent calls use one key at Stripe, and the tenant's row keeps the first account. It takes payments once
 * Stripe says that it can, here or in a webhook.
 * @throws ApiError conflict (Stripe rejects the request), unavailable (repeat with the same Idempotency-Key)
 */
export async function openStripeAccount(
  context: Context,
  origin: string,
  { returnUrl }: z.infer<typeof newOnboarding>,
): Promise<{ onboarding: Onboarding; tenant: string; replayed: boolean }> {
  const { db, call, settings } = context;
  const opened = await db.run<WriteResult<Known | Onboarding>>('platform.open_stripe_account', call, {});
  const { tenant } = opened;
  if ('url' in opened.answer) return { onboarding: opened.answer, tenant, replayed: opened.replayed };
  const { storefrontUrl, country } = opened.answer;
  let { account } = opened.answer;
  try {
    // Another call may store its account first. Then the second round uses that one.
    for (let round = 0; round < 2; round++) {
      const isEnabled = account !== null && (await isAccountEnabled(context, account));
      account ??= (await createAccount(context, tenant, country)).id;
      const link = await createAccountLink(
        context,
        account,
        returnUrl ?? storefrontUrl ?? settings.PUBLIC_URL ?? origin,
      );
      const input = { account, isEnabled, ...link };
      const { answer, replayed } = await db.run<WriteResult<Onboarding | { account: string }>>(
        'platform.record_stripe_account',
        call,
        input,
      );
      if ('url' in answer) return { onboarding: answer, tenant, replayed };
      account = answer.account;
    }
  } catch (error) {
    throw toOnboardingError(account, error);
  }
  throw new ApiError('unavailable');
}

/** Applies Stripe's event about an account, in the cell that has its tenant. @throws ApiError unavailable */
export const applyAccountWebhook = (
  context: Context,
  { cell, ...update }: AccountUpdate,
): Promise<Applied<{ outcome: string; tenant?: string }>> =>
  applyInItsCell(context, cell, (inside) =>
    inside.db.run<{ outcome: string; tenant?: string }>('platform.apply_stripe_account', inside.call, update),
  );
