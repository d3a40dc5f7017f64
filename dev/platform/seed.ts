import type { Kind } from '../../src/base/api-keys.ts';
import { asTenant, createKey, createTenant } from '../keys/api-keys.ts';
import { connectTo, withClient } from '../postgres/connection.ts';

/** The tenants and keys of the local platform, as the documentation names them. No other platform has them. */
const tenants = [
  { id: 'default', name: 'Default' },
  { id: 'acme', name: 'Acme' },
];

/** The connected account of the tenant acme at the Stripe emulator. Payments of `default` use the platform's own. */
export const acmeStripeAccount = 'acct_dev_acme';

/** The development keys of a tenant: `sk_dev_default`, or `sk_dev_c2_default` in the cell `c2`. */
export const devKeysOf = (tenant: string, cell?: string): Record<Kind, string> => {
  const rest = cell === undefined ? tenant : `${cell}_${tenant}`;
  return { secret: `sk_dev_${rest}`, publishable: `pk_dev_${rest}` };
};

const products = [
  { sku: 'MUG-01', name: 'Stoneware mug', description: 'Holds 0.3 l and forgives the dishwasher.', price: 14.5 },
  {
    sku: 'TEA-EARL',
    name: 'Earl Grey, 100 g',
    description: 'Black tea with bergamot.',
    price: 8.9,
    taxCategory: 'food',
  },
  {
    sku: 'TEA-MINT',
    name: 'Peppermint, 50 g',
    description: 'Whole leaves, no caffeine.',
    price: 6.2,
    taxCategory: 'food',
  },
  { sku: 'POT-02', name: 'Glass teapot', description: '1.2 l, with a steel strainer.', price: 39 },
  { sku: 'CANDLE-5', name: 'Beeswax candles, box of 5', description: null, price: 19.95 },
];

/** The tax rates, shipping options and discount code of the tenant `default`, by the path of their collection. */
const terms = {
  'tax-rates': [
    { name: 'VAT', country: 'DE', rate: 19 },
    { name: 'VAT, reduced', country: 'DE', category: 'food', rate: 7 },
    { name: 'VAT', country: 'AT', rate: 20 },
    { name: 'VAT, reduced', country: 'AT', category: 'food', rate: 10 },
  ],
  'shipping-options': [
    { name: 'Standard', countries: ['DE', 'AT'], currency: 'EUR', price: 4.9, freeFrom: 60, minDays: 2, maxDays: 4 },
    { name: 'Express', countries: ['DE'], currency: 'EUR', price: 9.9, minDays: 1, maxDays: 2 },
  ],
  discounts: [{ code: 'WELCOME10', name: 'Welcome', type: 'percentage', value: 10 }],
};

/** The SKU of one of the seeded products. */
export const seededSku = 'MUG-01';

/** Creates both tenants and their keys in a migrated database, of a cell if it is named. Safe to repeat. */
export async function seedTenants(url: string, cell?: string): Promise<void> {
  const client = await connectTo(url);
  try {
    for (const { id, name } of tenants) {
      await createTenant(client, id, name);
      for (const kind of ['secret', 'publishable'] as const satisfies Kind[]) {
        await createKey(client, { tenant: id, kind, key: devKeysOf(id, cell)[kind], name: 'local development' });
      }
    }
  } finally {
    await client.end();
  }
}

/**
 * Connects acme to its account at the Stripe emulator, unless it has another account. Ends that with a Stripe that is
 * not emulated, because it does not know the account. Safe to repeat.
 */
export async function connectAcme(url: string, emulated: boolean): Promise<void> {
  await withClient(url, (client) =>
    asTenant(client, 'acme', () =>
      client.query(
        `update platform.tenants set stripe_account = $1
         where id = 'acme' and coalesce(stripe_account, $2) = $2 and stripe_account is distinct from $1`,
        [emulated ? acmeStripeAccount : null, acmeStripeAccount],
      ),
    ),
  );
}

/** For which application the local OpenID provider makes its ID tokens. */
export const oidcAudience = 'nordlicht';

/** Makes the local OpenID provider that of `default`, unless the tenant has another one. Safe to repeat. */
export async function connectOidc(url: string, issuer: string): Promise<void> {
  await withClient(url, (client) =>
    asTenant(client, 'default', () =>
      client.query(
        `update platform.tenants set oidc = $1
         where id = 'default' and coalesce(oidc->>'issuer', '') ~ '^(http://127\\.0\\.0\\.1:[0-9]+)?$'
           and oidc is distinct from $1`,
        [{ issuer, audience: oidcAudience }],
      ),
    ),
  );
}

