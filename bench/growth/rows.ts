/** When the generated history begins, and the time between two of its orders. */
export type Past = { beginsAt: Date; secondsAnOrder: number };

const days = 730;

/** A history of two years that ends a day ago, with room for `most` orders. Ids increase with time at every size. */
export const pastOf = (most: number, now: Date): Past => ({
  beginsAt: new Date(now.getTime() - (days + 1) * 86_400_000),
  secondsAnOrder: (days * 86_400) / most,
});

/**
 * SQL functions for the statements below: ids (UUIDv7 of a past time, the same in every run) and the fields of an order
 * by its number. `default` has 60 % of the orders and products, `acme` 25 %, 40 small shops the rest. `corner` has 200
 * old orders only, `trade` 50 price lists. Each order has one line, from 9,600 SKUs. One order in five is from one of 20 regular customers.
 */
export const preparation = ({ beginsAt, secondsAnOrder }: Past): string => `
create schema if not exists growth;
create or replace function growth.time_of(n bigint) returns timestamptz language sql immutable as $$
  select timestamptz '${beginsAt.toISOString()}' + n * interval '1 second' * ${secondsAnOrder}
$$;
create or replace function growth.id(kind text, n bigint) returns varchar language sql immutable as $$
  select overlay(overlay(md5(kind || n) placing '8' from 17 for 1)
    placing lpad(to_hex(${beginsAt.getTime()} + (n * ${secondsAnOrder * 1000})::bigint), 12, '0') || '7' from 1 for 13)::uuid::varchar
$$;
create or replace function growth.tenant(n bigint) returns varchar language sql immutable as $$
  select case when n % 20 < 12 then 'default' when n % 20 < 17 then 'acme' else 'shop-' || (n / 20) % 40 end
$$;
create or replace function growth.orders(first bigint, last bigint) returns table (
  n bigint, id varchar, at timestamptz, tenant varchar, customer varchar, sku varchar, quantity integer, price numeric,
  status varchar, hold varchar, payment varchar, organization varchar, campaign varchar
) language sql stable as $$
  select f.n, growth.id('order', f.n), growth.time_of(f.n),
    case when f.n <= 2000 and f.n % 10 = 0 then 'corner' else growth.tenant(f.n) end,
    case when f.hash % 5 = 0 then 'regular-' || (f.hash / 5) % 20 else 'customer-' || f.hash % greatest(f.n / 5, 50) end, 'SKU-' || f.sku_number, 1 + (f.hash % 3)::int, 5 + f.sku_number % 95 + 0.99,
    case when f.fate < 82 then 'delivered' when f.fate < 87 then 'confirmed' when f.fate < 90 then 'shipped' when f.fate < 94 then 'failed'
      when f.fate < 98 then 'cancelled' else 'refunded' end,
    case when f.fate < 90 then 'committed' when f.fate < 92 then 'refused' else 'released' end,
    case when f.fate < 90 then 'succeeded' when f.fate < 92 then null when f.fate < 94 then 'failed' when f.fate < 98 then 'cancelled'
      else 'refunded' end,
    case when f.hash % 10 = 0 then 'org-' || (f.hash / 10) % 20 end,
    case when f.n % 40 = 5 and f.fate < 90 then growth.id('campaign', f.n - f.n % 1000) end
  from (
    select g as n, ('x' || substr(md5('order' || g), 1, 8))::bit(32)::bigint & 2147483647 as hash,
      ((('x' || substr(md5('sku' || g), 1, 8))::bit(32)::bigint & 2147483647) % 12 * 40 + (g / 20) % 40) * 20 + g % 20 as sku_number,
      (('x' || substr(md5('fate' || g), 1, 8))::bit(32)::bigint & 2147483647) % 100 as fate
    from generate_series(first, last) g
    offset 0 -- without it PostgreSQL would compute a hash again for each use
  ) f
$$;`;

const address = `'{"name": "Ada Byron", "line1": "1 Long Lane", "city": "London", "postalCode": "EC1A 9EJ", "country": "GB"}'::jsonb`;

