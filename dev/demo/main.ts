import { parseArgs } from 'node:util';
import { mulberry32 } from '../stripe/webhooks.ts';
import { auditDay, countOpen } from './audit.ts';
import { type Buyer, castBuyers, regretAs, type Story, shopAs, stories } from './buyers.ts';
import { sendParcels } from './parcels.ts';
import { comesTrue, enterShop, type Order, type Shop } from './shop.ts';

const help = `npm run demo [-- options]

A day of a shop on the platform that "npm start" runs in another terminal: buyers whose cards pass, fail and need 3-D
Secure, webhooks that come late, twice, out of order or never, cancellations, refunds and parcels. It ends with an audit
of all money and stock, and with exit code 1 if anything differs.

  --orders N            buyers of the day (60)
  --seed N              of everything that is drawn by lot (the time of day)
  --url URL             the API (http://127.0.0.1:8787; PORT)
  --stripe-url URL      the Stripe stand-in (http://127.0.0.1:12111; STRIPE_PORT)
  --database-url URL    the database, as its owner (the local one; DATABASE_URL, POSTGRES_PORT)
  --key KEY             a secret key of the tenant default (sk_dev_default)
  --shipping-secret S   of the manual carrier's tracking updates (whsec_dev; SHIPPING_WEBHOOK_SECRET)

It fires the platform's crons as if up to half an hour had passed, so other orders that wait for money expire too.`;

const products = [
  { name: 'Stoneware mug', price: 14.5, each: 3 },
  { name: 'Earl Grey, 100 g', price: 8.9, each: 4 },
  { name: 'Glass teapot', price: 39, each: 2 },
  { name: 'The last tea of the harvest', price: 64.99, each: 0 },
];

const say = (scene: string, text: string): boolean => process.stdout.write(`  ${scene.padEnd(11)} ${text}\n`);

/** Runs `work` for every item, a few at a time. */
async function forEach<T>(items: T[], atOnce: number, work: (item: T) => Promise<unknown>): Promise<void> {
  const waiting = [...items];
  const next = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, next));
}

const countBy = (buyers: Buyer[], story: Story): number => buyers.filter((buyer) => buyer.story === story).length;

const statusesOf = (orders: Order[]): string => {
  const counts = new Map<string, number>();
  for (const { status } of orders) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => `${count} ${status}`).join(', ');
};

async function openShelves(shop: Shop, day: string, count: number): Promise<string[]> {
  const skus: string[] = [];
  for (const [index, { name, price, each }] of products.entries()) {
    const sku = `DEMO-${day}-${index + 1}`;
    // Of the last one there is less than will be asked for.
    const inventory = each === 0 ? Math.max(2, Math.floor(count / 10)) : each * count;
    await shop.expectOk('POST', '/v1/products', { sku, name, price, currency: 'EUR', inventory });
    skus.push(sku);
  }
  return skus;
}

async function sellAll(shop: Shop, buyers: Buyer[], skus: string[], random: () => number): Promise<void> {
  const baskets = new Map(
    buyers.map((buyer) => {
      const index = Math.floor(random() * skus.length);
      const quantity = index === skus.length - 1 ? 1 : 1 + Math.floor(random() * 3);
      return [buyer, [{ sku: skus[index] ?? '', quantity }]];
    }),
  );
  await forEach(buyers, 6, (buyer) => shopAs(shop, buyer, baskets.get(buyer) ?? []));
}

