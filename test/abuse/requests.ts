import { createHmac, randomUUID } from 'node:crypto';
import { workerRoutes as routes } from '../../dev/openapi/routes.ts';
import type { Route } from '../../src/http/declaration.ts';
import { addProduct, oneLine, type Store, until } from '../support/harness.ts';
import { webp } from '../support/images.ts';
import { paymentFixture } from '../support/payments.ts';
import { home, secret, sign } from '../support/shipping.ts';

export const carriers = ['manual', 'shippo', 'easypost'] as const;
export type CarrierName = (typeof carriers)[number];

/** Environment variables of a store in which every operation is available. */
export const variables = {
  SHIPPING_WEBHOOK_SECRET: secret,
  KAFKA_WEBHOOK_SECRET: secret,
  SHIPPO_API_KEY: 'k',
  SHIPPO_WEBHOOK_SECRET: secret,
  EASYPOST_API_KEY: 'k',
  EASYPOST_WEBHOOK_SECRET: secret,
  KAFKA_CONSUME_TENANTS: 'default',
  LIVE_SECONDS: '1',
};

/** A valid request, as a client with the right key would send it. */
export type Valid = {
  route: Route;
  method: string;
  path: string;
  query: string;
  /** A string where the operation parses the body itself. Undefined where there is no body. */
  body: unknown;
  headers: Record<string, string>;
};

const placeOrder = async (store: Store, sku: string, fields: Record<string, unknown> = {}): Promise<string> => {
  const { status, body } = await store.send('POST', '/v1/orders', oneLine(sku, 1, fields));
  if (status !== 201) throw new Error(`no order: ${JSON.stringify(body)}`);
  return body.id;
};

/** The number of events still to be delivered or consumed, and of intents and refunds still to be made. */
async function countUnfinished(store: Store): Promise<number> {
  const [left] = await store.database.query<{ n: number }>(
    `select ((select count(*) from platform.outbox)
       + (select count(*) from inventory.reservations where status = 'pending')
       + (select count(*) from payments.refunds where status = 'pending')
       + (select count(*) from payments.payments where intent_open and status <> 'pending')
       + (select count(*) from payments.payments
         where status = 'pending' and stripe_payment_intent_id is null and setup_intent_id is null)
       + (select count(*) from platform.events e
         where (e.topic, e.tenant_id) in (('inventory.reserved', 'default'), ('order.confirmed', 'default'))
           and not exists (select from platform.inbox i where i.event_id = e.id::text)))::int as n`,
  );
  return left?.n ?? 0;
}

/** The file of an image. It is text too, so that it can be changed like the other bodies. */
const picture = webp().toString('latin1');

