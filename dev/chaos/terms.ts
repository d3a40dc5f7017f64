import { createStory, type Shop, type Story } from './shop.ts';

/** The tenants of a run. Only `acme` has taxes, shipping options and a discount without a code. */
export const tenants = ['default', 'acme'] as const;

const option = { name: 'Parcel', countries: ['US', 'PT'], currency: 'USD', price: 4.99, minDays: 2, maxDays: 4 };
const taxRates = [
  { name: 'Sales tax', country: 'US', rate: 7.3 },
  { name: 'IVA', country: 'PT', rate: 23 },
];

const discounts = [
  { code: 'TENTH', name: 'A tenth', type: 'percentage', value: 10, combinable: true },
  { code: 'FIVE', name: 'Five off', type: 'amount', value: 5, currency: 'USD', perCustomerLimit: 1, combinable: true },
  {
    ...{ code: 'BOTH', name: 'Both limits', type: 'percentage', value: 50 },
    ...{ usageLimit: 25, perCustomerLimit: 2, combinable: true },
  },
  { code: 'POST', name: 'Free shipping', type: 'free_shipping', usageLimit: 30, combinable: true },
] as const;
const codes = [...discounts.map(({ code }) => code), 'NONE'];

/** Stories that are played at the same time name the same one of these codes, and so race for its last use. */
const lastUses = Array.from({ length: 30 }, (_, n) => ({
  ...{ code: `LAST-${n}`, name: 'For one or two orders', type: 'percentage', value: 33.3 },
  ...{ usageLimit: 1 + (n % 2), combinable: n % 3 > 0 },
}));
const automatic = { name: 'Hot', type: 'percentage', value: 2.5, skus: ['HOT-0', 'HOT-1'], combinable: true };

/** Creates what the totals of orders depend on, before any faults. */
export async function addTerms(shop: Shop): Promise<void> {
  for (const tenant of tenants) {
    const story = createStory(shop, `terms-${tenant}`, tenant);
    const create = (kind: string, body: object) =>
      story.request(`${kind}.create`, 'POST', `/v1/${kind}`, { key: story.unique(kind), body });
    for (const discount of [...discounts, ...lastUses]) await create('discounts', discount);
    if (tenant !== 'acme') continue;
    await create('discounts', automatic);
    for (const rate of taxRates) await create('tax-rates', rate);
    const created = await create('shipping-options', option);
    shop.shippingOptions[tenant] = String(Reflect.get(created?.body as object, 'id'));
  }
}

/** Some discount codes: mostly none or one, in upper or lower case, and sometimes one that does not exist. */
export function pickCodes({ name, random }: Story): string[] {
  const plan = random.pickWeighted({ none: 25, last: 35, one: 25, two: 15 });
  const last = `LAST-${Math.floor(Number(name.slice(1)) / 10) % lastUses.length}`;
  const picked = { none: [], last: [last], one: random.shuffle(codes).slice(0, 1), two: [last, random.pick(codes)] }[
    plan
  ];
  return picked.map((code) => (random.chance(0.3) ? code.toLowerCase() : code));
}

/** The e-mail address of a guest. Some guests come back, and so meet the limits for each customer. */
export const emailOf = ({ name, random }: Story): string =>
  random.chance(0.5) ? `regular-${random.int(1, 5)}@example.com` : `${name}@example.com`;

/** What a buyer sends with a join: nothing, as at first, or an address, and with it sometimes the shipping option. */
export function termsOfJoin({ shop, tenant, random }: Story, shippingAddress: object): object {
  const plan = random.pickWeighted({ nothing: 50, address: 25, option: 25 });
  if (plan === 'nothing') return {};
  return { shippingAddress, email: 'ada@example.com', ...(plan === 'option' ? optionOf(shop, tenant) : {}) };
}

/** The shipping option of a tenant, if it has one. */
export function optionOf({ shippingOptions }: Shop, tenant: string): { shippingOptionId?: string } {
  const id = shippingOptions[tenant];
  return id === undefined ? {} : { shippingOptionId: id };
}
