import { createHash, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';

/** Random price lists and orders, compared with a model that reads every price of every list. */
const runs = Number(process.env.MODEL_RUNS ?? 40);
let random = Number(process.env.MODEL_SEED ?? 11);

let database: Database;
let worker: pg.Client;
let keyHash: string;
beforeAll(async () => {
  database = await createDatabase();
  worker = new pg.Client(database.workerUrl);
  await worker.connect();
  keyHash = createHash('sha256')
    .update(await database.key())
    .digest('hex');
});
afterAll(async () => {
  await worker.end();
  await database.drop();
});

/** A random integer from 0 to `limit` - 1 (mulberry32). */
const below = (limit: number): number => {
  random = (random + 0x6d2b79f5) | 0;
  let t = Math.imul(random ^ (random >>> 15), 1 | random);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % limit;
};
const oneOf = <T>(all: readonly T[]): T => all[below(all.length)] as T;
const maybe = <T>(value: T): T | undefined => (below(2) === 0 ? value : undefined);

const currencies = ['USD', 'EUR', 'JPY'] as const;
type Currency = (typeof currencies)[number];
/** Prices are counted in hundredths, so that the model adds exactly. */
type Product = { sku: string; currency: Currency; cents: number };
type Tier = { sku: string; minQuantity: number; cents: number };
type List = {
  id: string;
  currency: Currency;
  audience: 'all' | 'group' | 'organization';
  audienceId: string | undefined;
  startsAt: string | undefined;
  endsAt: string | undefined;
  tiers: Tier[];
};
type Line = { sku: string; quantity: number };
type Order = { customerId: string; organizationId: string | undefined; currency: Currency | undefined; items: Line[] };

const skus = ['A', 'B', 'C', 'D'];
const groups = ['vip', 'trade'];
const organizations = ['org-1', 'org-2'];
const now = '2030-06-15T12:00:00.000Z';
const times = ['2030-06-15T11:59:59.999Z', now, '2030-06-15T12:00:00.001Z'];

/** Few different prices, so that lists of one level often tie. */
const centsIn = (currency: Currency): number => (1 + below(8)) * (currency === 'JPY' ? 10_000 : 125);
const amount = (cents: number): number => Number((cents / 100).toFixed(2));

function makeList(): List {
  const currency = oneOf(currencies);
  const audience = oneOf(['all', 'group', 'organization'] as const);
  const [startsAt, endsAt] = [maybe(oneOf(times)), maybe(oneOf(times))];
  const tiers = new Map<string, Tier>();
  for (let n = below(7); n > 0; n--) {
    const [sku, minQuantity] = [oneOf(skus), oneOf([1, 2, 5, 10])];
    tiers.set(`${sku} ${minQuantity}`, { sku, minQuantity, cents: centsIn(currency) });
  }
  return {
    ...{ id: randomUUID(), currency, audience, tiers: [...tiers.values()], startsAt },
    audienceId: audience === 'all' ? undefined : oneOf(audience === 'group' ? groups : organizations),
    endsAt: startsAt !== undefined && endsAt !== undefined && endsAt <= startsAt ? undefined : endsAt,
  };
}

const makeOrder = (customers: string[]): Order => ({
  customerId: oneOf([...customers, 'nobody']),
  organizationId: maybe(oneOf(organizations)),
  currency: below(3) === 0 ? undefined : oneOf(currencies),
  items: Array.from({ length: 1 + below(4) }, () => ({ sku: oneOf(skus), quantity: 1 + below(7) })),
});

/** The model: the price of a SKU in hundredths; undefined if it has none in this currency. */
function priceOf(
  product: Product,
  quantity: number,
  currency: Currency,
  group: string | undefined,
  order: Order,
  lists: List[],
) {
  for (const audience of ['organization', 'group', 'all'] as const) {
    const audienceId = { organization: order.organizationId, group, all: undefined }[audience];
    if (audience !== 'all' && audienceId === undefined) continue;
    const prices = lists
      .filter((list) => list.audience === audience && list.audienceId === audienceId && list.currency === currency)
      .filter(({ startsAt, endsAt }) => (startsAt ?? now) <= now && (endsAt === undefined || endsAt > now))
      .flatMap(({ tiers }) => {
        const reached = tiers.filter(({ sku, minQuantity }) => sku === product.sku && minQuantity <= quantity);
        const [best] = reached.toSorted((a, b) => b.minQuantity - a.minQuantity);
        return best === undefined ? [] : [best.cents];
      });
    if (prices.length > 0) return Math.min(...prices);
  }
  return product.currency === currency ? product.cents : undefined;
}

type Outcome =
  | { error: string }
  | { currency: string; total: number; items: { sku: string; quantity: number; price: number }[] };

function expectedOf(
  order: Order,
  products: Product[],
  groupOf: Map<string, string | undefined>,
  lists: List[],
): Outcome {
  const productOf = (sku: string) => products.find((product) => product.sku === sku) as Product;
  const quantities = new Map<string, number>();
  for (const { sku, quantity } of order.items) quantities.set(sku, (quantities.get(sku) ?? 0) + quantity);
  const used = [...quantities.keys()].map(productOf);
  const [first] = used;
  if (order.currency === undefined && used.some(({ currency }) => currency !== first?.currency))
    return { error: 'currency_mismatch' };
  const currency = order.currency ?? (first as Product).currency;
  let cents = 0;
  const items: { sku: string; quantity: number; price: number }[] = [];
  for (const [sku, quantity] of quantities) {
    const price = priceOf(productOf(sku), quantity, currency, groupOf.get(order.customerId), order, lists);
    if (price === undefined) return { error: 'currency_mismatch' };
    cents += price * quantity;
    items.push({ sku, quantity, price: amount(price) });
  }
  return { currency, total: amount(cents), items };
}

const run = async (name: string, input: object) => {
  const call = { keyHash, now, idempotencyKey: randomUUID(), requestHash: 'x' };
  return (await worker.query(`select ${name}($1, $2) as result`, [call, input])).rows[0].result.answer;
};

/** Replaces the products, customers and lists by these. */
async function store(products: Product[], groupOf: Map<string, string | undefined>, lists: List[]) {
  await database.query('delete from catalog.prices');
  await database.query('delete from catalog.price_lists');
  for (const { sku, currency, cents } of products)
    await run('catalog.update_product', { id: `p-${sku}`, change: { currency, price: amount(cents) } });
  for (const [id, group] of groupOf) await run('orders.update_customer', { id, change: { group: group ?? null } });
  for (const { tiers, ...list } of lists) {
    await run('catalog.create_price_list', { name: 'x', ...list });
    const prices = tiers.map(({ sku, minQuantity, cents }) => ({ sku, minQuantity, price: amount(cents) }));
    await run('catalog.set_prices', { id: list.id, prices });
  }
}

test('an order and a price that is asked for are those of a model that reads every price', async () => {
  const customers = ['c-1', 'c-2', 'c-3'];
  for (const sku of skus) {
    const product = { id: `p-${sku}`, sku, name: sku, description: null, price: 10, currency: 'USD' };
    await run('catalog.create_product', { ...product, inventory: 1_000_000 });
  }
  for (const id of customers) await run('orders.create_customer', { id, email: `${id}@example.com` });
  const seen = new Set<string>();
  for (let turn = 0; turn < runs; turn++) {
    const products = skus.map((sku): Product => {
      const currency = below(4) === 0 ? oneOf(currencies) : 'USD';
      return { sku, currency, cents: centsIn(currency) };
    });
    const groupOf = new Map(customers.map((id) => [id, maybe(oneOf(groups))]));
    const lists = Array.from({ length: below(12) }, makeList);
    await store(products, groupOf, lists);
    for (let n = 0; n < 12; n++) {
      const order = makeOrder(customers);
      const expected = expectedOf(order, products, groupOf, lists);
      const answer = await run('orders.place_order', { id: randomUUID(), ...order, holdSeconds: 900, async: false });
      const found: Outcome =
        'error' in answer
          ? { error: answer.error }
          : { currency: answer.currency, total: answer.total, items: answer.items };
      expect({ turn, n, order, found }).toEqual({ turn, n, order, found: expected });
      const [line] = order.items;
      if (line === undefined) continue;
      const single = { ...order, items: [line] };
      const shown = await run('orders.find_price', { productId: `p-${line.sku}`, ...single, quantity: line.quantity });
      const alone = expectedOf(single, products, groupOf, lists);
      expect({ turn, n, single, price: shown.error ?? shown.price }).toEqual({
        ...{ turn, n, single },
        price: 'error' in alone ? alone.error : alone.items[0]?.price,
      });
      seen.add(shown.error ?? shown.source.level);
    }
  }
  expect([...seen].sort()).toEqual(['all', 'catalog', 'currency_mismatch', 'group', 'organization']);
});