/** Creates rows of every kind for the store's tenant, in states that their operations accept. */
async function createFixture(store: Store) {
  const payments = paymentFixture(store);
  const sku = `S-${randomUUID().slice(0, 8)}`;
  const product = await addProduct(store, sku, 1_000);
  const archived = await addProduct(store, `${sku}-old`, 1);
  const create = async (path: string, body: object): Promise<string> => (await store.send('POST', path, body)).body.id;
  const groups = [];
  const collections = [];
  for (let n = 0; n < 2; n++) {
    groups.push(
      await create('/v1/product-groups', { name: 'g', options: ['Size'], slug: `${sku}-${n}`.toLowerCase() }),
    );
    collections.push(await create('/v1/collections', { name: 'c' }));
  }
  const gift = await addProduct(store, `${sku}-free`, 1_000, 0);
  const { order: sold, payment, intent } = await payments.checkout(sku, 100);
  await payments.pay(intent);
  const [open, cancellable, confirmed, parcel] = await Promise.all([
    placeOrder(store, sku),
    placeOrder(store, sku),
    placeOrder(store, gift.sku),
    placeOrder(store, gift.sku, { shippingAddress: home }),
  ]);
  const { body: campaign } = await store.send('POST', '/v1/campaigns', {
    productId: product.id,
    minParticipants: 900,
    maxParticipants: 1_000,
    price: 5,
    startTime: new Date(Date.now() - 60_000).toISOString(),
    endTime: new Date(Date.now() + 86_400_000).toISOString(),
  });
  const { body: doomed } = await store.send('POST', '/v1/campaigns', {
    ...{ productId: product.id, minParticipants: 2, maxParticipants: 9, price: 5 },
    ...{ startTime: campaign.startTime, endTime: campaign.endTime },
  });
  await store.send('POST', `/v1/campaigns/${campaign.id}/join`, { userId: 'user-0' });
  const { body: teamCampaign } = await store.send('POST', '/v1/campaigns', {
    ...{ productId: product.id, mode: 'teams', teamSize: 900, teamSeconds: 86_400, price: 5 },
    ...{ startTime: campaign.startTime, endTime: campaign.endTime },
  });
  const openTeam = async (): Promise<{ id: string; code: string }> =>
    (await store.send('POST', `/v1/campaigns/${teamCampaign.id}/teams`, { userId: 'the-leader', listed: true })).body
      .team;
  const [team, doomedTeam] = [await openTeam(), await openTeam()];
  await store.send('POST', `/v1/teams/${team.id}/join`, { userId: 'user-0' });
  const readOrder = async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body;
  await until(async () => (await readOrder(sold.id)).status === 'confirmed');
  await until(async () => (await readOrder(confirmed)).status === 'confirmed');
  await until(async () => (await readOrder(parcel)).shipment !== null);
  const { shipment } = await readOrder(parcel);
  const addPicture = async (productId: string) =>
    (
      await store.send('POST', `/v1/products/${productId}/images`, picture, {
        headers: { 'content-type': 'image/webp' },
      })
    ).body;
  const pictured = [];
  for (let n = 0; n < 2; n++) {
    const { id } = await addProduct(store, `${sku}-pictured-${n}`, 1);
    pictured.push({ id, image: await addPicture(id) });
  }
  const { body: apiKey } = await store.send('POST', '/v1/keys', { kind: 'secret', scopes: ['orders:read'] });
  const newList = { name: 'L', currency: 'USD', audience: 'all' };
  const { body: priceList } = await store.send('POST', '/v1/price-lists', newList);
  const { body: doomedList } = await store.send('POST', '/v1/price-lists', newList);
  const newDiscount = { name: 'D', type: 'percentage', value: 1 };
  const discounts = [];
  const shippingOptions: string[] = [];
  for (let n = 0; n < 3; n++) {
    discounts.push(await create('/v1/discounts', { ...newDiscount, code: `${sku}-${n}` }));
    shippingOptions.push(
      await create('/v1/shipping-options', { name: 'S', countries: ['US'], currency: 'USD', price: 0 }),
    );
  }
  const newRate = (category: string) => ({ name: 'VAT', country: 'ZW', category: `${sku}-${category}`, rate: 15 });
  const { body: taxRate } = await store.send('POST', '/v1/tax-rates', newRate('a'));
  const { body: doomedRate } = await store.send('POST', '/v1/tax-rates', newRate('b'));
  const { body: customer } = await store.send('POST', '/v1/customers', { email: `${sku}@example.com` });
  const { body: doomedCustomer } = await store.send('POST', '/v1/customers', { email: `${sku}-2@example.com` });
  const fill = async (itemSku: string) => {
    const id = await create('/v1/carts', { currency: 'USD', items: [{ sku: itemSku, quantity: 1 }] });
    const change = { email: 'ada@example.com', shippingAddress: home, shippingOptionId: shippingOptions[2] };
    await store.send('PATCH', `/v1/carts/${id}`, change);
    return id;
  };
  const [cart, freeCart, doomedCart] = [await fill(sku), await fill(gift.sku), await fill(sku)];
  const shippingOptionId = await create('/v1/shipping-options', {
    ...{ name: 'Free', countries: ['MC'], currency: 'USD', price: 0 },
  });
  await store.send('PATCH', `/v1/carts/${freeCart}`, {
    ...{ shippingOptionId, shippingAddress: { line1: '1', city: 'Monaco', country: 'MC' } },
  });
  const requestReturn = () => create(`/v1/orders/${sold.id}/returns`, { items: [{ lineId: '1', quantity: 1 }] });
  const [comingBack, doomedReturn] = [await requestReturn(), await requestReturn()];
  const deadLetter = randomUUID();
  await store.database.query(
    `insert into platform.dead_letters (id, tenant_id, sink, event_id, topic, key, seq, message, reason,
       attempts, created_at)
     select $1, e.tenant_id, 'kafka', e.id::text, e.topic, e.key, e.seq, '{}', 'r', 1, now()
     from platform.events e where e.key = $2 order by e.seq limit 1`,
    [deadLetter, open],
  );
  await payments.quiet();
  await until(async () => (await countUnfinished(store)) === 0);
  return {
    sku,
    product,
    archived,
    pictured,
    groups,
    collections,
    open,
    cancellable,
    confirmed,
    sold,
    comingBack,
    doomedReturn,
    payment,
    campaign,
    doomed,
    teamCampaign,
    team,
    doomedTeam,
    shipment,
    deadLetter,
    apiKey,
    priceList,
    doomedList,
    discounts,
    shippingOptions,
    taxRate,
    doomedRate,
    customer,
    doomedCustomer,
    cart,
    freeCart,
    doomedCart,
  };
}

