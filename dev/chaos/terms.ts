import type { Random } from './random.ts';
import type { Shop } from './shop.ts';

/** A shipping option that `acme` offers. */
export const acmeShippingOption = '019ab3f4-0000-7000-8000-000000000001';

/** Gives the tenant `acme` tax rates and a shipping option, so that the totals of its orders are more than their lines. */
export async function addTerms({ platform }: Shop): Promise<void> {
  await platform.query(
    `insert into orders.tax_rates (id, tenant_id, name, country, rate, created_at, updated_at)
     values ('tax-us', 'acme', 'Sales tax', 'US', 7.3, now(), now()), ('tax-pt', 'acme', 'IVA', 'PT', 23, now(), now())
     on conflict do nothing`,
  );
  await platform.query(
    `insert into orders.shipping_options (id, tenant_id, name, countries, currency, price, created_at, updated_at)
     values ($1, 'acme', 'Parcel', array['US', 'PT'], 'USD', 4.99, now(), now()) on conflict do nothing`,
    [acmeShippingOption],
  );
}

/** What a buyer sends with a join: nothing, as at first, or an address, and with it sometimes the shipping option. */
export function termsOfJoin(tenant: string, random: Random, shippingAddress: object): object {
  const plan = random.pickWeighted({ nothing: 50, address: 25, option: 25 });
  if (plan === 'nothing') return {};
  const option = plan === 'option' && tenant === 'acme' ? { shippingOptionId: acmeShippingOption } : {};
  return { shippingAddress, email: 'ada@example.com', ...option };
}
