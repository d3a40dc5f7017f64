import { mulberry32 } from '../stripe/webhooks.ts';
import { parseOptions } from '../support/options.ts';
import { auditDay, countUnfinished } from './audit.ts';
import { type Buyer, cancelOrReturn, createBuyers, placeAndPay, type Story, stories } from './buyers.ts';
import { sendParcels } from './parcels.ts';
import { connectToShop, type Order, type Shop, waitUntil } from './shop.ts';
import { runTeams } from './teams.ts';

const help = `npm run demo [-- options]

Simulates a day of a shop on a running platform. Run "npm start" in another terminal first. Buyers' cards are accepted,
declined or need 3-D Secure; webhooks are late, duplicated, out of order or lost; there are cancellations, refunds and
parcels. Then buyers form teams of a campaign: some fill, some are merged, some expire, and some buyers leave. In the end
it audits all money and stock. Exit code 0: no differences; 1: differences or an error.

  --orders N            number of buyers; default: 60; 0: only teams
  --teams N             number of teams; default: 12; 0: no teams
  --seed N              seed of all random choices; default: from the clock
  --url URL             the API; default: http://127.0.0.1 with the port PORT or 8787
  --stripe-url URL      the Stripe emulator; default: http://127.0.0.1 with the port STRIPE_PORT or 12111
  --database-url URL    the database, with its owner's login; default: DATABASE_URL, or the local one at POSTGRES_PORT
  --key KEY             a secret key of the tenant default; default: sk_dev_default
  --shipping-secret S   signs the manual carrier's tracking updates; default: SHIPPING_WEBHOOK_SECRET or whsec_dev
  --help                print this text

It runs the platform's crons with times up to three hours ahead, so other unpaid orders on this platform expire too.`;

const products = [
  { name: 'Stoneware mug', price: 14.5, unitsPerBuyer: 3 },
  { name: 'Earl Grey, 100 g', price: 8.9, unitsPerBuyer: 4 },
  { name: 'Glass teapot', price: 39, unitsPerBuyer: 2 },
  { name: 'The last tea of the harvest', price: 64.99, unitsPerBuyer: 0 },
];

const printScene = (scene: string, text: string): boolean => process.stdout.write(`  ${scene.padEnd(11)} ${text}\n`);

/** Runs `work` for every item, with at most `concurrency` at a time. */
async function forEach<T>(items: T[], concurrency: number, work: (item: T) => Promise<unknown>): Promise<void> {
  const waiting = [...items];
  const workThrough = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: concurrency }, workThrough));
}

const countBy = (buyers: Buyer[], story: Story): number => buyers.filter((buyer) => buyer.story === story).length;

const summarizeStatuses = (orders: Order[]): string => {
  const counts = new Map<string, number>();
  for (const { status } of orders) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => `${count} ${status}`).join(', ');
};

async function createProducts(shop: Shop, day: string, count: number): Promise<string[]> {
  const skus: string[] = [];
  for (const [index, { name, price, unitsPerBuyer }] of products.entries()) {
    const sku = `DEMO-${day}-${index + 1}`;
    // The last product has too few units for its buyers.
    const inventory = unitsPerBuyer === 0 ? Math.max(2, Math.floor(count / 10)) : unitsPerBuyer * count;
    await shop.expectOk('POST', '/v1/products', { sku, name, price, currency: 'EUR', inventory });
    skus.push(sku);
  }
  return skus;
}

async function sellToAll(shop: Shop, buyers: Buyer[], skus: string[], random: () => number): Promise<void> {
  const baskets = new Map(
    buyers.map((buyer) => {
      const index = Math.floor(random() * skus.length);
      const quantity = index === skus.length - 1 ? 1 : 1 + Math.floor(random() * 3);
      return [buyer, [{ sku: skus[index] ?? '', quantity }]];
    }),
  );
  await forEach(buyers, 6, (buyer) => placeAndPay(shop, buyer, baskets.get(buyer) ?? []));
}

