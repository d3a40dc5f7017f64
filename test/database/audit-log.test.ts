import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey, createTenant, revokeKey, setKeyOrigins } from '../../dev/keys/api-keys.ts';
import { formatAuditLog, readAuditLog } from '../../dev/keys/audit-log.ts';
import { workerRoutes as routes } from '../../dev/openapi/routes.ts';
import { connectTo } from '../../dev/postgres/connection.ts';
import { topics } from '../../src/events/topics.ts';
import { addProduct, oneLine, type Reply, type Store, startStore, until } from '../support/harness.ts';
import { deliver, emit, eventOf } from '../support/outbox.ts';
import { paymentFixture } from '../support/payments.ts';

type Row = {
  id: string;
  actor: string;
  operation: string;
  subject: string;
  before: Record<string, unknown> | null;
  after: Record<string, unknown>;
};

let store: Store;
let owner: pg.Client;
beforeAll(async () => {
  store = await startStore();
  const url = new URL(store.database.url);
  url.username = 'fusion_owner';
  url.password = 'owner';
  owner = await connectTo(url.href);
});
afterAll(async () => {
  await owner.end();
  await store.close();
});

const newestId = async () => (await store.database.query<{ id: string }>('select max(id) as id from audit.log'))[0]?.id;
const rowsSince = (id: string | undefined) =>
  store.database.query<Row>(
    'select id, actor, operation, subject, before, after from audit.log where id > $1 order by id',
    [id ?? 0],
  );
