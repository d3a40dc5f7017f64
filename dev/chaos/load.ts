import { setTimeout as sleep } from 'node:timers/promises';
import { runCampaign } from './campaigns/pools.ts';
import { runTeams } from './campaigns/teams.ts';
import { adjustStock, editProduct, importProducts, sendInvalidRequests } from './catalog.ts';
import { placeAndPay } from './orders.ts';
import { seededRandom } from './random.ts';
import { createStory, type Shop, type Sku, type Story } from './shop.ts';
import { shopInBrowser } from './shoppers.ts';
import { addTerms, tenants } from './terms.ts';

/** The kinds of stories, with their share in percent. */
const kinds = {
  placeAndPay: 39,
  shopInBrowser: 28,
  adjustStock: 7,
  runCampaign: 8,
  runTeams: 5,
  editProduct: 4,
  importProducts: 2,
  sendInvalidRequests: 7,
} as const;
export type StoryKind = keyof typeof kinds;
const play: Record<StoryKind, (story: Story) => Promise<void>> = {
  placeAndPay,
  shopInBrowser,
  adjustStock,
  runCampaign,
  runTeams,
  editProduct,
  importProducts,
  sendInvalidRequests,
};

/** The kind and the tenant of a seed's story with this index. `only`: the kinds to choose from, if not all. */
export function planStory(
  seed: number,
  index: number,
  only?: readonly StoryKind[],
): { kind: StoryKind; tenant: string } {
  const random = seededRandom(seed, 'plan', index);
  return {
    kind: only ? random.pick(only) : random.pickWeighted(kinds),
    tenant: random.chance(0.85) ? 'default' : 'acme',
  };
}

/** Creates the products on sale, before any faults. Some SKUs are hot: scarce and often ordered. */
export async function createProducts(shop: Shop): Promise<void> {
  await addTerms(shop);
  for (const tenant of tenants) {
    const story = createStory(shop, `shelves-${tenant}`, tenant);
    const skus: Sku[] = Array.from({ length: 60 }, (_, n) => ({
      sku: `${n < 5 ? 'HOT' : 'SKU'}-${n}`,
      price: n % 7 === 0 ? 9.99 : 1 + n,
      hot: n < 5,
    }));
    shop.skus[tenant] = skus;
    await Promise.all(
      skus.map(({ sku, price, hot }) =>
        story.request('products.create', 'POST', '/v1/products', {
          key: story.unique('product'),
          body: { sku, name: `Product ${sku}`, price, currency: 'USD', inventory: hot ? 30 : 3_000 },
        }),
      ),
    );
  }
}

/**
 * Plays the stories of the seed with this number of clients at a time, until the shop closes. Resolves with the number
 * of stories. `only`: the kinds of stories, if not all.
 */
export async function runLoad(shop: Shop, people: number, only?: readonly StoryKind[]): Promise<number> {
  let nextIndex = 0;
  const person = async (number: number) => {
    const random = seededRandom(shop.seed, 'person', number);
    while (!shop.closing) {
      const index = nextIndex++;
      const { kind, tenant } = planStory(shop.seed, index, only);
      shop.journal.count('stories', kind);
      await play[kind](createStory(shop, index, tenant));
      await sleep(random.int(0, 250));
    }
  };
  await Promise.all(Array.from({ length: people }, (_, number) => person(number)));
  return nextIndex;
}
