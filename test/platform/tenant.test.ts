import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, oneLine, type Reply, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';

let store: Store;
let acme: string;
beforeAll(async () => {
  store = await startStore({ variables: { RESERVATION_TTL_SECONDS: '900', CAMPAIGN_GRACE_SECONDS: '900' } });
  acme = await store.database.key({ tenant: 'acme' });
});
afterAll(() => store.close());

const read = (key = store.key) => store.send('GET', '/v1/tenant', undefined, { key });
const change = (fields: unknown, headers: Record<string, string> = {}) =>
  store.send('PATCH', '/v1/tenant', fields, { headers });
const pointersOf = ({ body }: Reply): string[] => body.errors.map(({ pointer }: { pointer: string }) => pointer);

const plain = {
  id: 'default',
  name: 'Default',
  country: null,
  currency: null,
  pricesIncludeTax: false,
  taxProvider: 'table',
  shipFrom: null,
  parcel: null,
  carrier: null,
  delayedPayments: true,
  automaticLabels: true,
  holdSeconds: null,
  cartSeconds: null,
  approvalSeconds: null,
  graceSeconds: null,
  storefrontUrl: null,
  oidc: null,
  links: { terms: null, privacy: null, returns: null },
  stripeAccount: null,
};
const nullable = {
  country: 'DE',
  currency: 'EUR',
  shipFrom: { name: 'Shop', line1: 'Speicherstadt 4', city: 'Hamburg', postalCode: '20457', country: 'DE' },
  parcel: { weightGrams: 700, lengthMm: 200, widthMm: 150, heightMm: 90 },
  holdSeconds: 60,
  cartSeconds: 3_600,
  approvalSeconds: 7_200,
  graceSeconds: 120,
  storefrontUrl: 'http://localhost:3000',
  oidc: { issuer: 'https://login.shop.example', audience: 'shop' },
};

