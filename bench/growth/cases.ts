import { createHash, randomUUID } from 'node:crypto';
import { neon } from '@neondatabase/serverless';
import { drizzle } from 'drizzle-orm/neon-http';
import { localJobSecret } from '../../dev/postgres/job-secrets.ts';
import { newId } from '../../src/base/ids.ts';
import { productBySku, productPage } from '../../src/db/catalog/queries.ts';
import type { Reader } from '../../src/db/client.ts';
import { campaignPage, participantPage } from '../../src/db/group-commerce/queries.ts';
import { stockPage } from '../../src/db/inventory/queries.ts';
import { orderById, orderPage } from '../../src/db/orders/queries.ts';
import { eventPage, orderHistory } from '../../src/db/platform/events.ts';
import { toCursor } from '../../src/http/cursor.ts';
import type { Case, Keys, Request } from './case.ts';
import { teamCases } from './cases-teams.ts';
import type { Facts } from './facts.ts';
import type { Statement } from './session.ts';

// It never connects. Drizzle only generates the statements.
const db: Reader = drizzle(neon('postgres://u:p@localhost/d'));
const hash = (text: string): string => createHash('sha256').update(text).digest('hex');
const page = 20;

/** All cases, with arguments taken from the rows of one database. */
export function casesOf(facts: Facts, keys: Keys): Case[] {
  const pick = <T>(list: T[], i: number): T => list[i % list.length] as T;
  const get = (path: string, key = keys.default): Request => ({ method: 'GET', path, key });
  const read = (
    query: { toSQL: () => { sql: string; params: unknown[] } },
    scope: string,
    key = keys.default,
  ): Statement => {
    const { sql: text, params: values } = query.toSQL();
    return { text, values, read: { call: JSON.stringify({ keyHash: hash(key) }), scope } };
  };
  const callFunction = (name: string, input: unknown, call: object = { jobSecret: localJobSecret }): Statement => ({
    text: `select ${name}($1::jsonb, $2::jsonb) as result`,
    values: [JSON.stringify(call), JSON.stringify(input)],
  });
  const write = (name: string, input: unknown, key = keys.default): Statement =>
    callFunction(name, input, { keyHash: hash(key), idempotencyKey: randomUUID(), requestHash: 'growth' });
  const reading = (
    name: string,
    scope: string,
    path: (i: number) => string,
    query: (i: number) => { toSQL: () => { sql: string; params: unknown[] } },
  ): Case => ({ name, request: (i) => get(path(i)), statement: (i) => read(query(i), scope) });
  const orders = (name: string, filter: (i: number) => Record<string, string>, before?: string): Case =>
    reading(
      name,
      'orders:read',
      (i) => {
        const query = new URLSearchParams(filter(i));
        const cursor = before === undefined ? {} : { cursor: toCursor(`/v1/orders?${query}`, before) };
        return `/v1/orders?${new URLSearchParams({ ...filter(i), ...cursor })}`;
      },
      (i) => orderPage(db, filter(i), before, page + 1),
    );
  const search = (name: string, q: (i: number) => string): Case =>
    reading(
      `search: ${name}`,
      'catalog:read',
      (i) => `/v1/products?${new URLSearchParams({ q: q(i) })}`,
      (i) => productPage(db, { q: q(i) }, undefined, page),
    );
  const newOrder = (i: number) => ({ customerId: `buyer-${i}`, items: [{ sku: pick(facts.skus, i), quantity: 1 }] });
  const tradeOrder = (i: number) => ({
    customerId: `buyer-${i}`,
    items: Array.from({ length: 25 }, (_, line) => ({ sku: `T-${(((i * 25 + line) * 7) % 900) + 1}`, quantity: 12 })),
  });
  const { campaign, collection } = facts;
  const shelf = { collection, sort: 'price', currency: 'EUR' } as const;
  const job = (name: string, sql: string, input: unknown): Case => ({
    name,
    statement: () => callFunction(sql, input),
  });

  return [
    {
      name: 'place an order',
      request: (i) => ({ method: 'POST', path: '/v1/orders', body: newOrder(i), key: keys.default }),
      statement: (i) =>
        write('orders.place_order', { ...newOrder(i), id: newId(new Date()), holdSeconds: 900, async: false }),
    },
    {
      name: 'place an order of 25 lines with 50 price lists of 10,000 products',
      request: (i) => ({ method: 'POST', path: '/v1/orders', body: tradeOrder(i), key: keys.trade }),
      statement: (i) =>
        write(
          'orders.place_order',
          { ...tradeOrder(i), id: newId(new Date()), holdSeconds: 900, async: false },
          keys.trade,
        ),
    },
    reading(
      'read an order',
      'orders:read',
      (i) => `/v1/orders/${pick(facts.orders, i)}`,
      (i) => orderById(db, pick(facts.orders, i)),
    ),
    orders('order page: first', () => ({})),
    orders('order page: 1,000 pages deep', () => ({}), facts.deepOrder),
    orders('order page: of a customer', (i) => ({ customerId: `regular-${i % 20}` })),
    orders('order page: of an organization', (i) => ({ organizationId: `org-${i % 20}` })),
    orders('order page: refunded orders', () => ({ status: 'refunded' })),
    {
      name: 'order page: of a tenant with 200 old orders',
      request: () => get('/v1/orders', keys.corner),
      statement: () => read(orderPage(db, {}, undefined, page + 1), 'orders:read', keys.corner),
    },
    reading(
      'order history',
      'orders:read',
      (i) => `/v1/orders/${pick(facts.orders, i)}/events`,
      (i) => orderHistory(db, pick(facts.orders, i), undefined, page + 1),
    ),
    reading(
      'event page: first',
      'events:read',
      () => '/v1/events',
      () => eventPage(db, {}, undefined, page + 1),
    ),
    reading(
      'event page: of a topic',
      'events:read',
      () => '/v1/events?topic=order.failed',
      () => eventPage(db, { topic: 'order.failed' }, undefined, page + 1),
    ),
    reading(
      'event page: of a key',
      'events:read',
      (i) => `/v1/events?key=${pick(facts.orders, i)}`,
      (i) => eventPage(db, { key: pick(facts.orders, i) }, undefined, page + 1),
    ),
    reading(
      'product by SKU, not cached',
      'catalog:read',
      (i) => `/v1/products/by-sku/${pick(facts.skus, i)}`,
      (i) => productBySku(db, pick(facts.skus, i)),
    ),
    reading(
      'product page: first',
      'catalog:read',
      () => '/v1/products',
      () => productPage(db, {}, undefined, page),
    ),
    reading(
      'product page: filtered and sorted, of a collection with a tenth of the products',
      'catalog:read',
      () => `/v1/products?${new URLSearchParams({ ...shelf, minPrice: '20', maxPrice: '60', inStock: 'true' })}`,
      () => productPage(db, { ...shelf, minPrice: 20, maxPrice: 60, inStock: true }, undefined, page),
    ),
    reading(
      'stock page: first',
      'inventory:read',
      () => '/v1/inventory',
      () => stockPage(db, undefined, page + 1),
    ),
    search('3 of 10 products match ("red shirt")', () => 'red shirt'),
    search('3 of 10 products match, all old ("retro")', () => 'retro'),
    search('1 of 2,000 products matches ("limited")', () => 'limited'),
    search('1 product matches (a unique word)', (i) => pick(facts.words, i)),
    search('part of a SKU', (i) => pick(facts.skus, i).slice(0, -1)),
    search('misspelt word ("coton")', () => 'coton'),
    search('no product matches', () => 'zzyzx'),
    reading(
      'campaign page: first',
      'campaigns:read',
      () => '/v1/campaigns',
      () => campaignPage(db, undefined, undefined, page + 1),
    ),
    reading(
      'participants of a campaign',
      'campaigns:write',
      () => `/v1/campaigns/${campaign}/participants`,
      () => participantPage(db, { campaignId: campaign }, undefined, page + 1),
    ),
    {
      name: `join a campaign`,
      request: (i) => ({
        method: 'POST',
        path: `/v1/campaigns/${campaign}/join`,
        body: { userId: `joiner-${i}` },
        key: keys.default,
      }),
      statement: (i) =>
        write('group_commerce.join_campaign', {
          ...{
            campaignId: campaign,
            userId: `joiner-${i}`,
            secureSeconds: 600,
            graceSeconds: 900,
            holdWithinSeconds: 345_600,
          },
          ...{ participantId: newId(new Date()), orderId: newId(new Date()), paymentId: newId(new Date()) },
        }),
    },
    ...teamCases(facts, keys, write),
    {
      name: 'webhook: payment_intent.succeeded',
      needs: 'unpaid',
      statement: (i) =>
        callFunction('payments.apply_stripe', {
          ...{ eventId: randomUUID(), paymentId: pick(facts.unpaid, i), intentId: `pi_${pick(facts.unpaid, i)}` },
          intent: { status: 'succeeded', received: '6.99' },
        }),
    },
    {
      name: 'relay: 500 waiting events',
      needs: 'backlog',
      calls: 25,
      statement: (_, last) => {
        const { events } = (last ?? { events: [] }) as { events: { seq: number }[] };
        return callFunction('platform.relay', {
          ...{ sink: 'kafka', lease: 'growth', limit: 500, bytes: 1_000_000, seconds: 60, failed: [], returned: [] },
          ...{ delivered: events.map(({ seq }) => seq), paused: false },
        });
      },
    },
    {
      name: 'hold expiry: 200 holds',
      needs: 'holds',
      calls: 12,
      statement: () => callFunction('orders.expire_holds', { limit: 200 }),
    },
    job('cron: expired holds, none found', 'orders.expire_holds', { limit: 200 }),
    job('cron: undecided reservations', 'inventory.decide_forgotten', {
      idleSeconds: 120,
      holdSeconds: 900,
      limit: 200,
    }),
    job('cron: payments to check at Stripe', 'payments.open_work', { idleSeconds: 300, limit: 50 }),
    {
      name: 'consumer: 1 payment to check at Stripe',
      statement: (i) =>
        callFunction('payments.open_work', { tenant: 'default', paymentIds: [pick(facts.payments, i)] }),
    },
    job('cron: campaigns to expire', 'group_commerce.expire_campaigns', { limit: 100 }),
    job('cron: campaigns with tiers to price', 'group_commerce.price_campaigns', { limit: 100 }),
    job('cron: unsecured places', 'group_commerce.free_unsecured', { limit: 200 }),
    job('cron: places whose order has ended', 'group_commerce.free_lost_places', { idleSeconds: 600, limit: 200 }),
    job('cron: campaigns to settle', 'group_commerce.settle_batch', { limit: 100, graceSeconds: 900 }),
    job('cron: teams whose time is over', 'group_commerce.end_teams', { limit: 500 }),
    job('cron: teams to settle', 'group_commerce.settle_teams', { limit: 100, graceSeconds: 900, idleSeconds: 60 }),
    job('cron: teams to release', 'group_commerce.release_teams', { limit: 200, idleSeconds: 60 }),
    job('cron: overdue checks of VAT numbers', 'orders.request_lost_vat_checks', { idleSeconds: 1_800, limit: 200 }),
    job('cron: overdue labels', 'shipping.remind_labels', { idleSeconds: 3_600, limit: 200, most: 8 }),
    {
      name: 'cron: purge of 5,000 idempotency keys',
      needs: 'stale',
      calls: 8,
      statement: () => callFunction('platform.purge', { limit: 5_000 }),
    },
    {
      name: 'readiness',
      statement: () => ({ text: 'select platform.health() as result', values: [] }),
      request: () => get('/readyz'),
    },
  ];
}