export type Fixture = Awaited<ReturnType<typeof createFixture>>;

/** The value of the path parameter `{name}` of an operation. */
function parameterOf({ id, path }: Route, name: string, fixture: Fixture): string {
  if (name === 'sku') return fixture.sku;
  if (name === 'place') return 'default';
  const [arranged, stripped] = fixture.pictured;
  if (name === 'imageId') return stripped?.image.id ?? '';
  if (name === 'file') return arranged?.image.path.replace('/media/', '') ?? '';
  if (id === 'arrangeProductImages') return arranged?.id ?? '';
  if (id === 'deleteProductImage') return stripped?.id ?? '';
  if (name === 'productId') return fixture.product.id;
  if (name === 'code') return fixture.team.code;
  if (name === 'slug') return `${fixture.sku}-0`.toLowerCase();
  const idByCollection: Record<string, string | undefined> = {
    products: id === 'archiveProduct' ? fixture.archived.id : fixture.product.id,
    'product-groups': fixture.groups[id === 'deleteProductGroup' ? 1 : 0],
    collections: fixture.collections[id === 'deleteCollection' ? 1 : 0],
    'price-lists': id === 'deletePriceList' ? fixture.doomedList.id : fixture.priceList.id,
    customers: id === 'eraseCustomer' ? fixture.doomedCustomer.id : fixture.customer.id,
    discounts: fixture.discounts[id === 'deleteDiscount' ? 1 : 0],
    'shipping-options': fixture.shippingOptions[id === 'deleteShippingOption' ? 1 : 0],
    'tax-rates': id === 'deleteTaxRate' ? fixture.doomedRate.id : fixture.taxRate.id,
    carts: { checkoutCart: fixture.freeCart, cancelCart: fixture.doomedCart }[id] ?? fixture.cart,
    orders:
      id === 'cancelOrder'
        ? fixture.cancellable
        : ['refundOrder', 'requestReturn'].includes(id)
          ? fixture.sold.id
          : fixture.open,
    returns: id === 'cancelReturn' ? fixture.doomedReturn : fixture.comingBack,
    payments: fixture.payment.id,
    shipments: fixture.shipment.id,
    campaigns:
      { cancelCampaign: fixture.doomed.id, openTeam: fixture.teamCampaign.id, listTeams: fixture.teamCampaign.id }[
        id
      ] ?? fixture.campaign.id,
    teams: id === 'cancelTeam' ? fixture.doomedTeam.id : fixture.team.id,
    'dead-letters': fixture.deadLetter,
    keys: fixture.apiKey.id,
  };
  const found = idByCollection[path.split('/')[2] ?? ''];
  if (found === undefined)
    throw new Error(`${id}: test/abuse/requests.ts has no value for the parameter of ${path}; add one to parameterOf`);
  return found;
}