/**
 * Sample settings of both tenants, which differ so that nobody takes one tenant's for the other's. The columns of
 * `platform.tenants`. `default` keeps the Worker's times, which `npm start` can change by variables.
 */
const settings: Record<string, Record<string, unknown>> = {
  default: {
    name: 'Nordlicht Tea',
    country: 'DE',
    currency: 'EUR',
    prices_include_tax: true,
    ship_from: {
      ...{ name: 'Nordlicht Tea', line1: 'Am Sandtorkai 30', city: 'Hamburg', postalCode: '20457', country: 'DE' },
      ...{ phone: '+49 40 5550123', email: 'shop@nordlicht.example' },
    },
    parcel: { weightGrams: 600, lengthMm: 250, widthMm: 180, heightMm: 100 },
    links: {
      terms: 'https://nordlicht.example/terms',
      privacy: 'https://nordlicht.example/privacy',
      returns: 'https://nordlicht.example/returns',
    },
    storefront_url: 'https://nordlicht.example',
  },
  acme: {
    name: 'Acme Outfitters',
    country: 'US',
    currency: 'USD',
    ship_from: {
      ...{ name: 'Acme Outfitters', line1: '500 Howard Street', city: 'San Francisco', state: 'CA' },
      ...{ postalCode: '94105', country: 'US', phone: '+1 415 555 0123', email: 'shop@acme.example' },
    },
    parcel: { weightGrams: 1_500, lengthMm: 400, widthMm: 300, heightMm: 150 },
    hold_seconds: 1_800,
    links: { terms: 'https://acme.example/terms', privacy: 'https://acme.example/privacy' },
    storefront_url: 'https://acme.example',
  },
};

/** Gives both tenants their sample settings, if nothing has changed their settings yet. Safe to repeat. */
export async function seedSettings(url: string): Promise<void> {
  const client = await connectTo(url);
  try {
    for (const [id, columns] of Object.entries(settings)) {
      const names = Object.keys(columns).join(', ');
      const statement = `update platform.tenants t
        set (${names}, version, updated_at) = (select ${names}, t.version + 1, now()
          from jsonb_populate_record(t, $2)) where t.id = $1 and t.version = 1`;
      await asTenant(client, id, () => client.query(statement, [id, JSON.stringify(columns)]));
    }
  } finally {
    await client.end();
  }
}

/** Sends a request of the tenant `default` to the API. */
const send = (api: string, cell: string | undefined, method: string, path: string, body?: object, key?: string) =>
  fetch(`${api}/v1/${path}`, {
    method,
    headers: {
      authorization: `Bearer ${devKeysOf('default', cell).secret}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });

/** Creates sample products of the tenant `default` through the API, in a cell if it is named. Safe to repeat. */
export async function seedProducts(api: string, cell?: string): Promise<void> {
  for (const product of products) {
    const body = { ...product, currency: 'EUR', inventory: 250 };
    // The key is not the one of earlier releases, whose products had other fields.
    const response = await send(api, cell, 'POST', 'products', body, `seed-product-${product.sku}`);
    const text = await response.text();
    // An earlier start has made it, and the API replays the response of an idempotency key for a day only.
    const exists = response.status === 409 && text.includes('sku_taken');
    if (!response.ok && !exists) throw new Error(`POST /v1/products returned ${response.status}: ${text}`);
  }
}

/**
 * Creates sample tax rates, shipping options and a discount code of the tenant `default` through the API, each kind
 * only if the tenant has none. In a cell if it is named. Safe to repeat.
 */
export async function seedTerms(api: string, cell?: string): Promise<void> {
  for (const [path, rows] of Object.entries(terms)) {
    const list = await send(api, cell, 'GET', `${path}?limit=1`);
    if (!list.ok) throw new Error(`GET /v1/${path} returned ${list.status}: ${await list.text()}`);
    const { data } = (await list.json()) as { data: unknown[] };
    for (const row of data.length > 0 ? [] : rows) {
      const response = await send(api, cell, 'POST', path, row);
      if (!response.ok) throw new Error(`POST /v1/${path} returned ${response.status}: ${await response.text()}`);
      await response.body?.cancel();
    }
  }
}
