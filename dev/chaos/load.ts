import { setTimeout as sleep } from 'node:timers/promises';
import { groupBuying } from './campaigns.ts';
import { adjusting, editing, importing, trespassing } from './catalog.ts';
import { shopping } from './orders.ts';
import { drawOf } from './random.ts';
import { type Shop, type Sku, type Story, storyOf } from './shop.ts';

/** What people do, and how often of a hundred times. */
const kinds = { shopping: 59, adjusting: 11, groupBuying: 12, editing: 6, importing: 3, trespassing: 9 } as const;
const acts: Record<keyof typeof kinds, (story: Story) => Promise<void>> = {
  shopping,
  adjusting,
  groupBuying,
  editing,
  importing,
  trespassing,
};

/** The kind and the tenant of the n-th story of a seed. */
export function planOf(seed: number, index: number): { kind: keyof typeof kinds; tenant: string } {
  const draw = drawOf(seed, 'plan', index);
  return { kind: draw.weigh(kinds), tenant: draw.chance(0.85) ? 'default' : 'acme' };
}

/** Makes what is sold, while nothing goes wrong yet: some SKUs are hot and scarce. */
export async function stockShelves(shop: Shop): Promise<void> {
  for (const tenant of ['default', 'acme']) {
    const story = storyOf(shop, `shelves-${tenant}`, tenant);
    const all: Sku[] = Array.from({ length: 60 }, (_, n) => ({
      sku: `${n < 5 ? 'HOT' : 'SKU'}-${n}`,
      price: n % 7 === 0 ? 9.99 : 1 + n,
      hot: n < 5,
    }));
    shop.skus[tenant] = all;
    await Promise.all(
      all.map(({ sku, price, hot }) =>
        story.ask('products.create', 'POST', '/v1/products', {
          key: story.unique('product'),
          body: { sku, name: `Product ${sku}`, price, currency: 'USD', inventory: hot ? 30 : 3_000 },
        }),
      ),
    );
  }
}

/** So many people at a time live through the stories of the seed, until the shop closes; resolves with how many. */
export async function runLoad(shop: Shop, people: number): Promise<number> {
  let next = 0;
  const person = async (number: number) => {
    const draw = drawOf(shop.seed, 'person', number);
    while (!shop.closing) {
      const index = next++;
      const { kind, tenant } = planOf(shop.seed, index);
      shop.journal.count('stories', kind);
      await acts[kind](storyOf(shop, index, tenant));
      await sleep(draw.int(0, 250));
    }
  };
  await Promise.all(Array.from({ length: people }, (_, number) => person(number)));
  return next;
}