/** The example of the operation, with its ids replaced by those of existing rows. */
function bodyOf({ id, example }: Route, fixture: Fixture): unknown {
  const replacements: Record<string, unknown> = {
    slug: `n-${randomUUID().slice(0, 8)}`,
    sku: id === 'createProduct' ? `N-${randomUUID().slice(0, 8)}` : fixture.sku,
    orderId: id === 'createShipment' ? fixture.confirmed : fixture.open,
    productId: fixture.product.id,
    userId: ['leaveCampaign', 'leaveTeam'].includes(id) ? 'user-0' : 'user-1',
    ...(id === 'createCustomerSession' ? { customerId: fixture.customer.id } : {}),
    ...(id === 'createCustomer' ? { email: `${randomUUID()}@example.com` } : {}),
    code: `C-${randomUUID().slice(0, 8)}`,
    price: 5,
    startTime: fixture.campaign.startTime,
    endTime: fixture.campaign.endTime,
    ...(id === 'arrangeProductImages' ? { images: [{ id: fixture.pictured[0]?.image.id }] } : {}),
    ...(id === 'createRefund' ? { amount: 1 } : {}),
    ...(id === 'createTaxRate' ? { category: randomUUID() } : {}), // a rate for one exists once
    expectedTotal: 0,
    ...(id === 'createKey' ? { scopes: ['keys:write'] } : {}), // all that a key with only the declared scope can grant
  };
  const replaceIds = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(replaceIds);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, inner]) => [
        name,
        name in replacements ? replacements[name] : replaceIds(inner),
      ]),
    );
  };
  const body = replaceIds(example ?? {}) as { items?: { price?: number }[] };
  // The line of an order takes its price from the catalog.
  for (const line of body.items ?? []) delete line.price;
  return body;
}

/** A tracking update in the format of the carrier. */
function tracking({ shipment }: Fixture, carrier: CarrierName): unknown {
  const [id, code, at] = [randomUUID(), shipment.trackingNumber, new Date().toISOString()];
  if (carrier === 'manual') {
    return { eventId: id, trackingNumber: code, status: 'in_transit', occurredAt: at, detail: 'left the depot' };
  }
  if (carrier === 'shippo') {
    const latest = { object_id: id, status: 'TRANSIT', status_date: at, object_created: at, status_details: 'left' };
    return { event: 'track_updated', data: { tracking_number: code, tracking_status: latest } };
  }
  const details = [{ status: 'in_transit', datetime: at, message: 'left the depot' }];
  const result = { tracking_code: code, status: 'in_transit', updated_at: at, tracking_details: details };
  return { id, description: 'tracker.updated', created_at: at, result };
}

/** A Stripe event about a payment that has succeeded already. It does not change the payment. */
const stripeEvent = ({ payment }: Fixture) => ({
  id: `evt_${randomUUID()}`,
  object: 'event',
  type: 'payment_intent.payment_failed',
  data: {
    object: {
      ...{ id: payment.stripePaymentIntentId, object: 'payment_intent', status: 'requires_payment_method' },
      ...{ amount: 1_000, amount_received: 0, currency: 'usd', client_secret: 'pi_1_secret_2' },
      ...{ metadata: { paymentId: payment.id }, last_payment_error: { code: 'card_declined', decline_code: 'fraud' } },
    },
  },
});

/** The body of an operation that parses it itself, with its content type and the sender's signature. */
export function streamOf(
  store: Store,
  { id }: Route,
  fixture: Fixture,
  carrier: CarrierName = 'manual',
): { body: string; headers: Record<string, string> } {
  if (id === 'importProducts') {
    const body = `{"sku":"I-${randomUUID().slice(0, 8)}","name":"n","price":10,"currency":"USD","inventory":900}\n`;
    return { body, headers: { 'content-type': 'application/x-ndjson' } };
  }
  if (id === 'addProductImage') return { body: picture, headers: { 'content-type': 'image/webp' } };
  if (id.startsWith('receiveTracking')) return signed(store, id, JSON.stringify(tracking(fixture, carrier)), carrier);
  if (id === 'receiveStripeEvent') return signed(store, id, JSON.stringify(stripeEvent(fixture)));
  if (id === 'receiveKafka') {
    const event = {
      specversion: '1.0',
      id: randomUUID(),
      source: '/elsewhere',
      type: 'order.created',
      subject: fixture.open,
    };
    return signed(store, id, JSON.stringify({ ...event, tenantid: 'default', data: { orderId: fixture.open } }));
  }
  throw new Error(`${id}: test/abuse/requests.ts has no body for this operation; add one to streamOf`);
}

