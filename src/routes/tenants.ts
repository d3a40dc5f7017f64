import { Hono } from 'hono';
import { newOnboarding, onboarding, openStripeAccount } from '../domain/stripe/account.ts';
import { readTenant, tenantChange, tenant as tenantSchema, updateTenant } from '../domain/tenants.ts';
import type { AppEnv } from '../http/app-env.ts';
import { invalidateStorefront } from '../http/edge-cache.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { showResult } from '../http/result.ts';
import { sampleTenant } from './examples.ts';

/** The settings of the key's own tenant: `/v1/tenant`. */
export const tenant = new Hono<AppEnv>();

tenant.get(
  '/',
  operation({
    id: 'getTenant',
    tag: 'Tenant',
    summary: 'Read the settings of your tenant',
    description: 'A setting that is null is the default of the Worker.',
    scope: 'tenant:read',
    responses: { 200: { description: 'The tenant', schema: tenantSchema, example: sampleTenant } },
    errors: [],
  }),
  async (c) => {
    const { tenant: found, version } = await readTenant(c.var.context);
    return showResource(c, found, { version });
  },
);

tenant.patch(
  '/',
  operation({
    id: 'updateTenant',
    tag: 'Tenant',
    summary: 'Change the settings of your tenant',
    description:
      'Only the given fields change. Null sets a setting back to the default of the Worker. New times hold for orders ' +
      'and places from then on, and a new carrier for labels that are not made yet. `id` and `stripeAccount` cannot be changed here. Links need https; `storefrontUrl` and ' +
      '`oidc.issuer` may also be on http://localhost, for development.',
    scope: 'tenant:write',
    ifMatch: true,
    body: tenantChange,
    example: { name: 'The tea shop', country: 'DE', currency: 'EUR', pricesIncludeTax: true, holdSeconds: 1_800 },
    responses: { 200: { description: 'The changed tenant', schema: tenantSchema, example: sampleTenant } },
    errors: ['version_mismatch', 'unavailable'],
  }),
  async (c) => {
    const versions = versionsIn(c.req.header('if-match'));
    const { tenant: changed, version } = await updateTenant(c.var.context, c.req.valid('json'), versions);
    await invalidateStorefront(c.var.context, changed.id);
    return showResource(c, changed, { version });
  },
);

tenant.post(
  '/stripe-account',
  operation({
    id: 'openStripeAccount',
    tag: 'Tenant',
    summary: 'Connect the shop’s own account at Stripe',
    description:
      'The first call makes the account. Every call returns a new link to Stripe’s page, where the owner enters what ' +
      'Stripe needs. Once Stripe lets the account take payments, new payments are opened on it; earlier payments stay ' +
      'on the account on which they were opened.',
    scope: 'tenant:write',
    idempotency: 'optional',
    body: newOnboarding,
    example: { returnUrl: 'https://shop.example/settings/payments' },
    responses: {
      201: {
        description: 'The link',
        schema: onboarding,
        example: {
          account: 'acct_1Q0000000000000000',
          url: 'https://connect.stripe.com/setup/s/acct_1Q0000000000000000/0000000000',
          expiresAt: '2026-01-31T12:05:00.000Z',
        },
      },
    },
    errors: ['conflict'],
  }),
  async (c) => {
    const { origin } = new URL(c.req.url);
    const opened = await openStripeAccount(c.var.context, origin, c.req.valid('json'));
    await invalidateStorefront(c.var.context, opened.tenant);
    return showResult(c, opened.onboarding, { status: 201, replayed: opened.replayed });
  },
);
