import * as z from 'zod';
import { country, currency, exact, parcel, sender, siteUrl, text, webUrl, whole } from '../base/fields.ts';
import type { Context } from '../context.ts';
import {
  type Links,
  type StorefrontRow,
  storefront as storefrontRow,
  type TenantRow,
  tenantSettings,
} from '../db/platform/tenants.ts';

const links = z
  .object({ terms: z.string().nullable(), privacy: z.string().nullable(), returns: z.string().nullable() })
  .meta({ description: 'The pages that a storefront links to; null: none' });

const days = (count: number): number => count * 86_400;
const seconds = (max: number) => whole.min(1).max(max).nullable();

const settings = {
  name: text(255),
  country: country.nullable(),
  currency: currency.nullable(),
  pricesIncludeTax: z.boolean().meta({ description: 'Whether the prices of the catalog include tax' }),
  shipFrom: sender.nullable().meta({ description: 'The sender of its parcels; null: `SHIP_FROM` of the Worker' }),
  parcel: parcel
    .nullable()
    .meta({ description: 'The weight and size of its parcels; null: `SHIP_PARCEL` of the Worker' }),
  delayedPayments: z.boolean().meta({ description: 'Whether buyers may use payment methods that settle days later' }),
  holdSeconds: seconds(days(30)).meta({
    description: 'How long stock is held for an unpaid order; null: `RESERVATION_TTL_SECONDS` of the Worker',
  }),
  cartSeconds: seconds(days(365)).meta({ description: 'How long an unused cart is kept; null: the default' }),
  approvalSeconds: seconds(days(30)).meta({
    description: 'How long an order waits for its approval; null: the default',
  }),
  graceSeconds: seconds(days(30)).meta({
    description:
      'How long an order of a successful campaign waits for its payment; null: `CAMPAIGN_GRACE_SECONDS` of the Worker',
  }),
  storefrontUrl: siteUrl.nullable().meta({ description: 'Where buyers find the shop' }),
  oidc: z
    .strictObject({ issuer: siteUrl, audience: exact(255) })
    .nullable()
    .meta({ description: 'Who signs the tokens of its customers, and for which audience' }),
};

export const tenant = z
  .object({
    id: z.string(),
    ...settings,
    links,
    stripeAccount: z.string().nullable().meta({ description: 'The connected account at Stripe; read-only' }),
  })
  .meta({ id: 'Tenant' });

export type Tenant = z.infer<typeof tenant>;

const link = webUrl.nullable();

export const tenantChange = z
  .strictObject({
    ...settings,
    links: z
      .strictObject({ terms: link, privacy: link, returns: link })
      .partial()
      .meta({ description: 'A link that is left out stays as it is; null removes it' }),
  })
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must change at least one field' });

export const storefront = z
  .object({
    name: z.string(),
    country: z.string().nullable(),
    currency: z.string().nullable(),
    pricesIncludeTax: z.boolean(),
    links,
    stripe: z.object({
      publishableKey: z.string().nullable().meta({ description: "The platform's key for Stripe.js" }),
      account: z.string().nullable().meta({ description: "The tenant's account; null: the platform's own" }),
    }),
  })
  .meta({ id: 'Storefront' });

const toLinks = (set: Links) => ({
  terms: set.terms ?? null,
  privacy: set.privacy ?? null,
  returns: set.returns ?? null,
});

/** Puts the fields in the order of the API. jsonb has its own order. */
const toTenant = (row: TenantRow): Tenant => ({
  id: row.id,
  name: row.name,
  country: row.country,
  currency: row.currency,
  pricesIncludeTax: row.pricesIncludeTax,
  shipFrom: row.shipFrom,
  parcel: row.parcel,
  delayedPayments: row.delayedPayments,
  holdSeconds: row.holdSeconds,
  cartSeconds: row.cartSeconds,
  approvalSeconds: row.approvalSeconds,
  graceSeconds: row.graceSeconds,
  links: toLinks(row.links),
  storefrontUrl: row.storefrontUrl,
  oidc: row.oidc,
  stripeAccount: row.stripeAccount,
});

/** The first row of a function that returns null without a proof, which `read` has made. */
function only<T>(row: T | null | undefined): T {
  if (row === null || row === undefined) throw new Error('the tenant of the key has no row');
  return row;
}

/** The settings of the caller's tenant, with the version that its ETag shows. */
export async function readTenant(context: Context) {
  const { rows } = await context.db.read(context.call, 'tenant:read', tenantSettings);
  const row = only(rows[0]?.tenant);
  return { tenant: toTenant(row), version: row.version };
}

/**
 * Changes only the given fields. `ifMatch`: the versions that the client's `If-Match` accepts.
 * @throws ApiError version_mismatch
 */
export async function updateTenant(
  context: Context,
  change: z.infer<typeof tenantChange>,
  ifMatch: number[] | undefined,
) {
  const { answer } = await context.db.run<{ tenant: string; answer: TenantRow }>(
    'platform.update_tenant',
    context.call,
    { change, ifMatch },
  );
  return { tenant: toTenant(answer), version: answer.version };
}

/** What a storefront needs to know before it shows the first page. */
export async function readStorefront(context: Context) {
  const { tenant: id, rows } = await context.db.read(context.call, 'catalog:read', storefrontRow);
  const { stripeAccount, links: set, ...row }: StorefrontRow = only(rows[0]?.storefront);
  const shown: z.infer<typeof storefront> = {
    name: row.name,
    country: row.country,
    currency: row.currency,
    pricesIncludeTax: row.pricesIncludeTax,
    links: toLinks(set),
    stripe: { publishableKey: context.settings.STRIPE_PUBLISHABLE_KEY ?? null, account: stripeAccount },
  };
  return { tenant: id, storefront: shown };
}
