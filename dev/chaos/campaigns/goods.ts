import { textOf } from '../journal.ts';
import type { Story } from '../shop.ts';

/** What a campaign sells: a product, or two variants of one product group. */
export type Goods = { productId: string; skus: string[] };

/** What the places of a campaign may ask for. */
export type GroupTerms = { skus: string[]; maxPerCustomer: number | null; joiners: 'all' | 'new_customers' };

/** Creates a product or two variants, each with these units in stock. Undefined if the API rejects one of them. */
export async function createGoods(story: Story, kind: string, units: () => number): Promise<Goods | undefined> {
  const { random } = story;
  const name = story.unique(kind);
  const variants = random.chance(0.35) ? ['S', 'M'] : [];
  let groupId = '';
  if (variants.length > 0) {
    const group = await story.request('product-groups.create', 'POST', '/v1/product-groups', {
      key: story.unique('group-of-products'),
      body: { name, slug: name, options: ['Size'] },
    });
    if (group?.status !== 201) return undefined;
    groupId = textOf(group.body, 'id');
  }
  const skus: string[] = [];
  let productId = '';
  for (const size of variants.length > 0 ? variants : ['']) {
    const sku = size === '' ? name : `${name}-${size}`;
    const product = await story.request('products.create', 'POST', '/v1/products', {
      key: story.unique('product'),
      body: {
        ...{ sku, name: `Group ${sku}`, price: 30, currency: 'USD', inventory: units() },
        ...(size === '' ? {} : { groupId, options: { Size: size } }),
      },
    });
    if (product?.status !== 201) return undefined;
    productId ||= textOf(product.body, 'id');
    skus.push(sku);
  }
  return { productId, skus };
}

/** The fields of a new campaign that limit its places, and these terms. */
export function pickTerms({ random }: Story, { skus }: Goods): { terms: GroupTerms; fields: object } {
  const maxPerCustomer = random.chance(0.4) ? random.int(1, 3) : null;
  const joiners = random.chance(0.15) ? 'new_customers' : 'all';
  const fields = {
    ...(skus.length > 1 ? { skus } : {}),
    ...(maxPerCustomer === null ? {} : { maxPerCustomer }),
    ...(joiners === 'all' ? {} : { joiners }),
  };
  return { terms: { skus, maxPerCustomer, joiners }, fields };
}

/** Prices that fall with the places or the units, for a pool of at most `places` places at a price of 20. */
export function pickTiers({ random }: Story, places: number): object[] {
  const prices = random.shuffle([17.49, 15, 11.11, 9.5]).sort((a, b) => b - a);
  if (random.chance(0.5)) {
    return [2, 2 + random.int(1, 2), 6].slice(random.int(0, 1)).map((units, n) => ({ units, price: prices[n] }));
  }
  return [random.int(1, 2), random.int(3, 4)]
    .filter((count) => count <= places)
    .map((count, n) => ({ participants: count, price: prices[n] }));
}

/**
 * What a place asks for: units, one of the SKUs, and who invited the buyer. `members`: users who have joined. Sometimes
 * the campaign does not allow it.
 */
export function pickPlace({ random }: Story, { skus }: GroupTerms, userId: string, members: readonly string[]): object {
  const quantity = random.pickWeighted({ 1: 66, 2: 22, 3: 12 });
  const sku = skus.length > 1 && !random.chance(0.04) ? random.pick(skus) : undefined;
  const invited = random.pickWeighted({ no: 68, member: 27, self: 2, stranger: 3 });
  const inviters = { no: [], member: members.filter((user) => user !== userId), self: [userId], stranger: ['nobody'] };
  const [invitedBy] = random.shuffle(inviters[invited]);
  return {
    ...(quantity === '1' ? {} : { quantity: Number(quantity) }),
    ...(sku === undefined ? {} : { sku }),
    ...(invitedBy === undefined ? {} : { invitedBy }),
  };
}

/** The id of a buyer. In a campaign for new customers it is often that of a story that may have bought something. */
export function pickUser(story: Story, { joiners }: GroupTerms, kind: string): string {
  const { random, name } = story;
  if (joiners === 'all' || random.chance(0.4)) return story.unique(kind);
  return `s${random.int(0, Number(name.slice(1)))}`;
}
