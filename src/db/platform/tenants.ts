import { sql } from 'drizzle-orm';
import type * as z from 'zod';
import type { parcel, sender } from '../../base/fields.ts';
import type { Reader } from '../client.ts';

/** Who computes the tax: the tenant's own rates, or Stripe Tax. */
export const taxProviders = ['table', 'stripe'] as const;
export type TaxProviderName = (typeof taxProviders)[number];

export type Links = { terms?: string; privacy?: string; returns?: string };

/** A tenant as `platform.tenant_json` returns it. A link that is not set is missing. */
export type TenantRow = {
  id: string;
  name: string;
  country: string | null;
  currency: string | null;
  pricesIncludeTax: boolean;
  taxProvider: TaxProviderName;
  shipFrom: z.infer<typeof sender> | null;
  parcel: z.infer<typeof parcel> | null;
  carrier: { name: string; hasApiKey: boolean; hasWebhookSecret: boolean } | null;
  delayedPayments: boolean;
  automaticLabels: boolean;
  holdSeconds: number | null;
  cartSeconds: number | null;
  approvalSeconds: number | null;
  graceSeconds: number | null;
  links: Links;
  storefrontUrl: string | null;
  oidc: { issuer: string; audience: string } | null;
  stripeAccount: string | null;
  version: number;
};

export type StorefrontRow = Pick<
  TenantRow,
  'name' | 'country' | 'currency' | 'pricesIncludeTax' | 'links' | 'stripeAccount'
>;

/** The settings of the caller's tenant. The row is null if the caller has not proven the scope tenant:read. */
export const tenantSettings = (db: Reader) =>
  db.select({ tenant: sql<TenantRow | null>`t.tenant` }).from(sql`platform.read_tenant() t(tenant)`);

/** What a storefront shows of its tenant. */
export const storefront = (db: Reader) =>
  db
    .select({ storefront: sql<StorefrontRow | null>`s.storefront` })
    .from(sql`platform.read_storefront() s(storefront)`);
