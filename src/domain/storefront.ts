import * as z from 'zod';
import type { Context } from '../context.ts';
import { storefront as storefrontRow } from '../db/platform/tenants.ts';
import { links, only, toLinks } from './tenants.ts';

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

/** What a storefront needs to know before it shows the first page. */
export async function readStorefront(context: Context) {
  const { tenant: id, rows } = await context.db.read(context.call, 'catalog:read', storefrontRow);
  const { stripeAccount, links: set, ...row } = only(rows[0]?.storefront);
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