describe('the settings of a tenant', () => {
  afterEach(async () => {
    const { id: _id, stripeAccount: _account, ...settings } = plain;
    expect((await change(settings)).status).toBe(200);
  });

  test('are null at first where the Worker’s variables hold, and are read in one call', async () => {
    const reply = await read();
    expect(reply.body).toEqual(plain);
    expect(reply.headers.get('server-timing')).toMatch(/db;desc="1 calls?"/);
    const headers = { 'if-none-match': reply.headers.get('etag') ?? '' };
    expect((await store.send('GET', '/v1/tenant', undefined, { headers })).status).toBe(304);
  });

  test('keep what was set, field by field, and go back to the default with null', async () => {
    const settings = {
      ...nullable,
      name: 'The shop',
      pricesIncludeTax: true,
      taxProvider: 'stripe',
      delayedPayments: false,
      automaticLabels: false,
    };
    const changed = await change(settings);
    expect(changed.headers.get('server-timing')).toMatch(/db;desc="1 calls?"/);
    expect(changed.body).toEqual({ ...plain, ...settings });
    expect((await read()).body).toEqual({ ...plain, ...settings });
    for (const [name, value] of Object.entries(nullable)) {
      expect((await change({ [name]: null })).body).toEqual({ ...plain, ...settings, [name]: null });
      expect((await change({ [name]: value })).body).toEqual({ ...plain, ...settings });
    }
  });

  test('keep a link that a change leaves out, and remove one that is null', async () => {
    const [terms, privacy] = ['https://shop.example/terms', 'https://shop.example/privacy'];
    expect((await change({ links: { terms, privacy } })).body.links).toEqual({ terms, privacy, returns: null });
    expect((await change({ links: { terms: null } })).body.links).toEqual({ terms: null, privacy, returns: null });
    expect((await change({ name: 'Other' })).body.links.privacy).toBe(privacy);
  });

  test('are changed only if the version is still the one in If-Match', async () => {
    const etag = (await read()).headers.get('etag') ?? '';
    const changed = await change({ name: 'First' }, { 'if-match': etag });
    expect(changed.body.name).toBe('First');
    const late = await change({ name: 'Second' }, { 'if-match': etag });
    expect([late.status, late.body.code]).toEqual([412, 'version_mismatch']);
    const current = { 'if-match': changed.headers.get('etag') ?? '' };
    const both = await Promise.all([change({ name: 'Left' }, current), change({ name: 'Right' }, current)]);
    expect(both.map(({ status }) => status).toSorted()).toEqual([200, 412]);
  });

  test.each([
    ['name', ['', null, 7, 'x'.repeat(256)]],
    ['country', ['de', 'ZZ', 'DEU', 1]],
    ['currency', ['eur', 'XTS', 'EURO']],
    ['pricesIncludeTax', [null, 'yes', 1]],
    ['delayedPayments', [null, 'no', 0]],
    ['automaticLabels', [null, 'no', 0]],
    ['shipFrom', [{ line1: 'x' }, { ...nullable.shipFrom, name: '' }, 'Hamburg', []]],
    ['parcel', [{ ...nullable.parcel, weightGrams: 0 }, { weightGrams: 1 }, { ...nullable.parcel, colour: 1 }]],
    ['holdSeconds', [0, -1, 2_592_001, 1.5, '900']],
    ['cartSeconds', [0, 31_536_001]],
    ['approvalSeconds', [0, 2_592_001]],
    ['graceSeconds', [0, 2_592_001]],
    [
      'links',
      [null, { terms: 'http://shop.example' }, { terms: 'javascript:alert(1)' }, { imprint: null }, { terms: 1 }],
    ],
    [
      'storefrontUrl',
      ['shop.example', 'http://shop.example', 'https://a:b@shop.example', 'https://', 'http://localhost.evil'],
    ],
    [
      'oidc',
      [
        { issuer: 'https://a.example' },
        { issuer: 'https://a.example?x', audience: 'a' },
        { issuer: 'http://a.example', audience: 'a' },
      ],
    ],
    ['stripeAccount', ['acct_1', null]],
    ['id', ['other']],
    ['carrierCredentials', ['x']],
  ])('are rejected if %s is invalid, and stay as they were', async (name, values) => {
    for (const value of values) {
      const reply = await change({ [name]: value, ...(name === 'currency' ? {} : { currency: 'JPY' }) });
      expect([value, reply.status, reply.body.code]).toEqual([value, 422, 'validation_failed']);
      for (const pointer of pointersOf(reply)) expect(pointer).toMatch(new RegExp(`^/${name}(/|$)`));
    }
    expect((await read()).body).toEqual(plain);
    expect((await change({})).status).toBe(422);
  });

  test('are those of the key’s tenant alone', async () => {
    await change({ name: 'Mine', holdSeconds: 77 });
    expect((await read(acme)).body).toEqual({ ...plain, id: 'acme', name: 'Acme' });
    const theirs = await store.send('PATCH', '/v1/tenant', { name: 'Theirs' }, { key: acme });
    expect(theirs.body).toMatchObject({ id: 'acme', name: 'Theirs' });
    expect((await read()).body).toMatchObject({ id: 'default', name: 'Mine', holdSeconds: 77 });
    await store.send('PATCH', '/v1/tenant', { name: 'Acme' }, { key: acme });
  });

  test('need their own scopes, and no publishable key reads them', async () => {
    const publishable = await store.database.key({ kind: 'publishable' });
    expect((await read(publishable)).status).toBe(403);
    const reader = await store.database.key({ scopes: ['tenant:read'] });
    expect((await read(reader)).status).toBe(200);
    expect((await store.send('PATCH', '/v1/tenant', { name: 'x' }, { key: reader })).status).toBe(403);
  });

  test('are in the audit log with the key that changed them, without the credentials of the carrier', async () => {
    await store.database.query(
      `update platform.tenants set carrier_credentials = '{"manual": {"webhookSecret": "sealed-secret"}}'
       where id = 'default'`,
    );
    await change({ name: 'Audited' });
    const rows = await store.database.query<{ row: { actor: string; after: object } }>(
      `select to_jsonb(l) as row from audit.log l where operation = 'tenant update' order by id desc limit 2`,
    );
    expect(rows[0]?.row).toMatchObject({ actor: `key ${store.key.slice(0, 12)}`, after: { name: 'Audited' } });
    expect(JSON.stringify(rows)).not.toMatch(/carrier_credentials|sealed-secret/);
    expect(JSON.stringify((await read()).body)).not.toContain('sealed-secret');
    await store.database.query(`update platform.tenants set carrier_credentials = null where id = 'default'`);
  });
});