/** A digest of the rows of each table. */
async function digestTables() {
  const tables = await store.database.query<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables
     where schemaname not in ('pg_catalog', 'information_schema') order by 1`,
  );
  const digests = tables.map(
    ({ name }) => `select '${name}' as name, md5(string_agg(t::text, ',' order by t::text)) as rows from ${name} t`,
  );
  return store.database.query<{ name: string; rows: string | null }>(digests.join(' union all '));
}
const actorOf = (key: string) => `key ${key.slice(0, 12)}`;
const newCampaign = (productId: string) => ({
  productId,
  minParticipants: 2,
  maxParticipants: 5,
  price: 9,
  startTime: new Date(Date.now() - 60_000).toISOString(),
  endTime: new Date(Date.now() + 3_600_000).toISOString(),
});

type Change = { rows: string[]; prepare: () => Promise<(idempotencyKey: string) => Promise<Reply>> };
const send =
  (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
  (idempotencyKey: string) =>
    store.send(method, path, body, { idempotencyKey, headers });
const newProduct = (fields = {}) => ({
  sku: randomUUID(),
  name: 'New',
  price: 5,
  currency: 'EUR',
  inventory: 3,
  ...fields,
});

const newGroup = () => ({ name: 'New', options: ['Size'] });
const createGroup = async () => (await send('POST', '/v1/product-groups', newGroup())(randomUUID())).body;
const createCollection = async () => (await send('POST', '/v1/collections', { name: 'New' })(randomUUID())).body;
const pathOfMember = async () =>
  `/v1/collections/${(await createCollection()).id}/products/${(await addProduct(store, randomUUID(), 1)).id}`;

const newPriceList = () => ({ name: 'New', currency: 'USD', audience: 'all' });
const createPriceList = async () => (await send('POST', '/v1/price-lists', newPriceList())(randomUUID())).body;
const newDiscount = () => ({ name: 'New', code: randomUUID(), type: 'percentage', value: 5 });
const createDiscount = async () => (await send('POST', '/v1/discounts', newDiscount())(randomUUID())).body;
const newOption = () => ({ name: 'New', countries: ['US'], currency: 'USD', price: 5 });
const createOption = async () => (await send('POST', '/v1/shipping-options', newOption())(randomUUID())).body;
let rateCount = 0;
const newTaxRate = () => ({ name: 'VAT', country: 'FR', category: `c-${++rateCount}`, rate: 20 });
const createTaxRate = async () => (await send('POST', '/v1/tax-rates', newTaxRate())(randomUUID())).body;
const newCustomer = () => ({ email: `${randomUUID()}@example.com`, name: 'Ada Lovelace' });
const createCustomer = async () => (await send('POST', '/v1/customers', newCustomer())(randomUUID())).body;

/** Sends an image of one pixel to a product. */
const sendImage =
  ({ id }: { id: string }) =>
  async (idempotencyKey: string): Promise<Reply> => {
    const response = await fetch(`${store.url}/v1/products/${id}/images`, {
      method: 'POST',
      headers: { authorization: `Bearer ${store.key}`, 'content-type': 'image/png', 'idempotency-key': idempotencyKey },
      body: Buffer.from(onePixel, 'base64'),
    });
    return { status: response.status, headers: response.headers, body: await response.json() };
  };
const onePixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const addImage = async () => {
  const product = await addProduct(store, randomUUID(), 1);
  return { id: product.id, image: (await sendImage(product)(randomUUID())).body.id };
};

/** The operations of administrators: the audit rows that each leaves, and how to perform it once. */
const recordedInAuditLog: Record<string, Change> = {
  createProduct: {
    rows: ['product insert', 'stock insert'],
    prepare: async () => send('POST', '/v1/products', newProduct()),
  },
  updateProduct: {
    rows: ['product update'],
    prepare: async () => send('PATCH', `/v1/products/${(await addProduct(store, randomUUID(), 1)).id}`, { price: 7 }),
  },
  archiveProduct: {
    rows: ['product update'],
    prepare: async () => send('DELETE', `/v1/products/${(await addProduct(store, randomUUID(), 1)).id}`),
  },
  importProducts: {
    rows: ['product insert', 'stock insert'],
    prepare: async () =>
      send('POST', '/v1/products/import', JSON.stringify(newProduct()), { 'content-type': 'application/x-ndjson' }),
  },
  createProductGroup: {
    rows: ['product_group insert'],
    prepare: async () => send('POST', '/v1/product-groups', newGroup()),
  },
  updateProductGroup: {
    rows: ['product_group update'],
    prepare: async () => send('PATCH', `/v1/product-groups/${(await createGroup()).id}`, { name: 'Other' }),
  },
  deleteProductGroup: {
    rows: ['product_group delete'],
    prepare: async () => send('DELETE', `/v1/product-groups/${(await createGroup()).id}`),
  },
  createCollection: {
    rows: ['collection insert'],
    prepare: async () => send('POST', '/v1/collections', { name: 'New' }),
  },
  updateCollection: {
    rows: ['collection update'],
    prepare: async () => send('PATCH', `/v1/collections/${(await createCollection()).id}`, { name: 'Other' }),
  },
  deleteCollection: {
    rows: ['collection delete'],
    prepare: async () => send('DELETE', `/v1/collections/${(await createCollection()).id}`),
  },
  addCollectionProduct: {
    rows: ['product update'],
    prepare: async () => send('PUT', await pathOfMember()),
  },
  removeCollectionProduct: {
    rows: ['product update'],
    async prepare() {
      const path = await pathOfMember();
      await send('PUT', path)('');
      return send('DELETE', path);
    },
  },
  createPriceList: {
    rows: ['price_list insert'],
    prepare: async () => send('POST', '/v1/price-lists', newPriceList()),
  },
  updatePriceList: {
    rows: ['price_list update'],
    prepare: async () => send('PATCH', `/v1/price-lists/${(await createPriceList()).id}`, { name: 'Other' }),
  },
  setPrices: {
    rows: ['price_list update'],
    async prepare() {
      const { sku } = await addProduct(store, randomUUID(), 1);
      const prices = [{ sku, minQuantity: 1, price: 4 }];
      return send('PUT', `/v1/price-lists/${(await createPriceList()).id}/prices`, { prices });
    },
  },
  deletePriceList: {
    rows: ['price_list delete'],
    prepare: async () => send('DELETE', `/v1/price-lists/${(await createPriceList()).id}`),
  },
  createDiscount: {
    rows: ['discount insert'],
    prepare: async () => send('POST', '/v1/discounts', newDiscount()),
  },
  updateDiscount: {
    rows: ['discount update'],
    prepare: async () => send('PATCH', `/v1/discounts/${(await createDiscount()).id}`, { usageLimit: 5 }),
  },
  deleteDiscount: {
    rows: ['discount update'],
    prepare: async () => send('DELETE', `/v1/discounts/${(await createDiscount()).id}`),
  },
  createShippingOption: {
    rows: ['shipping_option insert'],
    prepare: async () => send('POST', '/v1/shipping-options', newOption()),
  },
  updateShippingOption: {
    rows: ['shipping_option update'],
    prepare: async () => send('PATCH', `/v1/shipping-options/${(await createOption()).id}`, { price: 6 }),
  },
  deleteShippingOption: {
    rows: ['shipping_option delete'],
    prepare: async () => send('DELETE', `/v1/shipping-options/${(await createOption()).id}`),
  },
  createTaxRate: {
    rows: ['tax_rate insert'],
    prepare: async () => send('POST', '/v1/tax-rates', newTaxRate()),
  },
  updateTaxRate: {
    rows: ['tax_rate update'],
    prepare: async () => send('PATCH', `/v1/tax-rates/${(await createTaxRate()).id}`, { rate: 5.5 }),
  },
  deleteTaxRate: {
    rows: ['tax_rate delete'],
    prepare: async () => send('DELETE', `/v1/tax-rates/${(await createTaxRate()).id}`),
  },
  createCustomerSession: {
    rows: ['customer_session insert'],
    async prepare() {
      const { body } = await store.send('POST', '/v1/customers', { email: `${randomUUID()}@example.com` });
      return send('POST', '/v1/customer-sessions', { customerId: body.id });
    },
  },
  createCustomer: {
    rows: ['customer insert'],
    prepare: async () => send('POST', '/v1/customers', newCustomer()),
  },
  updateCustomer: {
    rows: ['customer update'],
    prepare: async () => send('PATCH', `/v1/customers/${(await createCustomer()).id}`, { group: 'trade' }),
  },
  eraseCustomer: {
    rows: ['customer delete'],
    prepare: async () => send('DELETE', `/v1/customers/${(await createCustomer()).id}`),
  },
  addProductImage: {
    rows: ['product update'],
    prepare: async () => sendImage(await addProduct(store, randomUUID(), 1)),
  },
  arrangeProductImages: {
    rows: ['product update'],
    async prepare() {
      const { id, image } = await addImage();
      return send('PUT', `/v1/products/${id}/images`, { images: [{ id: image, alt: 'A cup' }] });
    },
  },
  deleteProductImage: {
    rows: ['product update'],
    async prepare() {
      const { id, image } = await addImage();
      return send('DELETE', `/v1/products/${id}/images/${image}`);
    },
  },
  setInventory: {
    rows: ['stock insert'],
    prepare: async () =>
      send('PUT', `/v1/inventory/${(await addProduct(store, randomUUID(), 1)).sku}`, { quantity: 9 }),
  },
  adjustInventory: {
    rows: ['stock insert'],
    prepare: async () =>
      send('POST', `/v1/inventory/${(await addProduct(store, randomUUID(), 1)).sku}/adjustments`, {
        delta: 4,
        reason: 'found',
      }),
  },
  createCampaign: {
    rows: ['campaign insert'],
    prepare: async () => send('POST', '/v1/campaigns', newCampaign((await addProduct(store, randomUUID(), 9)).id)),
  },
  cancelCampaign: {
    rows: ['campaign update'],
    async prepare() {
      const { body } = await send(
        'POST',
        '/v1/campaigns',
        newCampaign((await addProduct(store, randomUUID(), 9)).id),
      )('');
      return send('POST', `/v1/campaigns/${body.id}/cancel`);
    },
  },
  cancelTeam: {
    rows: ['team update'],
    async prepare() {
      const { body: campaign } = await send('POST', '/v1/campaigns', {
        ...newCampaign((await addProduct(store, randomUUID(), 9)).id),
        ...{ mode: 'teams', teamSize: 2, teamSeconds: 60, minParticipants: undefined, maxParticipants: undefined },
      })('');
      const opened = await send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId: 'u' })(randomUUID());
      return send('POST', `/v1/teams/${opened.body.team.id}/cancel`);
    },
  },
  createRefund: {
    rows: ['refund insert'],
    async prepare() {
      const payments = paymentFixture(store);
      const { payment, intent } = await payments.checkout((await addProduct(store, randomUUID(), 9)).sku);
      await payments.pay(intent);
      await until(async () => (await payments.paymentOf(payment.id)).status === 'succeeded');
      return send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 1, reason: 'kind' });
    },
  },
  refundOrder: {
    rows: ['refund insert'],
    async prepare() {
      const payments = paymentFixture(store);
      const { order, payment, intent } = await payments.checkout((await addProduct(store, randomUUID(), 9)).sku);
      await payments.pay(intent);
      await until(async () => (await payments.paymentOf(payment.id)).status === 'succeeded');
      return send('POST', `/v1/orders/${order.id}/refunds`, { items: [{ lineId: '1', quantity: 1 }] });
    },
  },
  openStripeAccount: {
    rows: ['tenant update'],
    prepare: async () => send('POST', '/v1/tenant/stripe-account', {}),
  },
  updateTenant: {
    rows: ['tenant update'],
    prepare: async () => send('PATCH', '/v1/tenant', { name: randomUUID() }),
  },
  createKey: {
    rows: ['key insert'],
    prepare: async () => send('POST', '/v1/keys', { kind: 'secret', scopes: ['orders:read'] }),
  },
  revokeKey: {
    rows: ['key update'],
    async prepare() {
      const { body } = await send('POST', '/v1/keys', { kind: 'secret', scopes: ['orders:read'] })(randomUUID());
      return send('DELETE', `/v1/keys/${body.id}`);
    },
  },
  replayDeadLetter: {
    rows: ['dead_letter update'],
    async prepare() {
      const key = randomUUID();
      await emit(store.database, key);
      await store.cron(); // delivers the event, which no request has caused
      const body = await eventOf(store.database, key, 'order.confirmed');
      await deliver(store, 'fusioncommerce-orders-dlq', [{ id: 'm', body }]);
      const { body: page } = await store.send('GET', '/v1/dead-letters?limit=1');
      return send('POST', `/v1/dead-letters/${page.data[0].id}/replay`, {});
    },
  },
};

/** What a shopper does with a cart before ordering it is only in the cart, which is deleted 30 days after its end. */
const recordedInCarts = ['createCart', 'updateCart', 'setCartItem', 'removeCartItem', 'cancelCart'];

/**
 * The operations of buyers, Stripe, carriers and brokers. Their history is in the events, so they have no audit
 * trigger.
 */
const recordedAsEvents: Record<string, keyof typeof topics> = {
  placeOrder: 'order.created',
  cancelOrder: 'order.cancelled',
  checkoutCart: 'order.created',
  reopenCart: 'order.cancelled',
  requestReturn: 'return.requested',
  receiveReturn: 'return.received',
  cancelReturn: 'return.cancelled',
  joinCampaign: 'group-commerce.campaign.joined',
  leaveCampaign: 'group-commerce.campaign.left',
  openTeam: 'group-commerce.team.created',
  joinTeam: 'group-commerce.team.joined',
  joinTeamByCode: 'group-commerce.team.joined',
  leaveTeam: 'group-commerce.team.left',
  createPayment: 'payment.created',
  createShipment: 'shipping.label.requested',
  receiveStripeEvent: 'payment.succeeded',
  receiveTracking: 'shipping.status.changed',
  receiveTrackingAt: 'shipping.status.changed',
  receiveKafka: 'order.created',
};

/** The POST operations that store only their idempotency key, because their response is computed and signed. */
const storesNothing: Record<string, () => Promise<(idempotencyKey: string) => Promise<Reply>>> = {
  async createLiveToken() {
    const { body } = await send(
      'POST',
      '/v1/campaigns',
      newCampaign((await addProduct(store, randomUUID(), 9)).id),
    )('');
    return send('POST', `/v1/campaigns/${body.id}/live-token`);
  },
  async createTeamLiveToken() {
    const { id } = await addProduct(store, randomUUID(), 9);
    const { startTime, endTime } = newCampaign(id);
    const terms = { productId: id, mode: 'teams', teamSize: 2, teamSeconds: 60, price: 5, startTime, endTime };
    const { body: campaign } = await send('POST', '/v1/campaigns', terms)('');
    const { body } = await send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId: 'u' })(randomUUID());
    return send('POST', `/v1/teams/${body.team.id}/live-token`);
  },
};

test('every operation that changes data is recorded either in the audit log or as an event', () => {
  const writeIds = routes.filter((route) => route.method !== 'get').map((route) => route.id);
  const listed = new Set([
    ...Object.keys(recordedInAuditLog),
    ...Object.keys(recordedAsEvents),
    ...Object.keys(storesNothing),
    ...recordedInCarts,
  ]);
  expect(writeIds.filter((id) => !listed.has(id))).toEqual([]);
  for (const topic of Object.values(recordedAsEvents)) expect(topics).toHaveProperty([topic]);
});

describe('an administrator’s change', () => {
  test.each(Object.entries(recordedInAuditLog))(
    '%s is recorded once, with its actor, operation, and the values before and after',
    async (id, { rows, prepare }) => {
      const change = await prepare();
      await store.settled();
      const before = await newestId();
      const key = randomUUID();
      expect((await change(key)).status).toBeLessThan(300);
      const rowsAdded = await rowsSince(before);
      expect(rowsAdded.map((row) => row.operation)).toEqual(rows);
      for (const row of rowsAdded) {
        expect([id, row.actor]).toEqual([id, actorOf(store.key)]);
        expect(row.subject).toBeTruthy();
        expect(row.operation.endsWith('delete') ? row.before : row.after).not.toBeNull();
        if (row.operation.endsWith('update')) expect(row.before).not.toEqual(row.after);
        if (row.operation === 'stock insert') expect(row.before).toEqual({ quantity: expect.any(Number) });
      }
      // Repeating the request, with the same Idempotency-Key or the same content, changes nothing and records nothing.
      if (['POST', 'PUT'].includes(routes.find((route) => route.id === id)?.method.toUpperCase() ?? '')) {
        await change(key);
        const again = (await rowsSince(before)).filter((row) => row.operation !== 'product update');
        expect(again.map((row) => row.operation)).toEqual(rows.filter((row) => row !== 'product update'));
      }
    },
  );

  test('that is rejected is not recorded', async () => {
    const { sku } = await addProduct(store, randomUUID(), 1);
    const before = await newestId();
    expect((await store.send('POST', '/v1/products', newProduct({ sku }))).status).toBe(409);
    expect((await store.send('POST', `/v1/inventory/${sku}/adjustments`, { delta: -9, reason: 'r' })).status).toBe(409);
    expect(await rowsSince(before)).toEqual([]);
  });

  test('of stock is recorded with the count before and after it, even while orders change the stock', async () => {
    const { sku } = await addProduct(store, randomUUID(), 10);
    await store.send('POST', '/v1/orders', oneLine(sku, 4));
    const before = await newestId();
    await store.send('PUT', `/v1/inventory/${sku}`, { quantity: 20 });
    const [row] = await rowsSince(before);
    expect([row?.before, row?.after.quantity, row?.after.delta, row?.after.reason]).toEqual([
      { quantity: 6 },
      20,
      14,
      'count',
    ]);
  });
});

test.each(Object.entries(storesNothing))('%s changes no row of any table', async (_id, prepare) => {
  const sendRequest = await prepare();
  await store.settled();
  const before = await digestTables();
  expect(before.length).toBeGreaterThan(20);
  expect((await sendRequest('')).status).toBeLessThan(300);
  await store.settled();
  expect(await digestTables()).toEqual(before);
});

test('orders and their status changes leave no row in the audit log', async () => {
  const { sku } = await addProduct(store, randomUUID(), 10);
  const before = await newestId();
  const { body: order } = await store.send('POST', '/v1/orders', oneLine(sku));
  await store.send('POST', '/v1/orders', oneLine(sku), { headers: { prefer: 'respond-async' } });
  await store.settled();
  await store.send('POST', `/v1/orders/${order.id}/cancel`);
  await store.settled();
  expect(await rowsSince(before)).toEqual([]);
});

test('creating tenants and keys, and changing and revoking keys, is recorded under the operator’s name, without a key hash', async () => {
  const before = await newestId();
  const tenant = `shop-${randomUUID()}`;
  await createTenant(owner, tenant, 'The shop');
  const key = await createKey(owner, { tenant, kind: 'publishable' });
  await setKeyOrigins(owner, key.slice(0, 12), ['https://shop.example']);
  await revokeKey(owner, key.slice(0, 12));
  const rows = await rowsSince(before);
  expect(rows.map((row) => row.operation)).toEqual(['tenant insert', 'key insert', 'key update', 'key update']);
  for (const row of rows) expect(row.actor).toMatch(/^fusion_owner/);
  expect(rows[2]).toMatchObject({ before: { origins: null }, after: { origins: ['https://shop.example'] } });
  expect(JSON.stringify(rows)).not.toContain('key_hash');
  const formatted = formatAuditLog(await readAuditLog(owner, tenant, 10));
  expect(formatted.split('\n')).toHaveLength(8);
  expect(formatted).toContain('origins: null → ["https://shop.example"]');
  expect(formatAuditLog(await readAuditLog(owner, 'acme', 10, key.slice(0, 12)))).toBe('no changes');
});

test('a change that no key or operator requested is recorded with the actor "system"', async () => {
  const payments = paymentFixture(store);
  const { order, intent } = await payments.checkout((await addProduct(store, randomUUID(), 9)).sku);
  await payments.pay(intent);
  await until(async () => (await payments.orderOf(order.id)).status === 'confirmed');
  const before = await newestId();
  await payments.stripe.refunds.create({ payment_intent: intent, amount: 100 });
  await until(async () => (await rowsSince(before)).length > 0);
  expect(await rowsSince(before)).toMatchObject([{ actor: 'system', operation: 'refund insert' }]);
});

describe('the audit log', () => {
  const statements = [
    `insert into audit.log (tenant_id, actor, operation) values ('default', 'key sk_live_Mine', 'product update')`,
    `update audit.log set actor = 'nobody'`,
    'delete from audit.log',
    'truncate audit.log',
    'drop table audit.log',
    'alter table audit.log disable trigger all',
    'drop trigger log_is_append_only on audit.log',
    'drop trigger audit_products on catalog.products',
    `create table public.mine (); create trigger mine after insert on public.mine for each row execute function audit.record('a', 'b')`,
  ];
  const outcomeOf = (client: pg.Client, sql: string) =>
    client.query(sql).then(
      () => 'done',
      (error: pg.DatabaseError) => error.code,
    );

  test('cannot be changed by any service role or by the login role, and the login role cannot even read it', async () => {
    const superuser = await connectTo(store.database.url);
    const worker = await connectTo(store.database.workerUrl);
    try {
      const { rows } = await superuser.query<{ name: string }>(
        `select rolname as name from pg_roles where rolname ~ '^fusion_' and rolname not in ('fusion_owner', 'fusion_audit')`,
      );
      expect(rows.length).toBeGreaterThan(8);
      for (const { name } of rows) {
        for (const sql of [...statements, 'select from audit.log']) {
          await superuser.query(`begin; select set_config('app.tenant_id', 'default', true); set local role ${name}`);
          expect([name, sql, await outcomeOf(superuser, sql)]).toEqual([name, sql, '42501']);
          await superuser.query('rollback');
        }
      }
      for (const sql of [...statements, 'select from audit.log', 'set role fusion_audit']) {
        expect([sql, await outcomeOf(worker, sql)]).toEqual([sql, '42501']);
      }
    } finally {
      await superuser.end();
      await worker.end();
    }
  });

  test('can only be appended to by its own role, through its triggers, and never changed', async () => {
    const privileges = await store.database.query(
      `select p as privilege from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) p
       where has_table_privilege('fusion_audit', 'audit.log', p)`,
    );
    expect(privileges).toEqual([{ privilege: 'INSERT' }]);
    const members = await store.database.query(
      `select rolname from pg_roles where not rolsuper and rolname not in ('fusion_audit', 'fusion_owner')
         and pg_has_role(oid, 'fusion_audit', 'MEMBER')`,
    );
    expect(members).toEqual([]);
  });

  test('cannot be changed by the owner of the database while its trigger exists', async () => {
    await owner.query(`select set_config('app.tenant_id', 'default', false)`);
    for (const sql of [`update audit.log set actor = 'nobody'`, 'delete from audit.log', 'truncate audit.log']) {
      await expect(owner.query(sql)).rejects.toThrow('only ever added to');
    }
  });
});
