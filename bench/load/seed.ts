import type { Fixture } from '../fixture/fixture.ts';

/** The products and campaigns that the cases buy from, all of the tenant `default`. */
export type Shop = {
  /** 10,000 SKUs with more stock than a run can sell. */
  skus: string[];
  hotSku: string;
  /** Products without stock, for reads that miss the cache. */
  uncachedIds: string[];
  productId: string;
  /** Active campaigns with a million places, each for a different product. */
  campaigns: string[];
  /** Active campaigns with teams of three, each for a different product. */
  teamCampaigns: string[];
};

const skuCount = 10_000;
const uncachedCount = 40_000;
const campaignCount = 100;

/**
 * Inserted by SQL, since it is not measured. The rows are those that the API writes, without events and adjustments.
 */
const products = `
  insert into catalog.products (id, sku, name, description, price, currency, tenant_id)
  select platform.uuid7(), $1 || g, 'Product ' || $1 || g, 'One of many, number ' || g, 1 + g % 100, 'USD', 'default'
  from generate_series(1, $2::int) g`;
const stock = `
  insert into inventory.inventory (sku, tenant_id, quantity) select $1 || g, 'default', 1000000000
  from generate_series(1, $2::int) g`;

export async function seedShop(fixture: Fixture): Promise<Shop> {
  const { pool } = fixture;
  for (const [prefix, count] of [
    ['other-', uncachedCount],
    ['sku-', skuCount],
    ['hot-', 1],
    ['group-', campaignCount + 1],
    ['team-', campaignCount + 1],
  ] as const) {
    await pool.query(products, [prefix, count]);
    if (prefix !== 'other-') await pool.query(stock, [prefix, count]);
  }
  for (const table of ['catalog.products', 'inventory.inventory']) await pool.query(`vacuum analyze ${table}`);
  const idsOf = async (prefix: string): Promise<string[]> => {
    const statement = 'select id from catalog.products where sku like $1 order by id';
    return (await pool.query<{ id: string }>(statement, [`${prefix}%`])).rows.map(({ id }) => id);
  };
  const campaigns: string[] = [];
  for (const productId of await idsOf('group-')) campaigns.push(await startCampaign(fixture, productId, poolTerms));
  const teamCampaigns: string[] = [];
  for (const productId of await idsOf('team-')) teamCampaigns.push(await startCampaign(fixture, productId, teamTerms));
  return {
    skus: Array.from({ length: skuCount }, (_, index) => `sku-${index + 1}`),
    hotSku: 'hot-1',
    uncachedIds: await idsOf('other-'),
    productId: (await idsOf('hot-'))[0] ?? '',
    campaigns,
    teamCampaigns,
  };
}

const poolTerms = { minParticipants: 1_000_000, maxParticipants: 1_000_000 };
const teamTerms = { mode: 'teams', teamSize: 3, teamSeconds: 86_400, onShort: 'merge' };