/**
 * Products number $1 to $2 with their stock. Three in ten are named "Red … shirt". Each has one unique word. The
 * products up to number $3 have the word `retro`, one in 2,000 has `limited`.
 */
export const productRows = [
  `insert into catalog.products (id, sku, name, description, price, currency, tenant_id, status, created_at, updated_at)
   select growth.id('product', g), 'SKU-' || g,
     case when g % 10 < 3 then 'Red ' || m.word || ' shirt' else c.word || ' ' || m.word || ' ' || t.word end
       || case when g <= $3 then ' retro' else '' end || case when g % 2000 = 7 then ' limited' else '' end || ' M' || to_hex(g * 7919),
     'Made of ' || m.word || ', ' || t.word || ' for every day, number ' || g, 5 + g % 95 + 0.99, 'EUR', growth.tenant(g),
     case when g % 50 = 49 then 'archived' else 'active' end, growth.time_of(g), growth.time_of(g)
   from generate_series($1::bigint, $2::bigint) g
   cross join lateral (select (array['cotton', 'linen', 'wool', 'silk', 'denim', 'jersey', 'fleece'])[1 + (g / 3) % 7] as word) m
   cross join lateral (select (array['Blue', 'Green', 'Black', 'White', 'Yellow', 'Grey', 'Purple'])[1 + (g / 5) % 7] as word) c
   cross join lateral (select (array['jacket', 'scarf', 'jumper', 'dress', 'apron', 'towel', 'blanket', 'shirt'])[1 + (g / 11) % 8] as word) t`,
  `insert into inventory.inventory (sku, tenant_id, quantity, updated_at)
   select 'SKU-' || g, growth.tenant(g), 1000000000, growth.time_of(g) from generate_series($1::bigint, $2::bigint) g where $3 >= 0`,
  // `trade` has 10,000 products, each with two prices in each of its 50 lists. `acme` has a list with all its products.
  `insert into catalog.products (id, sku, name, price, currency, tenant_id, has_list_prices, created_at, updated_at)
   select growth.id('trade', g), 'T-' || g, 'Crate number ' || g, 90, 'EUR', 'trade', true, growth.time_of(g), growth.time_of(g)
   from generate_series($1::bigint, least($2::bigint, 10000)) g where $3 >= 0`,
  `insert into inventory.inventory (sku, tenant_id, quantity, updated_at)
   select 'T-' || g, 'trade', 1000000000, growth.time_of(g) from generate_series($1::bigint, least($2::bigint, 10000)) g
   where $3 >= 0`,
  `insert into catalog.prices (tenant_id, list_id, sku, min_quantity, price)
   select 'trade', growth.id('price-list', l), 'T-' || g, q, 80 - l - q / 10
   from generate_series($1::bigint, least($2::bigint, 10000)) g, generate_series(1, 50) l, unnest(array[1, 10]) q where $3 >= 0`,
  `insert into catalog.prices (tenant_id, list_id, sku, min_quantity, price)
   select 'acme', growth.id('price-list', 0), 'SKU-' || g, 10, 4 from generate_series($1::bigint, $2::bigint) g
   where growth.tenant(g) = 'acme' and $3 >= 0`,
  // One product in ten is in the collection.
  `insert into catalog.collection_products (tenant_id, collection_id, product_id, status, currency, price, name)
   select p.tenant_id, growth.id('collection', 1), p.id, p.status, p.currency, p.price, p.name
   from generate_series($1::bigint, $2::bigint) g join catalog.products p on p.id = growth.id('product', g)
   where g % 20 in (3, 7) and $3 >= 0`,
];

const batchColumns = `o.*, o.quantity * o.price as total, growth.id('payment', o.n) as payment_id,
  growth.id('shipment', o.n) as shipment_id`;

/** A table for the orders of one batch, computed once for all statements that insert from it. */
export const batchTable = `create unlogged table if not exists growth.batch as select ${batchColumns} from growth.orders(0, -1) o`;

/** Adds the orders number $1 to $2 to the batch. */
export const batchRows = `insert into growth.batch select ${batchColumns} from growth.orders($1, $2) o`;

