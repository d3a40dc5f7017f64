// A minimal Vendure server: no search, no separate job queue, no assets, no emails. It runs in Vendure's folder,
// PEER_DIR. With POPULATE=1 it creates the tables and the products, and exits.
const { randomUUID } = require('node:crypto');
const { createRequire } = require('node:module');
const { writeFileSync } = require('node:fs');
const { join } = require('node:path');

const dir = process.env.PEER_DIR;
const populating = process.env.POPULATE === '1';
const requirePeer = createRequire(join(dir, 'package.json'));
const { bootstrap, DefaultLogger, dummyPaymentHandler, LanguageCode, LogLevel } = requirePeer('@vendure/core');

const config = {
  apiOptions: {
    port: Number(process.env.PORT),
    hostname: '127.0.0.1',
    adminApiPath: 'admin-api',
    shopApiPath: 'shop-api',
  },
  authOptions: {
    tokenMethod: ['bearer', 'cookie'],
    // The benchmark never logs in.
    superadminCredentials: { identifier: 'superadmin', password: randomUUID() },
    cookieOptions: { secret: 'bench' },
  },
  dbConnectionOptions: { type: 'postgres', url: process.env.DATABASE_URL, synchronize: populating, logging: false },
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
  logger: new DefaultLogger({ level: LogLevel.Error }),
  plugins: [],
};

const initialData = {
  defaultLanguage: LanguageCode.en,
  defaultZone: 'Americas',
  countries: [{ name: 'United States', code: 'US', zone: 'Americas' }],
  taxRates: [{ name: 'Standard Tax', percentage: 20 }],
  shippingMethods: [{ name: 'Flat', price: 500 }],
  paymentMethods: [
    {
      name: 'Dummy',
      handler: { code: 'dummy-payment-handler', arguments: [{ name: 'automaticSettle', value: 'true' }] },
    },
  ],
  collections: [],
};

function writeProducts(count) {
  const header =
    'name,slug,description,assets,facets,optionGroups,optionValues,sku,price,taxCategory,stockOnHand,trackInventory,variantAssets,variantFacets';
  const rows = Array.from({ length: count }, (_, index) => {
    const number = index + 1;
    const description = `Description of product ${number}. ${'lorem ipsum '.repeat(30)}`;
    const price = (10 + (number % 90)).toFixed(2);
    return `Product ${number},product-${number},${description},,,,,SKU-${number},${price},standard,100000000,true,,`;
  });
  const file = join(dir, 'products.csv');
  writeFileSync(file, `${[header, ...rows].join('\n')}\n`);
  return file;
}

async function main() {
  if (!populating) {
    await bootstrap(config);
    return;
  }
  const { populate } = requirePeer('@vendure/core/cli');
  const app = await populate(() => bootstrap(config), initialData, writeProducts(Number(process.env.PRODUCTS)));
  await app.close();
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
