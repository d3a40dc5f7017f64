import type { Context } from '../context.ts';
import { callStripe, openStripe } from './client.ts';
import { cellMetadata } from './metadata.ts';

/**
 * Creates the account of a tenant: a standard account for direct charges, whose owner uses Stripe's own dashboard, pays
 * Stripe's fees and bears its own losses. Repeated calls on one day return the same account.
 * Source: docs.stripe.com/connect/migrate-to-controller-properties (2026-11).
 * @throws StripeCallError
 */
export async function createAccount({ settings, db }: Context, tenant: string, country: string | null) {
  const stripe = openStripe(settings, null);
  return callStripe(
    stripe.accounts.create(
      {
        controller: {
          fees: { payer: 'account' },
          losses: { payments: 'stripe' },
          requirement_collection: 'stripe',
          stripe_dashboard: { type: 'full' },
        },
        ...(country === null ? {} : { country }),
        metadata: { tenant, ...cellMetadata(db.cell) },
      },
      { idempotencyKey: ['account', ...(country === null ? [] : [country]), db.cell, tenant].join('-') },
    ),
  );
}

/** Whether Stripe lets an account take payments. @throws StripeCallError */
export async function isAccountEnabled({ settings }: Context, account: string): Promise<boolean> {
  return (await callStripe(openStripe(settings, null).accounts.retrieve(account))).charges_enabled;
}

/** A link on which the owner of an account enters what Stripe needs. It works once. @throws StripeCallError */
export async function createAccountLink({ settings }: Context, account: string, returnUrl: string) {
  const link = await callStripe(
    openStripe(settings, null).accountLinks.create({
      account,
      type: 'account_onboarding',
      return_url: returnUrl,
      refresh_url: returnUrl,
    }),
  );
  return { url: link.url, expiresAt: new Date(link.expires_at * 1_000).toISOString() };
}