/** Inserts the orders of a batch and their related rows, in two lists that two connections can run concurrently. */
export const orderRows: [string[], string[]] = [
  [
    `insert into orders.orders (id, customer_id, items, total, currency, status, created_at, tenant_id, organization_id,
       purchase_order_number, shipping_address, campaign_id, failure_reason, updated_at)
     select o.id, o.customer, jsonb_build_array(jsonb_build_object('sku', o.sku, 'price', o.price, 'quantity', o.quantity)),
       o.total, 'EUR', o.status, o.at, o.tenant, o.organization,
       case when o.organization is not null then 'PO-' || o.n end,
       case when o.status in ('delivered', 'shipped') then ${address} end, o.campaign,
       case when o.status = 'failed' then case o.hold when 'refused' then 'insufficient_inventory' else 'reservation_expired' end end,
       o.at + interval '3 days'
     from growth.batch o`,
    `insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, created_at)
     select o.id, o.tenant, array[o.sku::text], array[o.quantity], o.hold, o.at from growth.batch o`,
    `insert into group_commerce.group_commerce_campaigns (id, tenant_id, product_id, sku, currency, min_participants,
       max_participants, actual_participants, secured_participants, price, original_price, start_time, end_time, status,
       settled_at, created_at, updated_at)
     select growth.id('campaign', g), 'default', growth.id('product', 1), 'SKU-1', 'EUR', 10, 1000, 20, 20, 5, 6.99, growth.time_of(g),
       growth.time_of(g) + interval '7 days', 'successful', growth.time_of(g) + interval '7 days', growth.time_of(g), growth.time_of(g)
     from generate_series($1::bigint - $1 % 1000, $2::bigint - 1, 1000) g where g >= $1 - 1`,
    `insert into group_commerce.participants (id, tenant_id, campaign_id, user_id, order_id, payment_id, state, joined_at,
       secured_at, updated_at)
     select growth.id('participant', o.n), o.tenant, o.campaign, o.customer || '-' || o.n, o.id, o.payment_id, 'charged',
       o.at, o.at, o.at
     from growth.batch o where o.campaign is not null and o.tenant = 'default'`,
    // The active campaign, which one order in forty belongs to: places, reservations and payments.
    `insert into group_commerce.participants (id, tenant_id, campaign_id, user_id, order_id, payment_id, state, joined_at,
       secure_by, secured_at, updated_at)
     select growth.id('place', g), 'default', growth.id('campaign', -1), 'user-' || g, growth.id('place-order', g),
       growth.id('place-payment', g), 'secured', growth.time_of(g), growth.time_of(g) + interval '10 minutes', growth.time_of(g), growth.time_of(g)
     from generate_series($1::bigint, $2::bigint) g where g % 40 = 25`,
    `insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
     select growth.id('place-order', g), 'default', array['SKU-1'], array[1], 'held', 'infinity', growth.time_of(g)
     from generate_series($1::bigint, $2::bigint) g where g % 40 = 25`,
    // Teams of the active campaign with teams, one for sixty orders: one in ten still has room, the others have ended.
    `insert into group_commerce.teams (id, tenant_id, campaign_id, code, leader, size, joined, secured, status, end_time,
       settled_at, created_at, updated_at)
     select growth.id('team', g), 'default', growth.id('campaign', -2), left(md5('team-' || g), 16), 'leader-' || g, 50, 1, 1,
       case when g % 600 = 31 then 'forming' else 'expired' end,
       case when g % 600 = 31 then now() + interval '1 day' else growth.time_of(g) end,
       case when g % 600 <> 31 then growth.time_of(g) end, growth.time_of(g), growth.time_of(g)
     from generate_series($1::bigint, $2::bigint) g where g % 60 = 31`,
    `insert into group_commerce.participants (id, tenant_id, campaign_id, team_id, user_id, order_id, state, reason, joined_at,
       secured_at, updated_at, sku)
     select growth.id('member', g), 'default', growth.id('campaign', -2), growth.id('team', g), 'leader-' || g,
       growth.id('member-order', g), case when g % 600 = 31 then 'secured' else 'released' end,
       case when g % 600 <> 31 then 'team_expired' end, growth.time_of(g), growth.time_of(g), growth.time_of(g), 'SKU-1'
     from generate_series($1::bigint, $2::bigint) g where g % 60 = 31`,
    `insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
     select growth.id('member-order', g), 'default', array['SKU-1'], array[1], 'held', 'infinity', growth.time_of(g)
     from generate_series($1::bigint, $2::bigint) g where g % 600 = 31`,
    `insert into payments.payments (payment_id, order_id, amount, currency, status, stripe_payment_intent_id, stripe_status,
       created_at, tenant_id, updated_at, intent_open, mode, campaign_id, user_id, checked_at)
     select growth.id('place-payment', g), growth.id('place-order', g), 5, 'EUR', 'pending', 'pi_place_' || g, 'requires_capture',
       growth.time_of(g), 'default', growth.time_of(g), true, 'hold', growth.id('campaign', -1), 'user-' || g, '2100-01-01'
     from generate_series($1::bigint, $2::bigint) g where g % 40 = 25`,
    `insert into payments.payments (payment_id, order_id, amount, currency, status, stripe_payment_intent_id, stripe_status,
       failure_reason, created_at, tenant_id, updated_at, captured, refunded, refund_done, checked_at)
     select o.payment_id, o.id, o.total, 'EUR', o.payment, 'pi_' || o.n,
       case when o.payment in ('succeeded', 'refunded') then 'succeeded' else 'canceled' end,
       case when o.payment = 'failed' then 'reservation_expired' end, o.at, o.tenant, o.at,
       case when o.payment in ('succeeded', 'refunded') then o.total else 0 end, x.refunded, x.refunded, o.at
     from growth.batch o
     cross join lateral (select case when o.payment = 'refunded' then o.total else 0 end as refunded) x
     where o.payment is not null`,
    `insert into payments.intents (stripe_id, tenant_id, payment_id, amount, currency, status, received, created_at)
     select 'pi_' || o.n, o.tenant, o.payment_id, o.total, 'EUR', x.status,
       case when x.status = 'succeeded' then o.total else 0 end, o.at
     from growth.batch o
     cross join lateral (
       select case when o.payment in ('succeeded', 'refunded') then 'succeeded' else 'canceled' end as status
     ) x
     where o.payment is not null`,
    `insert into payments.refunds (id, tenant_id, payment_id, amount, currency, status, stripe_refund_id, checked_at, created_at)
     select growth.id('refund', o.n), o.tenant, o.payment_id, o.total, 'EUR', 'succeeded', 're_' || o.n, o.at, o.at
     from growth.batch o where o.payment = 'refunded'`,
    `insert into shipping.label_requests (order_id, tenant_id, shipment_id, status, address, attempts, tried_at, created_at)
     select o.id, o.tenant, o.shipment_id, 'made', ${address}, 1, o.at, o.at
     from growth.batch o where o.status in ('delivered', 'shipped')`,
    `insert into shipping.shipments (id, order_id, tracking_number, carrier, label_url, status, created_at, tenant_id, updated_at)
     select o.shipment_id, o.id, 'FC' || o.n, 'manual', '/v1/shipments/' || o.shipment_id || '/label',
       case o.status when 'shipped' then 'in_transit' else 'delivered' end, o.at, o.tenant, o.at
     from growth.batch o where o.status in ('delivered', 'shipped')`,
  ],
  [
    `insert into platform.events (tenant_id, topic, key, payload, time)
     select o.tenant, e.topic, e.key, e.payload, o.at + e.step * interval '2 seconds'
     from growth.batch o
     cross join lateral (values
       (1, 'order.created', o.id, jsonb_build_object('orderId', o.id, 'customerId', o.customer, 'total', o.total,
         'currency', 'EUR', 'items', jsonb_build_array(jsonb_build_object('sku', o.sku, 'price', o.price, 'quantity', o.quantity)))),
       (2, case o.hold when 'refused' then 'inventory.insufficient' else 'inventory.reserved' end, o.id,
         jsonb_build_object('orderId', o.id, 'status', case o.hold when 'refused' then 'insufficient' else 'reserved' end)),
       (3, case when o.status = 'failed' then 'order.failed' else 'payment.succeeded' end,
         case when o.status = 'failed' then o.id else o.payment_id end, jsonb_build_object('orderId', o.id)),
       (4, case o.status when 'cancelled' then 'order.cancelled' else 'order.confirmed' end, o.id, jsonb_build_object('orderId', o.id))
     ) e(step, topic, key, payload)
     where e.step < 4 or o.status <> 'failed'`,
  ],
];