/** Resolves with the differences that the audit found. */
async function runDay(shop: Shop, count: number, seed: number): Promise<string[]> {
  const random = mulberry32(seed);
  const day = `${Date.now().toString(36)}`.toUpperCase();
  const skus = await createProducts(shop, day, count);
  printScene('Opening', `${skus.length} products, SKUs ${skus[0]} to ${skus.at(-1)}`);
  const before = await shop.readWebhooks();
  await shop.callEmulator('webhooks', { lose: 0.15, duplicate: 0.3, reorder: 0.3, reorderMs: 400, delayMs: 20, seed });
  printScene('Webhooks', 'from now on 15 of 100 are lost, 30 are duplicated, 30 are out of order');

  const buyers = createBuyers(count, random);
  await sellToAll(shop, buyers, skus, random);
  const withOrder = buyers.filter((buyer) => buyer.order !== null);
  const ids = withOrder.flatMap((buyer) => (buyer.order === null ? [] : [buyer.order.id]));
  const readAll = () => Promise.all(ids.map((id) => shop.readOrder(id)));
  printScene(
    'Orders',
    `${count} buyers: ${withOrder.length} ordered, ${count - withOrder.length} found the product sold out. Of these orders:`,
  );
  for (const story of Object.keys(stories) as Story[]) {
    if (countBy(withOrder, story) > 0)
      printScene('', `${String(countBy(withOrder, story)).padStart(3)} ${stories[story]}`);
  }
  await waitUntil(async () => (await countUnfinished(shop, ids)) === 0, 20);
  printScene('Payments', summarizeStatuses(await readAll()));
  await shop.fireCron(6);
  await waitUntil(async () => (await countUnfinished(shop, ids)) === 0, 20);
  printScene('Lost', `after the cron read the lost updates from Stripe: ${summarizeStatuses(await readAll())}`);

  const refunds = { accepted: 0, rejected: 0 };
  await forEach(withOrder, 4, async (buyer) => {
    const { accepted, rejected } = await cancelOrReturn(shop, buyer);
    refunds.accepted += accepted;
    refunds.rejected += rejected;
  });
  const cancelled = countBy(withOrder, 'cancelsPaid');
  printScene(
    'Returns',
    `${cancelled} orders cancelled; ${refunds.accepted} refunds accepted, ${refunds.rejected} rejected as too large`,
  );
  printScene('Parcels', await sendParcels(shop, withOrder));

  const lateBuyers = withOrder.filter((buyer) => buyer.story === 'paysLast');
  const confirmations = Promise.all(
    lateBuyers.map(async ({ payment }) => payment && shop.confirm(payment, 'pm_card_visa')),
  );
  await Promise.all([confirmations, shop.fireCron(16)]);
  printScene(
    'Holds',
    `expired while ${lateBuyers.length} buyers paid at that moment: ${summarizeStatuses(await readAll())}`,
  );

  const after = await shop.readWebhooks();
  const lost = after.lost.length - before.lost.length;
  const duplicated = after.duplicated - before.duplicated;
  printScene(
    'Stripe',
    `webhooks: ${lost} lost, ${duplicated} duplicated, ${after.reordered - before.reordered} out of order`,
  );
  await shop.callEmulator('webhooks', { ...before.faults });
  const finished = await settle(shop, ids);
  printScene('Closing', summarizeStatuses(await readAll()));

  const { lines, differences } = await auditDay(shop, ids, skus);
  for (const [index, line] of lines.entries()) printScene(index === 0 ? 'Audit' : '', line);
  if (!finished) differences.push('Some work was still unfinished after a minute.');
  return differences;
}

/** Prints the differences. Resolves with the exit code. */
function report(differences: string[]): number {
  const shown = 20;
  for (const difference of differences.slice(0, shown)) printScene('DIFFERENCE', difference);
  if (differences.length > shown) printScene('', `and ${differences.length - shown} more`);
  printScene(
    differences.length === 0 ? 'OK' : 'FAILED',
    differences.length === 0 ? 'all money, stock and events agree' : `${differences.length} differences`,
  );
  return differences.length === 0 ? 0 : 1;
}

/** Waits until all work is finished, running the crons of up to 34 minutes ahead. False if some is left. */
async function settle(shop: Shop, orderIds: string[]): Promise<boolean> {
  for (const minutes of [22, 28, 34]) {
    await waitUntil(async () => (await countUnfinished(shop, orderIds)) === 0, 10);
    await shop.fireCron(minutes);
  }
  return waitUntil(async () => (await countUnfinished(shop, orderIds)) === 0, 30);
}

const defaultDatabase = `postgres://fusion_owner:fusion_owner@127.0.0.1:${process.env.POSTGRES_PORT || 54329}/fusion`;

const flags = {
  orders: { type: 'string', default: '60' },
  teams: { type: 'string', default: '12' },
  seed: { type: 'string', default: String(Date.now() % 100_000) },
  url: { type: 'string', default: `http://127.0.0.1:${process.env.PORT || 8787}` },
  'stripe-url': { type: 'string', default: `http://127.0.0.1:${process.env.STRIPE_PORT || 12111}` },
  'database-url': { type: 'string', default: process.env.DATABASE_URL || defaultDatabase },
  key: { type: 'string', default: 'sk_dev_default' },
  'shipping-secret': { type: 'string', default: process.env.SHIPPING_WEBHOOK_SECRET || 'whsec_dev' },
  help: { type: 'boolean' },
} as const;

async function main(): Promise<number> {
  const { values } = parseOptions('npm run demo', { options: flags });
  if (values.help) {
    console.log(help);
    return 0;
  }
  const [orders, teams, seed] = [Number(values.orders), Number(values.teams), Number(values.seed)];
  for (const [flag, count] of Object.entries({ orders, teams })) {
    if (!Number.isInteger(count) || count < 0 || count > 5_000)
      throw new Error(`--${flag} must be a whole number from 0 to 5000`);
  }
  if (!Number.isInteger(seed)) throw new Error('--seed must be a whole number');
  const shop = await connectToShop({
    url: values.url.replace(/\/$/, ''),
    key: values.key,
    stripeUrl: values['stripe-url'].replace(/\/$/, ''),
    databaseUrl: values['database-url'],
    shippingSecret: values['shipping-secret'],
  });
  const { faults } = await shop.readWebhooks();
  const restore = () => shop.callEmulator('webhooks', { ...faults }).catch(() => undefined);
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      process.stdout.write('\nStopped before the end of the day. Webhooks are delivered normally again.\n');
      void restore().finally(() => process.exit(130));
    });
  }
  process.stdout.write(`A day in the shop, seed ${seed}\n\n`);
  try {
    const differences = orders === 0 ? [] : await runDay(shop, orders, seed);
    if (teams > 0) differences.push(...(await runTeams(shop, teams, seed, printScene)));
    return report(differences);
  } finally {
    await restore();
    await shop.close();
  }
}

process.exitCode = await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  return 1;
});
