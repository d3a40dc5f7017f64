import { afterAll, beforeAll, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

const size = 2_000;

/** Calls `work` with each number from 0 to `count` - 1, twelve at a time. */
async function forEachNumber(count: number, work: (n: number) => Promise<unknown>) {
  let next = 0;
  const worker = async () => {
    for (let n = next++; n < count; n = next++) await work(n);
  };
  await Promise.all(Array.from({ length: 12 }, worker));
}

test('a campaign of 2,000 participants settles, and the database and Stripe agree on every one of them', async () => {
  const stock = size + 100;
  const campaign = await fixture.start('GRAND', stock, { minParticipants: size, maxParticipants: size });
  const orders: string[] = [];
  await forEachNumber(size - 1, async (n) => {
    const { status, body } = await fixture.join(campaign.id, `user-${n}`);
    expect(status).toBe(201);
    orders[n] = body.orderId;
  });
  await until(async () => {
    const [missing] = await store.database.query<{ n: number }>(
      'select count(*)::int as n from payments.payments where client_secret is null',
    );
    return missing?.n === 0;
  });
  const secrets = await store.database.query<{ order_id: string; client_secret: string }>(
    'select order_id, client_secret from payments.payments',
  );
  // Every 50th buyer never confirms. Such a buyer gets an order with a grace period, and loses it when that ends.
  const unconfirmed = new Set(orders.filter((_, n) => n % 50 === 0));
  const buyers = secrets.filter((row) => !unconfirmed.has(row.order_id));
  await forEachNumber(buyers.length, (n) => fixture.confirmSecret(buyers[n]?.client_secret ?? '', 'pm_card_visa'));
  await until(async () => (await fixture.read(campaign.id)).securedParticipants === buyers.length);
  expect((await fixture.read(campaign.id)).status).toBe('active');

  const { body: last } = await fixture.join(campaign.id, 'the-last');
  await fixture.confirm(last.orderId);
  const countInState = async (state: string) =>
    (await fixture.participants(campaign.id)).filter((place) => place.state === state).length;
  await until(async () => (await countInState('charged')) === buyers.length + 1);
  await store.settled();
  const settled = await fixture.audit(campaign, stock);
  expect([settled.orders.length, settled.charged.length, settled.taken.length]).toEqual([
    size,
    size - unconfirmed.size,
    size - unconfirmed.size,
  ]);
  expect(settled.taken.every((intent) => intent.amount_received === 2_000)).toBe(true);

  await store.cron('* * * * *', new Date(Date.now() + 901_000));
  await until(async () => (await countInState('released')) === unconfirmed.size);
  await store.settled();
  await until(async () => {
    const intents = await fixture.intentsOf([...unconfirmed]);
    return intents.every((intent) => intent.status === 'canceled');
  });
  const ended = await fixture.audit(campaign, stock);
  expect([ended.status, ended.live.length]).toEqual(['successful', size - unconfirmed.size]);
  expect(await fixture.stockOf('GRAND')).toEqual({ quantity: stock - size + unconfirmed.size, reserved: 0 });
  const deadLetters = await store.database.query('select from platform.dead_letters');
  expect(deadLetters).toEqual([]);
}, 600_000);