async function startCampaign(fixture: Fixture, productId: string, kind: object): Promise<string> {
  const response = await fetch(`${fixture.api}/v1/campaigns`, {
    method: 'POST',
    headers: { authorization: `Bearer ${fixture.secretKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      productId,
      ...kind,
      price: 1,
      startTime: new Date(Date.now() - 60_000).toISOString(),
      endTime: new Date(Date.now() + 86_400_000).toISOString(),
    }),
  });
  if (response.status !== 201)
    throw new Error(`POST /v1/campaigns returned ${response.status}: ${await response.text()}`);
  return ((await response.json()) as { id: string }).id;
}

export const paymentCents = 1_000;

/** Adds orders with held stock and a pending payment, as POST /v1/orders and /v1/payments write them. */
export async function seedPayments(
  fixture: Fixture,
  count: number,
): Promise<{ paymentId: string; intentId: string }[]> {
  const { rows } = await fixture.pool.query<{ paymentId: string; intentId: string }>(
    `with new_orders as (
       insert into orders.orders (id, customer_id, items, total, currency, status, tenant_id)
       select platform.uuid7(), 'customer-' || g, jsonb_build_array(jsonb_build_object('sku', 'sku-' || (1 + g % 10000),
         'quantity', 1, 'price', 10)), 10, 'USD', 'created', 'default'
       from generate_series(1, $1::int) g returning id, items->0->>'sku' as sku
     ), new_holds as (
       insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
       select id, 'default', array[sku], array[1], 'held', now() + interval '1 day', now() from new_orders
     ), reserved_stock as (
       update inventory.inventory i set quantity = quantity - s.units, reserved = reserved + s.units
       from (select sku, count(*)::int as units from new_orders group by sku) s
       where i.tenant_id = 'default' and i.sku = s.sku
     )
     insert into payments.payments (payment_id, order_id, amount, currency, status, stripe_payment_intent_id,
       client_secret, stripe_status, intent_open, tenant_id)
     select platform.uuid7(), id, 10, 'USD', 'pending', 'pi_' || replace(id, '-', ''), 'secret',
       'requires_payment_method', true, 'default' from new_orders
     returning payment_id as "paymentId", stripe_payment_intent_id as "intentId"`,
    [count],
  );
  return rows;
}

/**
 * Adds teams of three with the place of their leader, as `POST /v1/campaigns/{id}/teams` writes them, to each campaign in
 * turn. Returns their ids.
 */
export async function seedTeams(fixture: Fixture, campaigns: string[], count: number): Promise<string[]> {
  const { rows } = await fixture.pool.query<{ id: string }>(
    `with new_teams as (
       insert into group_commerce.teams (id, tenant_id, campaign_id, code, leader, size, joined, secured, status,
         merge_refusals, end_time, created_at, updated_at)
       select platform.uuid7(), c.tenant_id, c.id, left(md5(random()::text || g), 16), 'leader-' || g, 3, 1, 0, 'forming', 0,
         c.end_time, now(), now()
       from generate_series(1, $2::int) g
       join group_commerce.group_commerce_campaigns c on c.id = ($1::text[])[1 + g % cardinality($1::text[])]
       order by g
       returning id, tenant_id, campaign_id, leader
     ), new_places as (
       insert into group_commerce.participants (id, tenant_id, campaign_id, team_id, user_id, order_id, payment_id, state,
         joined_at, secure_by, updated_at, sku, quantity, merge)
       select platform.uuid7(), t.tenant_id, c.id, t.id, t.leader, platform.uuid7(), platform.uuid7(), 'joined', now(),
         'infinity', now(), c.sku, 1, true
       from new_teams t join group_commerce.group_commerce_campaigns c on c.id = t.campaign_id
       returning tenant_id, order_id, sku
     ), new_holds as (
       insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
       select order_id, tenant_id, array[sku], array[1], 'held', 'infinity', now() from new_places
     ), reserved_stock as (
       update inventory.inventory i set quantity = quantity - s.units, reserved = reserved + s.units
       from (select sku, count(*)::int as units from new_places group by sku) s
       where i.tenant_id = 'default' and i.sku = s.sku
     )
     select id from new_teams`,
    [campaigns, count],
  );
  return rows.map(({ id }) => id);
}

/** Adds undelivered events for Kafka, two for each key, as orders write them. */
export async function seedOutbox(fixture: Fixture, count: number): Promise<void> {
  await fixture.pool.query(
    `with new_events as (
       insert into platform.events (tenant_id, topic, key, payload, time)
       select 'default', case g % 2 when 0 then 'order.created' else 'inventory.reserved' end, k.key,
         case g % 2 when 0 then jsonb_build_object('orderId', k.key, 'customerId', 'customer-1', 'total', 10, 'currency',
           'USD', 'items', jsonb_build_array(jsonb_build_object('sku', 'sku-1', 'quantity', 1, 'price', 10)))
         else jsonb_build_object('orderId', k.key, 'status', 'reserved') end, now()
       from generate_series(0, $1::int - 1) g cross join lateral (select md5((g / 2)::text || now())::uuid::text as key) k
       order by g returning seq, tenant_id, key
     )
     insert into platform.outbox (sink, seq, tenant_id, key, due_at) select 'kafka', seq, tenant_id, key, now() from new_events`,
    [count],
  );
}
