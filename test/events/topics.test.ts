import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { topics } from '../../src/events/topics.ts';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, cronUntil, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { home, secret, sign } from '../support/shipping.ts';

/** The topics that the contract prescribes: days of retention, partitions, key. */
const contract: Record<string, [number, number, string]> = {
  'order.created': [7, 12, 'orderId'],
  'inventory.reserved': [7, 12, 'orderId'],
  'inventory.insufficient': [7, 6, 'orderId'],
  'product.created': [30, 6, 'id'],
  'group-commerce.campaign.created': [30, 6, 'id'],
  'group-commerce.campaign.joined': [7, 6, 'campaign.id'],
  'group-commerce.campaign.successful': [30, 6, 'id'],
  'payment.created': [90, 12, 'paymentId'],
  'payment.succeeded': [90, 12, 'paymentId'],
  'payment.failed': [90, 12, 'paymentId'],
  'shipping.label.created': [30, 6, 'orderId'],
};

const sagaTopics = [
  'order.confirmed',
  'order.failed',
  'order.cancelled',
  'inventory.released',
  'group-commerce.campaign.expired',
  'group-commerce.campaign.failed',
  'payment.refunded',
  'shipping.status.changed',
];

/**
 * Topics that this test does not trigger: the first needs an erased customer (test/orders/erasure.test.ts), the next
 * two images (test/catalog/image-fetch.test.ts), then an authorized card, and a carrier that fails.
 */
const notTriggered = [
  'customer.erased',
  'product.image.requested',
  'product.image.deleted',
  'payment.capture.requested',
  'payment.action.required',
  'shipping.label.requested',
];

/** The arguments of a SQL call whose opening parenthesis is just before `start`. */
function argumentsAt(sql: string, start: number): string[] {
  const found: string[] = [];
  let depth = 0;
  let argumentStart = start;
  for (let index = start; index < sql.length; index++) {
    if (sql[index] === '(') depth++;
    else if (sql[index] === ')' && depth-- === 0) return [...found, sql.slice(argumentStart, index).trim()];
    else if (sql[index] === ',' && depth === 0) {
      found.push(sql.slice(argumentStart, index).trim());
      argumentStart = index + 1;
    }
  }
  return found;
}