async function runDay(shop: Shop, count: number, seed: number): Promise<number> {
  const random = mulberry32(seed);
  const day = `${Date.now().toString(36)}`.toUpperCase();
  const skus = await openShelves(shop, day, count);
  say('Opening', `${skus.length} products, SKUs ${skus[0]} to ${skus.at(-1)}`);
  const before = await shop.deliveries();
  await shop.flip('webhooks', { lose: 0.15, duplicate: 0.3, reorder: 0.3, reorderMs: 400, delayMs: 20, seed });
  say('Webhooks', 'from now on 15 of 100 never come, 30 come twice, 30 come out of order');

  const buyers = castBuyers(count, random);
  await sellAll(shop, buyers, skus, random);
  const served = buyers.filter((buyer) => buyer.order !== null);
  const ids = served.flatMap((buyer) => (buyer.order === null ? [] : [buyer.order.id]));
  const readAll = () => Promise.all(ids.map((id) => shop.readOrder(id)));
  say(
    'Orders',
    `${count} buyers: ${served.length} have their stock held, ${count - served.length} found the shelf empty`,
  );
  for (const story of Object.keys(stories) as Story[]) {
    if (countBy(served, story) > 0) say('', `${String(countBy(served, story)).padStart(3)} ${stories[story]}`);
  }
  await comesTrue(async () => (await countOpen(shop, ids)) === 0, 20);
  say('Paying', statusesOf(await readAll()));
  await shop.fireCron(6);
  await comesTrue(async () => (await countOpen(shop, ids)) === 0, 20);
  say('Lost', `the cron asks Stripe for what it never told: ${statusesOf(await readAll())}`);

  const regrets = { promised: 0, refused: 0 };
  await forEach(served, 4, async (buyer) => {
    const { promised, refused } = await regretAs(shop, buyer);
    regrets.promised += promised;
    regrets.refused += refused;
  });
  const cancelled = countBy(served, 'mindsLater');
  say('Regrets', `${cancelled} cancel; ${regrets.promised} refunds promised, ${regrets.refused} refused as too much`);
  say('Parcels', await sendParcels(shop, served));

  const last = served.filter((buyer) => buyer.story === 'paysLast');
  const outcomes = Promise.all(last.map(async ({ payment }) => payment && shop.confirm(payment, 'pm_card_visa')));
  await Promise.all([outcomes, shop.fireCron(16)]);
  say('Holds', `end for those who did not pay, while ${last.length} pay: ${statusesOf(await readAll())}`);

  const after = await shop.deliveries();
  const lost = after.lost.length - before.lost.length;
  const twice = after.duplicated - before.duplicated;
  say('Stripe', `${lost} webhooks never came, ${twice} came twice, ${after.reordered - before.reordered} out of order`);
  await shop.flip('webhooks', { ...before.faults });
  const quiet = await settle(shop, ids);
  say('Closing', statusesOf(await readAll()));

  const { lines, differences } = await auditDay(shop, ids, skus);
  for (const [index, line] of lines.entries()) say(index === 0 ? 'Audit' : '', line);
  if (!quiet) differences.push('After a minute something was still to be done.');
  for (const difference of differences) say('DIFFERENCE', difference);
  say(
    differences.length === 0 ? 'Well' : 'NOT WELL',
    differences.length === 0 ? 'the books agree' : `${differences.length} differences`,
  );
  return differences.length === 0 ? 0 : 1;
}

/** Waits until nothing is left to be done, with the crons of the next quarter of an hour. */
async function settle(shop: Shop, orderIds: string[]): Promise<boolean> {
  for (const minutes of [22, 28, 34]) {
    await comesTrue(async () => (await countOpen(shop, orderIds)) === 0, 10);
    await shop.fireCron(minutes);
  }
  return comesTrue(async () => (await countOpen(shop, orderIds)) === 0, 30);
}

const { values } = parseArgs({
  options: {
    orders: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 100_000) },
    url: { type: 'string', default: `http://127.0.0.1:${process.env.PORT || 8787}` },
    'stripe-url': { type: 'string', default: `http://127.0.0.1:${process.env.STRIPE_PORT || 12111}` },
    'database-url': {
      type: 'string',
      default:
        process.env.DATABASE_URL ||
        `postgres://fusion_owner:fusion_owner@127.0.0.1:${process.env.POSTGRES_PORT || 54329}/fusion`,
    },
    key: { type: 'string', default: 'sk_dev_default' },
    'shipping-secret': { type: 'string', default: process.env.SHIPPING_WEBHOOK_SECRET || 'whsec_dev' },
    help: { type: 'boolean' },
  },
});

async function main(): Promise<number> {
  const [orders, seed] = [Number(values.orders), Number(values.seed)];
  if (!Number.isInteger(orders) || orders < 1 || orders > 5_000) throw new Error('--orders is a number from 1 to 5000');
  if (!Number.isInteger(seed)) throw new Error('--seed is a whole number');
  const shop = await enterShop({
    url: values.url.replace(/\/$/, ''),
    key: values.key,
    stripeUrl: values['stripe-url'].replace(/\/$/, ''),
    databaseUrl: values['database-url'],
    shippingSecret: values['shipping-secret'],
  });
  const { faults } = await shop.deliveries();
  const restore = () => shop.flip('webhooks', { ...faults }).catch(() => undefined);
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      process.stdout.write('\nEnded before the day was over; the webhooks come as before.\n');
      void restore().finally(() => process.exit(130));
    });
  }
  process.stdout.write(`A day in the shop, seed ${seed}\n\n`);
  try {
    return await runDay(shop, orders, seed);
  } finally {
    await restore();
    await shop.leave();
  }
}

if (values.help) console.log(help);
else {
  process.exitCode = await main().catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    return 1;
  });
}