/** The body of a webhook with the headers that sign it. */
export function signed(
  store: Store,
  id: string,
  body: string,
  carrier: CarrierName = 'manual',
): { body: string; headers: Record<string, string> } {
  const type = { 'content-type': 'application/json' };
  if (carrier === 'easypost') {
    const hex = createHmac('sha256', secret).update(body).digest('hex');
    return { body, headers: { ...type, 'x-hmac-signature': `hmac-sha256-hex=${hex}` } };
  }
  if (carrier === 'shippo') return { body, headers: { ...type, 'shippo-auth-signature': sign(body) } };
  if (id !== 'receiveStripeEvent') return { body, headers: { ...type, 'x-signature': sign(body) } };
  const header = paymentFixture(store).stripe.webhooks.generateTestHeaderString({ payload: body, secret: 'whsec_dev' });
  return { body, headers: { ...type, 'stripe-signature': header } };
}

/** A valid request to this operation about these rows. */
export function validRequest(store: Store, route: Route, fixture: Fixture, carrier: CarrierName = 'manual'): Valid {
  const base: Valid = {
    route,
    method: route.method.toUpperCase(),
    path: route.path.replaceAll(/\{(\w+)\}/g, (_, name) =>
      encodeURIComponent(name === 'carrier' ? carrier : parameterOf(route, name, fixture)),
    ),
    query: '',
    body: undefined,
    headers: route.idempotency ? { 'idempotency-key': randomUUID() } : {},
  };
  if (route.stream) {
    const { body, headers } = streamOf(store, route, fixture, carrier);
    return { ...base, body, headers: { ...base.headers, ...headers } };
  }
  if (!route.body) return base;
  return { ...base, body: bodyOf(route, fixture), headers: { ...base.headers, 'content-type': 'application/json' } };
}

/** Sends the request with this key (null: without a key). */
export const sendValid = (store: Store, valid: Valid, key: string | null) =>
  store.send(valid.method, valid.path + valid.query, valid.body, { key, headers: valid.headers, idempotencyKey: null });

/** The operations that need a key. */
export const guarded = routes.filter((route) => route.scope !== undefined);
export { createFixture };

const ignoredTables = ['idempotency', 'sinks'];
const statements = new WeakMap<Store, Map<string, string>>();

async function checksumQuery(store: Store, tenant: string | undefined): Promise<string> {
  const tables = await store.database.query<{ name: string; shared: boolean }>(
    `select format('%I.%I', t.table_schema, t.table_name) as name, not exists (
       select from information_schema.columns c where c.table_schema = t.table_schema
         and c.table_name = t.table_name and c.column_name = 'tenant_id') as shared
     from information_schema.tables t
     where t.table_type = 'BASE TABLE' and t.table_schema not in ('pg_catalog', 'information_schema')
       and t.table_name <> all($1) order by 1`,
    [ignoredTables],
  );
  return tables
    .filter(({ shared }) => tenant === undefined || !shared)
    .map(
      ({ name }) => `select '${name}' as name, coalesce(sum(('x' || md5(t::text))::bit(64)::bigint), 0) as sum, count(*)
        from ${name} t ${tenant === undefined ? '' : `where t.tenant_id = '${tenant}'`}`,
    )
    .join(' union all ');
}

/**
 * A hash of every row of every table, or of one tenant's rows. It leaves out the stored responses of Idempotency-Keys,
 * which include errors, and the state of the relay's sinks.
 */
export async function checksum(store: Store, tenant?: string): Promise<string> {
  const known = statements.get(store) ?? new Map<string, string>();
  statements.set(store, known);
  const statement = known.get(tenant ?? '') ?? (await checksumQuery(store, tenant));
  known.set(tenant ?? '', statement);
  return JSON.stringify(await store.database.query(statement));
}

/** Resolves when no event, webhook, intent or refund is pending any more. */
export async function settled(store: Store): Promise<void> {
  await until(async () => {
    const { pending } = (await paymentFixture(store).emulator('GET', 'webhooks')) as { pending: number };
    return pending === 0 && (await countUnfinished(store)) === 0;
  });
}
