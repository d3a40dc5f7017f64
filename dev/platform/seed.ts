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
  { sku: 'TEA-EARL', name: 'Earl Grey, 100 g', description: 'Black tea with bergamot.', price: 8.9 },
  { sku: 'TEA-MINT', name: 'Peppermint, 50 g', description: 'Whole leaves, no caffeine.', price: 6.2 },
  { sku: 'POT-02', name: 'Glass teapot', description: '1.2 l, with a steel strainer.', price: 39 },
  { sku: 'CANDLE-5', name: 'Beeswax candles, box of 5', description: null, price: 19.95 },
];

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

/** Creates sample products of the tenant `default` through the API, in a cell if it is named. Safe to repeat. */
export async function seedProducts(api: string, cell?: string): Promise<void> {
  for (const product of products) {
    const response = await fetch(`${api}/v1/products`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${devKeysOf('default', cell).secret}`,
        'content-type': 'application/json',
        'idempotency-key': `seed-${product.sku}`,
      },
      body: JSON.stringify({ ...product, currency: 'EUR', inventory: 250 }),
    });
    const text = await response.text();
    // After a day the API no longer replays the response of the idempotency key, but rejects the SKU as taken.
    const exists = response.status === 409 && text.includes('sku_taken');
    if (!response.ok && !exists) throw new Error(`POST /v1/products returned ${response.status}: ${text}`);
  }
}