/** Rows that are purged after a time, for the orders $1 to $2: idempotency keys of a day, inbox rows of a month. */
export const recentRows = [
  `insert into platform.idempotency (tenant_id, operation, key, request_hash, answer, created_at)
   select growth.tenant(g), 'orders.place', 'past-' || g, md5(g::text), jsonb_build_object('id', growth.id('order', g), 'status',
     'created', 'items', jsonb_build_array(jsonb_build_object('sku', 'SKU-1', 'price', 6.99, 'quantity', 1))),
     now() - random() * interval '23 hours'
   from generate_series($1::bigint, $2::bigint) g where g % ${days} = 0`,
  `insert into platform.inbox (tenant_id, consumer, event_id, applied_at)
   select growth.tenant(g), (array['payments', 'shipping', 'stripe'])[1 + g % 3], gen_random_uuid(), now() - random() * interval '30 days'
   from generate_series($1::bigint, $2::bigint) g where g % 8 = 0`,
];

/** The tenants, the collection and the active campaigns. */
export const firstRows = [
  `insert into catalog.price_lists (id, tenant_id, name, currency, audience, price_count, created_at, updated_at)
   select growth.id('price-list', l), case l when 0 then 'acme' else 'trade' end, 'List ' || l, 'EUR', 'all', 20000, now(), now()
   from generate_series(0, 50) l`,
  `insert into platform.tenants (id, name) select t, t from unnest(array['acme', 'corner', 'trade'] ||
     array(select 'shop-' || g from generate_series(0, 39) g)) t on conflict (id) do nothing`,
  `insert into catalog.collections (id, tenant_id, name, created_at, updated_at)
   values (growth.id('collection', 1), 'default', 'Everyday', now(), now())`,
  `insert into group_commerce.group_commerce_campaigns (id, tenant_id, product_id, sku, currency, min_participants,
     max_participants, price, original_price, start_time, end_time, status, created_at, updated_at)
   values (growth.id('campaign', -1), 'default', growth.id('product', 1), 'SKU-1', 'EUR', 1000000, 1000000, 5, 6.99, now() - interval '1 day',
     now() + interval '2 days', 'active', now(), now())`,
  `insert into group_commerce.group_commerce_campaigns (id, tenant_id, product_id, sku, currency, min_participants,
     max_participants, price, original_price, start_time, end_time, status, mode, team_size, team_seconds, on_short,
     created_at, updated_at)
   values (growth.id('campaign', -2), 'default', growth.id('product', 1), 'SKU-1', 'EUR', 50, 50, 5, 6.99,
     now() - interval '1 day', now() + interval '2 days', 'active', 'teams', 50, 86400, 'merge', now(), now())`,
];

/** Updates counters: the places taken in the active campaign, and the reserved stock. */
export const countRows = [
  `update group_commerce.group_commerce_campaigns c set (actual_participants, secured_participants) = (
     select count(*), count(*) filter (where p.secured_at is not null) from group_commerce.participants p
     where p.campaign_id = c.id and p.state <> 'released')
   where c.status = 'active' and c.mode = 'pool'`,
  `update inventory.inventory i set reserved = h.held
   from (select r.tenant_id, s.sku, sum(s.n)::int as held from inventory.reservations r, unnest(r.skus, r.quantities) s(sku, n)
     where r.status = 'held' group by 1, 2) h
   where i.tenant_id = h.tenant_id and i.sku = h.sku and i.reserved <> h.held`,
];