/** The events that SQL functions emit: the topic, and the expression that decides whether our queues get it. */
function findEmits(): { topic: string; queue: string; file: string }[] {
  const dir = join(import.meta.dirname, '..', '..', 'src', 'db');
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.sql'))
    .flatMap((file) => {
      const sql = readFileSync(join(dir, file), 'utf8');
      // A statement that writes its rows, an event and its outbox rows together.
      const written = [...sql.matchAll(/insert into platform\.events(.*?)platform\.sinks_of\(/gs)].flatMap((insert) => {
        const queue = argumentsAt(sql, insert.index + insert[0].length)[0] ?? '';
        const literals = [...(insert[1] ?? '').matchAll(/'([a-z-]+(?:\.[a-z-]+)+)'/g)];
        return literals.map((literal) => ({ topic: literal[1] ?? '', queue, file }));
      });
      const called = [...sql.matchAll(/(?:perform|select) ([a-z_]+\.emit\w*)\(/g)].flatMap((call) => {
        const callArguments = argumentsAt(sql, call.index + call[0].length);
        const literal = callArguments.find((argument) => /^'[a-z.-]+'$/.test(argument))?.slice(1, -1);
        if (literal === undefined) return [];
        const owner = /^group_commerce\.emit_(campaign|team)$/.exec(call[1] ?? '')?.[1];
        const topic = owner === undefined ? literal : `group-commerce.${owner}.${literal}`;
        return [{ topic, queue: callArguments.at(-1) ?? '', file }];
      });
      return [...written, ...called];
    });
}

const readMember = (payload: unknown, path: string): unknown =>
  path.split('.').reduce((value: unknown, name) => (value as Record<string, unknown> | undefined)?.[name], payload);

describe('every topic', () => {
  for (const [topic, [retentionDays, partitions, key]] of Object.entries(contract)) {
    test(`${topic} is kept ${retentionDays} days in ${partitions} partitions by ${key}`, () => {
      expect(topics[topic]).toMatchObject({ retentionDays, partitions, key });
    });
  }

  test('that the order saga needs is declared', () => {
    expect(Object.keys(topics)).toEqual(expect.arrayContaining(sagaTopics));
  });

  test('that a SQL function emits is declared', () => {
    const found = findEmits();
    expect(found.length).toBeGreaterThan(20);
    expect(found.filter(({ topic }) => !(topic in topics))).toEqual([]);
  });

  test('that is declared is emitted', () => {
    const emitted = new Set(findEmits().map(({ topic }) => topic));
    expect(Object.keys(topics).filter((topic) => !emitted.has(topic))).toEqual([]);
  });

  test('is sent to our queues if and only if it has a consumer', () => {
    const queued = new Set(findEmits().flatMap(({ topic, queue }) => (queue === 'false' ? [] : [topic])));
    const consumed = Object.keys(topics).filter((topic) => topics[topic]?.consumers.length !== 0);
    expect([...queued].sort()).toEqual(consumed.sort());
  });
});

describe('a published event', () => {
  let store: Store;
  beforeAll(async () => {
    store = await startStore({ variables: { SHIPPING_WEBHOOK_SECRET: secret } });
  });
  afterAll(() => store.close());

  test('matches the declaration of its topic in every member, and its key is the declared member', async () => {
    const payments = paymentFixture(store);
    const campaigns = campaignFixture(store);
    const isEmitted = async (topic: string) =>
      (await store.database.query('select from platform.events where topic = $1', [topic])).length > 0;
    const placeOrder = (sku: string, fields: Record<string, unknown> = {}, headers: Record<string, string> = {}) =>
      store.send('POST', '/v1/orders', oneLine(sku, 1, fields), { headers });
    const asyncHeaders = { prefer: 'respond-async' };

    await addProduct(store, 'DRIVEN', 100, 10.5, { description: 'Driven down every path' });
    const { id: changed } = await addProduct(store, 'CHANGED', 2);
    await store.send('PUT', '/v1/inventory/CHANGED', { quantity: 1, lowStockThreshold: 1 });
    await store.send('PATCH', `/v1/products/${changed}`, { name: 'Changed', metadata: { season: 'winter' } });
    await store.send('DELETE', `/v1/products/${changed}`);
    await store.send('POST', '/v1/price-lists', { name: 'All', currency: 'USD', audience: 'all' });
    await store.send('POST', '/v1/customers', { email: 'vat@example.com', vatNumber: 'DE136695976' });
    await addProduct(store, 'EMPTY', 0);
    await placeOrder('EMPTY');
    await placeOrder('EMPTY', {}, asyncHeaders);
    await placeOrder('DRIVEN', { organizationId: 'org', purchaseOrderNumber: 'PO' }, asyncHeaders);
    for (const body of [{}, { reason: 'too slow' }]) {
      const placed = await placeOrder('DRIVEN');
      await store.send('POST', `/v1/orders/${placed.body.id}/cancel`, body);
    }

    // One cart expires.
    await store.send('POST', '/v1/carts', { currency: 'USD' });
    await store.database.query('update orders.carts set expires_at = now()');

    // One order is paid, shipped, delivered, returned, and refunded in two parts.
    const { body: sold } = await placeOrder('DRIVEN', { shippingAddress: home });
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: sold.id });
    await payments.pay(payment.stripePaymentIntentId);
    await until(async () => (await payments.orderOf(sold.id)).shipment !== null);
    const { trackingNumber } = (await payments.orderOf(sold.id)).shipment;
    for (const status of ['in_transit', 'delivered']) {
      const update = { eventId: status, trackingNumber, status, occurredAt: new Date().toISOString() };
      const headers = { 'x-signature': sign(JSON.stringify(update)) };
      await store.send('POST', '/webhooks/shipping/manual', JSON.stringify(update), { key: null, headers });
    }
    for (const end of ['cancel', 'receive']) {
      const { body: made } = await store.send('POST', `/v1/orders/${sold.id}/returns`, {
        items: [{ lineId: '1', quantity: 1 }],
      });
      await store.send('POST', `/v1/returns/${made.id}/${end}`, end === 'cancel' ? undefined : { refund: false });
    }
    for (const body of [{ amount: 3, reason: 'a part' }, {}]) {
      await store.send('POST', `/v1/payments/${payment.id}/refunds`, body);
    }
    // Two payments: one is disputed, one has a refund that fails.
    for (const card of ['pm_card_createDispute', 'pm_card_refundFail']) {
      const bought = await payments.checkout('DRIVEN');
      await payments.pay(bought.intent, card);
      await until(async () => (await payments.paymentOf(bought.payment.id)).status === 'succeeded');
      await store.send('POST', '/v1/shipments', { orderId: bought.order.id, address: home });
      await until(async () => (await payments.orderOf(bought.order.id)).shipment !== null);
      const part = card === 'pm_card_refundFail' ? {} : { amount: 1 };
      await store.send('POST', `/v1/payments/${bought.payment.id}/refunds`, part);
    }
    // One campaign succeeds, one is cancelled, one expires.
    const [successful, failed, expired] = [
      await campaigns.start('SUCCESS', 9),
      await campaigns.start('FAILURE', 9),
      await campaigns.start('EXPIRY', 9),
    ];
    for (const campaign of [successful, failed, expired]) await campaigns.join(campaign.id, 'one');
    await campaigns.join(successful.id, 'two');
    await campaigns.leave(failed.id, 'one');
    await store.send('POST', `/v1/campaigns/${failed.id}/cancel`, {});
    // One campaign with tiers gets its price. A place of a full one is offered to the first of its waiting list.
    const tiered = await campaigns.start('TIERS', 9, { minParticipants: 1, tiers: [{ participants: 5, price: 10 }] });
    await campaigns.join(tiered.id, 'one');
    const full = await campaigns.start('FULL', 9, { minParticipants: 1, maxParticipants: 1, successOn: 'secured' });
    await campaigns.join(full.id, 'one');
    await campaigns.join(full.id, 'two', { waitlist: true });
    await campaigns.leave(full.id, 'one');
    // One team succeeds, one is left and cancelled, one is merged into another, one expires.
    const startTeams = (sku: string, more = {}) =>
      campaigns.start(sku, 9, {
        ...{ mode: 'teams', teamSize: 2, teamSeconds: 3_600, minParticipants: undefined, maxParticipants: undefined },
        ...more,
      });
    const openTeam = async ({ id }: { id: string }, userId: string, merge = false) =>
      `/v1/teams/${(await store.send('POST', `/v1/campaigns/${id}/teams`, { userId, merge })).body.team.id}`;
    const teamCampaign = await startTeams('TEAMS');
    await store.send('POST', `${await openTeam(teamCampaign, 'one')}/join`, { userId: 'two' });
    await store.send('POST', `${await openTeam(teamCampaign, 'three')}/leave`, { userId: 'three' });
    await openTeam(teamCampaign, 'four');
    const merging = await startTeams('MERGE', { onShort: 'merge' });
    for (const userId of ['one', 'two']) await openTeam(merging, userId, true);
    await cronUntil(store, new Date(Date.parse(expired.endTime) + 1_000), () => isEmitted('payment.failed'));

    const expected = Object.keys(contract).concat(
      sagaTopics,
      'order.refunded',
      'order.refund.failed',
      'payment.refund.requested',
    );
    for (const topic of expected) await until(() => isEmitted(topic));
    await store.settled();

    const rows = await store.database.query<{ topic: string; key: string; payload: object }>(
      'select topic, key, payload from platform.events',
    );
    for (const { topic, key, payload } of rows) {
      const declared = topics[topic];
      expect(declared, topic).toBeDefined();
      // Parsing keeps only declared members. If the result is equal, the payload has no other members.
      expect(declared?.payload.parse(payload), topic).toEqual(payload);
      expect(readMember(payload, declared?.key ?? ''), topic).toBe(key);
    }
    const emitted = new Set(rows.map(({ topic }) => topic));
    expect(Object.keys(topics).filter((topic) => !emitted.has(topic))).toEqual(notTriggered);
    const deadLetters = await store.database.query('select topic, reason from platform.dead_letters');
    expect(deadLetters).toEqual([]);
  });
});
