import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, oneLine, type Reply, type Store, startStore, until } from '../support/harness.ts';
import { addShopper, placeOrderOf } from '../support/shoppers.ts';

// `joiners: "new_customers"`: only customers without a paid order in this shop may join.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore();
  fixture = campaignFixture(store);
  await addProduct(store, 'GIFT', 1_000, 0);
  await addProduct(store, 'PAID', 1_000, 10);
});
afterAll(() => store.close());

const forNew = { joiners: 'new_customers' };
const setStatus = (orderId: string, status: string) =>
  store.database.query('update orders.orders set status = $2 where id = $1', [orderId, status]);
/** An order of this user with a status. */
async function addOrder(customerId: string, status: string) {
  const { id } = await placeOrderOf(store, customerId, 'PAID');
  await setStatus(id, status);
  return id;
}
const teamsOf = (size: number) => ({
  ...{ mode: 'teams', teamSize: size, teamSeconds: 3_600, minParticipants: undefined, maxParticipants: undefined },
});
const outcome = ({ status, body }: Reply) => (status < 300 ? status : body.code);

describe('a campaign for new customers', () => {
  test.each([
    ['confirmed', 'customer_not_eligible'],
    ['shipped', 'customer_not_eligible'],
    ['delivered', 'customer_not_eligible'],
    ['created', 201],
    ['failed', 201],
    ['cancelled', 201],
    ['refunded', 201],
  ])('gives a customer with an order that is %s the answer %s', async (status, expected) => {
    const campaign = await fixture.start(`NEW-${status}`, 10, forNew);
    await addOrder(`buyer-${status}`, status);
    expect(outcome(await fixture.join(campaign.id, `buyer-${status}`))).toBe(expected);
  });

  test('says why, and takes nothing', async () => {
    const campaign = await fixture.start('NEW-1', 10, forNew);
    await addOrder('old', 'confirmed');
    const { status, body } = await fixture.join(campaign.id, 'old');
    expect([status, body.code, body.detail]).toEqual([
      409,
      'customer_not_eligible',
      'Only customers without a paid order may join this campaign, and this customer has one.',
    ]);
    expect(await fixture.participants(campaign.id)).toEqual([]);
    expect(await fixture.stockOf('NEW-1')).toEqual({ quantity: 10, reserved: 0 });
    expect(outcome(await fixture.join(campaign.id, 'new'))).toBe(201);
  });

  test('counts an order among many that were never paid', async () => {
    const campaign = await fixture.start('NEW-2', 10, forNew);
    for (const status of ['created', 'failed', 'delivered', 'cancelled', 'failed']) await addOrder('busy', status);
    expect(outcome(await fixture.join(campaign.id, 'busy'))).toBe('customer_not_eligible');
  });

  test('knows only the orders of its own tenant', async () => {
    const campaign = await fixture.start('NEW-3', 10, forNew);
    const order = await addOrder('elsewhere', 'confirmed');
    await store.database.query(`update orders.orders set tenant_id = 'acme' where id = $1`, [order]);
    expect(outcome(await fixture.join(campaign.id, 'elsewhere'))).toBe(201);
  });

  test('lets anybody open a team, and only new customers join it', async () => {
    const campaign = await fixture.start('NEW-4', 10, { ...forNew, ...teamsOf(3) });
    for (const user of ['regular', 'regular-2']) await addOrder(user, 'delivered');
    const opened = await store.send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId: 'regular' });
    expect(opened.status).toBe(201);
    const { id, code } = opened.body.team;
    const refused = await store.send('POST', `/v1/teams/${id}/join`, { userId: 'regular-2' });
    expect([refused.status, refused.body.code]).toEqual([409, 'customer_not_eligible']);
    expect(refused.body.detail).toMatch(/They may open a team\.$/);
    const byCode = await store.send('POST', `/v1/teams/by-code/${code}/join`, { userId: 'regular-2' });
    expect(byCode.body.code).toBe('customer_not_eligible');
    expect(outcome(await store.send('POST', `/v1/teams/${id}/join`, { userId: 'fresh' }))).toBe(201);
    // A second join by the leader returns the place that the leader has.
    expect(outcome(await store.send('POST', `/v1/teams/${id}/join`, { userId: 'regular' }))).toBe(201);
  });

  test('keeps the place of a customer who pays for an order later', async () => {
    const campaign = await fixture.start('NEW-5', 10, forNew);
    const { body: place } = await fixture.join(campaign.id, 'later');
    await addOrder('later', 'confirmed');
    const again = await fixture.join(campaign.id, 'later');
    expect([again.status, again.body.id]).toEqual([201, place.id]);
    await fixture.leave(campaign.id, 'later');
    expect(outcome(await fixture.join(campaign.id, 'later'))).toBe('customer_not_eligible');
  });

  test('counts the place of another campaign once its order is paid', async () => {
    const before = await fixture.start('NEW-6', 10, { price: 0, minParticipants: 1 });
    expect(outcome(await fixture.join(before.id, 'group-buyer'))).toBe(201);
    await until(async () => (await fixture.statesOf(before.id))['group-buyer'] === 'charged');
    const campaign = await fixture.start('NEW-7', 10, forNew);
    expect(outcome(await fixture.join(campaign.id, 'group-buyer'))).toBe('customer_not_eligible');
  });

  test('asks about the customer of a session', async () => {
    const campaign = await fixture.start('NEW-8', 10, forNew);
    const [old, fresh] = [await addShopper(store.database), await addShopper(store.database)];
    await addOrder(old.id, 'confirmed');
    const join = (key: string) => store.send('POST', `/v1/campaigns/${campaign.id}/join`, {}, { key });
    expect(outcome(await join(old.session))).toBe('customer_not_eligible');
    expect(outcome(await join(fresh.session))).toBe(201);
  });

  test('does not take an e-mail address for an identity', async () => {
    const campaign = await fixture.start('NEW-9', 10, forNew);
    const { body } = await store.send(
      'POST',
      '/v1/orders',
      oneLine('GIFT', 1, { customerId: 'guest-1', email: 'ada@example.com' }),
    );
    await until(async () => (await store.send('GET', `/v1/orders/${body.id}`)).body.status === 'confirmed');
    expect(outcome(await fixture.join(campaign.id, 'guest-2', { email: 'ada@example.com' }))).toBe(201);
    expect(outcome(await fixture.join(campaign.id, 'guest-1'))).toBe('customer_not_eligible');
  });
});

test('a campaign for everybody does not ask', async () => {
  const campaign = await fixture.start('NEW-10', 10);
  await addOrder('anybody', 'delivered');
  expect(outcome(await fixture.join(campaign.id, 'anybody'))).toBe(201);
});
