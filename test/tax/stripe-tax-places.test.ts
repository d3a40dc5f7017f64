import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { addShippingOption } from '../support/carts.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';

const day = 86_400_000;
const shippingAddress = { name: 'Ada', line1: 'Hafen 4', city: 'Hamburg', postalCode: '20457', country: 'DE' };

let store: Store;
let shop: PaymentFixture;
let fixture: ReturnType<typeof campaignFixture>;
let shippingOptionId: string;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
  fixture = campaignFixture(store);
  shippingOptionId = await addShippingOption(store, 'DE', 5);
  const changed = await store.send('PATCH', '/v1/tenant', { taxProvider: 'stripe', pricesIncludeTax: false });
  expect(changed.status).toBe(200);
});
afterAll(() => store.close());

const inDays = (days: number) => new Date(Date.now() + days * day).toISOString();
const requestsTo = async (path: string): Promise<number> =>
  ((await shop.emulator('GET', 'requests')) as { requests: Record<string, number> }).requests[path] ?? 0;
const charged = (campaignId: string, user: string) =>
  until(async () => (await fixture.statesOf(campaignId))[user] === 'charged');
const calculationsOf = async (orderId: string) => {
  const [made] = await fixture.intentsOf([orderId]);
  const { hooks, amount_received } = await shop.stripe.paymentIntents.retrieve(made?.id ?? '');
  return { calculation: hooks?.inputs?.tax?.calculation, received: amount_received };
};

describe('a place in a campaign of a tenant with Stripe Tax', () => {
  test.each([
    ['holds', 1],
    ['saves a card for', 20],
  ] as const)(
    '%s the price with the tax that Stripe computes, and its order has the same amounts',
    async (_how, days) => {
      const campaign = await fixture.start(`PLACE-${days}`, 5, {
        endTime: inDays(days),
        minParticipants: 1,
        successOn: 'secured',
      });
      const joined = await fixture.join(campaign.id, 'ada', { shippingAddress, shippingOptionId });
      expect(joined.status, JSON.stringify(joined.body)).toBe(201);
      expect(joined.headers.get('server-timing')).toContain('2 calls');
      const amounts = { subtotal: 20, shippingTotal: 5, shippingTax: 0.95, taxTotal: 4.75, total: 29.75 };
      const taxLines = [{ name: 'VAT DE', rate: 19, taxable: 25, amount: 4.75 }];
      expect(joined.body).toMatchObject({ ...amounts, taxLines });
      await fixture.confirm(joined.body.orderId);
      await charged(campaign.id, 'ada');
      expect(await shop.orderOf(joined.body.orderId)).toMatchObject({ ...amounts, taxLines, status: 'confirmed' });
      const { calculation, received } = await calculationsOf(joined.body.orderId);
      expect(received).toBe(2_975);
      expect(await shop.stripe.tax.calculations.retrieve(calculation ?? '')).toMatchObject({ amount_total: 2_975 });
      await shop.quiet();
      await shop.audit();
    },
  );

  test('that joins a campaign which has succeeded is paid like an order, and names its calculation', async () => {
    const campaign = await fixture.start('SUCCEEDED', 5, { minParticipants: 1 });
    await fixture.join(campaign.id, 'ada', { shippingAddress });
    const { body: place } = await fixture.join(campaign.id, 'ben', { shippingAddress });
    expect(place).toMatchObject({ state: 'ordered', total: 23.8 });
    await fixture.confirm(place.orderId);
    await charged(campaign.id, 'ben');
    expect((await calculationsOf(place.orderId)).calculation).toMatch(/^taxcalc_/);
  });

  test('without an address is taxed in the tenant’s country', async () => {
    await store.send('PATCH', '/v1/tenant', { country: 'FR' });
    const campaign = await fixture.start('NO-ADDRESS', 5);
    const { body } = await fixture.join(campaign.id, 'ada');
    expect(body).toMatchObject({ taxTotal: 4, total: 24, taxLines: [{ name: 'VAT FR', rate: 20 }] });
  });

  test('is not taken while Stripe does not answer, and the same key takes it later, once', async () => {
    const campaign = await fixture.start('DOWN', 5);
    const stock = await fixture.stockOf(campaign.sku);
    await shop.fault({ times: 20, path: '/v1/tax', action: 'status', status: 503 });
    const idempotencyKey = randomUUID();
    const join = () =>
      store.send('POST', `/v1/campaigns/${campaign.id}/join`, { userId: 'ada', shippingAddress }, { idempotencyKey });
    const refused = await join();
    expect([refused.status, refused.body.code]).toEqual([503, 'unavailable']);
    expect(refused.body).not.toHaveProperty('taxQuestion');
    expect([await fixture.participants(campaign.id), await fixture.stockOf(campaign.sku)]).toEqual([[], stock]);
    await shop.clearFaults();
    const [first, again] = [await join(), await join()];
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.body.id).toBe(first.body.id);
    expect(await fixture.participants(campaign.id)).toHaveLength(1);
  });

  test('is not taken if Stripe knows no tax for its address, and says where', async () => {
    const campaign = await fixture.start('NOWHERE', 5);
    const address = { name: 'Ada', line1: '1 Main St', city: 'Seattle', state: 'WA', country: 'US' };
    const refused = await fixture.join(campaign.id, 'ada', { shippingAddress: address });
    expect([refused.status, refused.body.errors[0].pointer]).toEqual([422, '/shippingAddress']);
    expect(await fixture.participants(campaign.id)).toEqual([]);
  });

  test('of a full campaign and of a user who has one already do not ask Stripe', async () => {
    const campaign = await fixture.start('FULL', 5, { minParticipants: 1, maxParticipants: 1 });
    await fixture.join(campaign.id, 'ada', { shippingAddress });
    const before = await requestsTo('POST /v1/tax/calculations');
    expect((await fixture.join(campaign.id, 'ben', { shippingAddress })).body.code).toBe('campaign_full');
    expect((await fixture.join(campaign.id, 'ada', { shippingAddress })).status).toBe(201);
    expect(await requestsTo('POST /v1/tax/calculations')).toBe(before);
  });

  test('races for the last place: one buyer gets it, and Stripe’s answers to the others change nothing', async () => {
    const campaign = await fixture.start('LAST', 5, { minParticipants: 1, maxParticipants: 1 });
    const replies = await Promise.all(
      Array.from({ length: 8 }, (_, n) => fixture.join(campaign.id, `user-${n}`, { shippingAddress })),
    );
    expect(replies.map(({ status }) => status).sort()).toEqual([201, ...Array(7).fill(409)]);
    expect(await fixture.stockOf(campaign.sku)).toEqual({ quantity: 4, reserved: 1 });
  });

  test('is charged without its calculation once Stripe has forgotten it', async () => {
    const campaign = await fixture.start('LONG', 5, { endTime: inDays(120) });
    const { body: place } = await fixture.join(campaign.id, 'ada', { shippingAddress });
    await fixture.confirm(place.orderId);
    await until(async () => (await fixture.statesOf(campaign.id)).ada === 'secured');
    await store.database.query(
      `update payments.payments set created_at = created_at - interval '90 days' where payment_id = $1`,
      [place.paymentId],
    );
    await fixture.join(campaign.id, 'ben', { shippingAddress });
    await charged(campaign.id, 'ada');
    expect(await calculationsOf(place.orderId)).toEqual({ calculation: undefined, received: 2_380 });
  });
});
