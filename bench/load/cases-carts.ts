import { amountOf, type Bench, type Case } from './case.ts';
import type { OpenCart } from './job.ts';
import { seedCarts } from './seed-carts.ts';

const shopperHeaders = (bench: Bench): Record<string, string> => ({
  authorization: `Bearer ${bench.cartShop.publishableKey}`,
});

async function totalOf(bench: Bench, { id, token }: OpenCart): Promise<number> {
  const response = await fetch(`${bench.fixture.api}/v1/carts/${id}`, {
    headers: { ...shopperHeaders(bench), 'cart-token': token },
  });
  if (!response.ok) throw new Error(`GET /v1/carts/${id} returned ${response.status}: ${await response.text()}`);
  return ((await response.json()) as { totals: { total: number } }).totals.total;
}

/** What a shopper does in a browser, in a tenant with a tax rate, a shipping option and a discount code. */
export const cartCases: Case[] = [
  {
    name: 'order-3',
    title: 'order of 3 lines with its payment, 10,000 SKUs',
    against: ['order'],
    sinks: 'none',
    counted: true,
    run: (bench, turn) =>
      bench.load.run({
        ...turn,
        url: bench.fixture.api,
        headers: { authorization: `Bearer ${bench.fixture.secretKey}` },
        recipe: { kind: 'order', skus: bench.shop.skus, lines: 3, async: false, fields: { expand: ['payment'] } },
      }),
  },
  {
    name: 'cart-checkout',
    title: 'checkout of a cart of 3 lines: tax, shipping, a code',
    against: ['order-3'],
    sinks: 'none',
    counted: true,
    prepare: async (bench, turn) => ({ carts: await seedCarts(bench.fixture, bench.cartShop, amountOf(turn, 200)) }),
    async run(bench, turn, { carts = [] }) {
      const total = carts[0] ? await totalOf(bench, carts[0]) : 0;
      return bench.load.run({
        ...{ ...turn, url: bench.fixture.api, headers: shopperHeaders(bench), for: { amount: carts.length } },
        recipe: { kind: 'carts', carts, total },
      });
    },
  },
  {
    name: 'cart-read',
    title: 'such a cart, read by its shopper',
    against: ['product-miss'],
    sinks: 'none',
    counted: true,
    // Many carts, because a shopper may send only so many requests a second.
    prepare: async (bench) => ({ carts: await seedCarts(bench.fixture, bench.cartShop, 2_000) }),
    run: (bench, turn, { carts = [] }) =>
      bench.load.run({
        ...{ ...turn, url: bench.fixture.api, headers: shopperHeaders(bench) },
        recipe: { kind: 'cart-reads', carts },
      }),
  },
];