describe('a time that the tenant has set', () => {
  const hold = 86_400;
  beforeAll(async () => {
    expect((await change({ holdSeconds: hold, graceSeconds: 2 * hold })).status).toBe(200);
  });
  afterAll(async () => {
    await change({ holdSeconds: null, graceSeconds: null });
  });

  /** How many seconds after this time the row’s deadline is. */
  const secondsBetween = (from: string, to: string) => Math.round((Date.parse(to) - Date.parse(from)) / 1000);
  const reservationOf = async (orderId: string) => (await store.send('GET', `/v1/orders/${orderId}`)).body;

  test('replaces the Worker’s for the hold of an order, placed at once or by the queue, without another call', async () => {
    await addProduct(store, 'HELD', 9);
    const placed = await store.send('POST', '/v1/orders', oneLine('HELD'));
    expect(placed.headers.get('server-timing')).toMatch(/db;desc="1 calls?"/);
    expect(secondsBetween(placed.body.createdAt, placed.body.reservation.expiresAt)).toBe(hold);
    expect((await reservationOf(placed.body.id)).reservation.expiresAt).toBe(placed.body.reservation.expiresAt);
    const headers = { prefer: 'respond-async' };
    const { body } = await store.send('POST', '/v1/orders', oneLine('HELD'), { headers });
    await until(async () => (await reservationOf(body.id)).reservation?.status === 'held');
    const queued = (await reservationOf(body.id)).reservation;
    expect(secondsBetween(body.createdAt, queued.expiresAt)).toBeGreaterThanOrEqual(hold);
  });

  test('does not change the holds of another tenant', async () => {
    await addProduct(store, 'HELD-1', 9);
    const product = { sku: 'THEIRS', name: 'n', price: 10, currency: 'USD', inventory: 5 };
    await store.send('POST', '/v1/products', product, { key: acme });
    const { body } = await store.send('POST', '/v1/orders', oneLine('THEIRS'), { key: acme });
    expect(secondsBetween(body.createdAt, body.reservation.expiresAt)).toBe(900);
  });

  test('replaces the Worker’s for a place in a successful campaign, and for the places that it settles', async () => {
    const fixture = campaignFixture(store);
    const campaign = await fixture.start('GRACED', 9, { minParticipants: 1 });
    const early = await fixture.join(campaign.id, 'ada');
    await until(async () => (await fixture.read(campaign.id)).status === 'successful');
    await until(async () => (await fixture.participants(campaign.id)).every(({ state }) => state === 'ordered'));
    const late = await fixture.join(campaign.id, 'ben');
    expect(late.headers.get('server-timing')).toMatch(/db;desc="1 calls?"/);
    expect(secondsBetween(late.body.joinedAt, late.body.secureBy)).toBe(2 * hold);
    const rows = await store.database.query<{ until: Date }>(
      'select expires_at as until from inventory.reservations where order_id = any($1)',
      [[early.body.orderId, late.body.orderId]],
    );
    for (const { until: end } of rows) {
      expect(secondsBetween(early.body.joinedAt, end.toISOString())).toBeGreaterThanOrEqual(2 * hold);
    }
    expect(rows).toHaveLength(2);
  });

  test('replaces the Worker’s for another try after a delayed payment has failed', async () => {
    const shop = paymentFixture(store);
    await addProduct(store, 'RETRIED', 9);
    const { order, intent } = await shop.checkout('RETRIED');
    await store.database.query(`update payments.payments set stripe_status = 'processing' where order_id = $1`, [
      order.id,
    ]);
    await store.database.query(`update inventory.reservations set expires_at = 'infinity' where order_id = $1`, [
      order.id,
    ]);
    await shop.pay(intent, 'pm_card_chargeDeclined');
    const endOf = async () =>
      (
        await store.database.query<{ seconds: number | null }>(
          `select case when expires_at < 'infinity' then extract(epoch from expires_at - now())::int end as seconds
           from inventory.reservations where order_id = $1`,
          [order.id],
        )
      )[0]?.seconds ?? null;
    await until(async () => (await endOf()) !== null);
    expect(await endOf()).toBeGreaterThan(hold - 600);
  });
});

describe('a storefront', () => {
  const isHit = (reply: Reply) => reply.headers.get('cache-status') === 'fusioncommerce; hit';
  let publishable: string;
  beforeAll(async () => {
    publishable = await store.database.key({ kind: 'publishable' });
  });
  const show = (key = publishable, headers: Record<string, string> = {}) =>
    store.send('GET', '/v1/storefront', undefined, { key, headers });
  async function warm(key = publishable): Promise<Reply> {
    let reply = await show(key);
    await until(async () => {
      reply = await show(key);
      return isHit(reply);
    });
    return reply;
  }

  test('shows what a shop’s pages need, and nothing else of the tenant', async () => {
    await change({ country: 'DE', links: { terms: 'https://shop.example/terms' }, holdSeconds: 5 });
    const { body, headers } = await show();
    expect(body).toEqual({
      ...{ name: 'Default', country: 'DE', currency: null, pricesIncludeTax: false },
      links: { terms: 'https://shop.example/terms', privacy: null, returns: null },
      stripe: { publishableKey: 'pk_test_dev', account: null },
    });
    expect(headers.get('etag')).toBeTruthy();
  });

  test('comes from the edge cache without a database call, and is fresh at once where the tenant was changed', async () => {
    const cached = await warm();
    expect(cached.headers.get('server-timing')).toBeNull();
    expect((await show(publishable, { 'if-none-match': cached.headers.get('etag') ?? '' })).status).toBe(304);
    for (const name of ['One', 'Two', 'Three']) {
      await change({ name });
      expect((await show()).body.name).toBe(name);
      expect((await warm()).body.name).toBe(name);
    }
    await change({ name: 'Default' });
  });

  test('is that of the key’s tenant', async () => {
    const theirs = await store.database.key({ kind: 'publishable', tenant: 'acme' });
    await warm();
    expect((await warm(theirs)).body).toMatchObject({ name: 'Acme', country: null });
    expect((await show()).body.name).toBe('Default');
  });

  test('is read by pages of other origins', async () => {
    const { headers } = await show(publishable, { origin: 'https://shop.example' });
    expect(headers.get('access-control-allow-origin')).toBe('https://shop.example');
  });
});
