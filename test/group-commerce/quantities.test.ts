import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Reply, type Store, startStore, until } from '../support/harness.ts';
import { home } from '../support/shipping.ts';
import { addVariants } from '../support/variants.ts';

// A place may have several units, of one of the campaign's SKUs. All units are paid, held, sold and put back together.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  fixture = campaignFixture(store);
});
afterAll(() => store.close());
afterEach(async () => {
  await store.database.query('delete from orders.tax_rates');
  await store.database.query('delete from orders.shipping_options');
});

const teamsOf = (size: number) => ({
  ...{ mode: 'teams', teamSize: size, teamSeconds: 3_600, minParticipants: undefined, maxParticipants: undefined },
});
const open = (campaignId: string, userId: string, more: object = {}) =>
  store.send('POST', `/v1/campaigns/${campaignId}/teams`, { userId, ...more });
const orderOf = async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body;
const stateOf = async (campaignId: string, userId: string) => (await fixture.statesOf(campaignId))[userId];
/** A campaign that two places make successful, with the place of `buyer` charged. */
async function charge(sku: string, stock: number, quantity: number, more: Record<string, unknown> = {}) {
  const campaign = await fixture.start(sku, stock, more);
  await fixture.join(campaign.id, 'other');
  const { status, body: place } = await fixture.join(campaign.id, 'buyer', { quantity });
  expect(status).toBe(201);
  await until(async () => (await stateOf(campaign.id, 'buyer')) === 'ordered');
  await fixture.confirm(place.orderId);
  await until(async () => (await stateOf(campaign.id, 'buyer')) === 'charged');
  await store.settled();
  return { campaign, place: place as Reply['body'] };
}

describe('a place with several units', () => {
  test('costs their price, and holds them until it is left', async () => {
    const campaign = await fixture.start('Q-1', 10);
    const { status, body } = await fixture.join(campaign.id, 'a', { quantity: 3 });
    expect([status, body.quantity, body.sku, body.subtotal, body.total]).toEqual([201, 3, 'Q-1', 60, 60]);
    const payments = await store.database.query('select amount from payments.payments where order_id = $1', [
      body.orderId,
    ]);
    expect(payments).toEqual([{ amount: '60.00' }]);
    expect(await fixture.stockOf('Q-1')).toEqual({ quantity: 7, reserved: 3 });
    const again = await fixture.join(campaign.id, 'a', { quantity: 5 });
    expect([again.status, again.body.id, again.body.quantity]).toEqual([201, body.id, 3]);
    const left = await fixture.leave(campaign.id, 'a');
    expect([left.body.state, left.body.quantity]).toEqual(['released', 3]);
    expect(await fixture.stockOf('Q-1')).toEqual({ quantity: 10, reserved: 0 });
  });

  test('counts its units while its money is secured', async () => {
    const campaign = await fixture.start('Q-2', 10);
    const { body } = await fixture.join(campaign.id, 'a', { quantity: 4 });
    expect(await fixture.read(campaign.id)).toMatchObject({ securedUnits: 0, securedParticipants: 0 });
    await fixture.confirm(body.orderId);
    await until(async () => (await fixture.read(campaign.id)).securedParticipants === 1);
    expect(await fixture.read(campaign.id)).toMatchObject({ securedUnits: 4, actualParticipants: 1 });
    await fixture.leave(campaign.id, 'a');
    expect(await fixture.read(campaign.id)).toMatchObject({ securedUnits: 0, securedParticipants: 0 });
  });

  test('is freed with all its units if its money is not secured in time', async () => {
    const campaign = await fixture.start('Q-3', 10);
    await fixture.join(campaign.id, 'a', { quantity: 4 });
    await store.database.query(
      `update group_commerce.participants set secure_by = now() - interval '1 second' where campaign_id = $1`,
      [campaign.id],
    );
    await until(async () => {
      await store.cron();
      return (await stateOf(campaign.id, 'a')) === 'released';
    });
    expect(await fixture.stockOf('Q-3')).toEqual({ quantity: 10, reserved: 0 });
  });

  test('is charged for all its units, and its order has them', async () => {
    const { place, campaign } = await charge('Q-4', 10, 3);
    const order = await orderOf(place.orderId);
    expect(order).toMatchObject({ status: 'confirmed', total: 60, subtotal: 60 });
    expect(order.items).toMatchObject([{ sku: 'Q-4', quantity: 3, price: 20 }]);
    const [intent] = await fixture.intentsOf([place.orderId]);
    expect(intent).toMatchObject({ status: 'succeeded', amount_received: 6_000 });
    expect(await fixture.stockOf('Q-4')).toEqual({ quantity: 6, reserved: 1 }); // one unit of the other place
    expect(await fixture.read(campaign.id)).toMatchObject({ securedUnits: 3, status: 'successful' });
  });

  test('is freed by a refund in full, with all its units', async () => {
    const { place, campaign } = await charge('Q-5', 10, 3);
    const refund = await store.send('POST', `/v1/payments/${place.paymentId}/refunds`, { restock: true });
    expect([refund.status, refund.body.amount]).toEqual([201, 60]);
    await until(async () => (await stateOf(campaign.id, 'buyer')) === 'released');
    expect(await fixture.stockOf('Q-5')).toEqual({ quantity: 9, reserved: 1 });
    expect(await fixture.read(campaign.id)).toMatchObject({ securedUnits: 0, actualParticipants: 1 });
  });

  test('stays while some of its units are refunded, and is freed with the last', async () => {
    const { place, campaign } = await charge('Q-6', 10, 3);
    const refund = (quantity: number) =>
      store.send('POST', `/v1/orders/${place.orderId}/refunds`, { items: [{ lineId: '1', quantity }] });
    expect((await refund(1)).body.amount).toBe(20);
    await store.settled();
    expect(await stateOf(campaign.id, 'buyer')).toBe('charged');
    expect(await fixture.stockOf('Q-6')).toEqual({ quantity: 7, reserved: 1 });
    expect(await fixture.read(campaign.id)).toMatchObject({ securedUnits: 3 });
    expect((await refund(2)).body.amount).toBe(40);
    await until(async () => (await stateOf(campaign.id, 'buyer')) === 'released');
    expect(await fixture.stockOf('Q-6')).toEqual({ quantity: 9, reserved: 1 });
    expect(await orderOf(place.orderId)).toMatchObject({ status: 'refunded' });
  });

  test('can be returned in part, and sent in two parcels', async () => {
    const { place } = await charge('Q-7', 10, 3);
    await store.database.query('update orders.orders set shipping_address = $2 where id = $1', [
      place.orderId,
      JSON.stringify(home),
    ]);
    const send = (quantity: number) =>
      store.send('POST', '/v1/shipments', { orderId: place.orderId, items: [{ lineId: '1', quantity }] });
    expect((await send(2)).status).toBeLessThan(300);
    expect((await send(2)).status).toBe(409); // one is left
    expect((await send(1)).status).toBeLessThan(300);
    await until(async () => (await orderOf(place.orderId)).shipments?.length === 2);
    const back = await store.send('POST', `/v1/orders/${place.orderId}/returns`, {
      items: [{ lineId: '1', quantity: 2 }],
    });
    expect(back.status).toBe(201);
    const received = await store.send('POST', `/v1/returns/${back.body.id}/receive`, {
      items: [{ lineId: '1', quantity: 2, restock: true }],
    });
    expect(received.status).toBe(200);
    await store.settled();
    expect(await fixture.stockOf('Q-7')).toEqual({ quantity: 8, reserved: 1 });
    expect((await fixture.intentsOf([place.orderId])).length).toBe(1);
  });

  test('is taxed and shipped for all its units', async () => {
    await store.database.query(
      `update platform.tenants set country = 'DE', prices_include_tax = false where id = 'default'`,
    );
    await store.database.query(
      `insert into orders.tax_rates (id, tenant_id, name, country, rate, created_at, updated_at)
       values ('rate', 'default', 'VAT', 'DE', 19, now(), now())`,
    );
    await store.database.query(
      `insert into orders.shipping_options (id, tenant_id, name, countries, currency, price, min_weight, max_weight, created_at, updated_at)
       values ('10000000-0000-7000-8000-000000000001', 'default', 'Letter', '{DE}', 'USD', 2, 0, 1000, now(), now()),
         ('10000000-0000-7000-8000-000000000002', 'default', 'Parcel', '{DE}', 'USD', 5, 1001, null, now(), now())`,
    );
    const campaign = await fixture.start('Q-8', 10);
    await store.database.query(`update catalog.products set weight = 400 where sku = 'Q-8'`);
    const shippingAddress = { ...home, country: 'DE' };
    const letter = { shippingAddress, shippingOptionId: '10000000-0000-7000-8000-000000000001' };
    const parcel = { shippingAddress, shippingOptionId: '10000000-0000-7000-8000-000000000002' };
    const heavy = await fixture.join(campaign.id, 'a', { ...letter, quantity: 3 });
    expect([heavy.status, heavy.body.errors?.[0].pointer]).toEqual([422, '/shippingOptionId']);
    const three = await fixture.join(campaign.id, 'a', { ...parcel, quantity: 3 });
    expect(three.body).toMatchObject({ subtotal: 60, shippingTotal: 5, taxTotal: 12.35, total: 77.35, quantity: 3 });
    const two = await fixture.join(campaign.id, 'b', { ...letter, quantity: 2 });
    expect(two.body).toMatchObject({ subtotal: 40, shippingTotal: 2, taxTotal: 7.98, total: 49.98, quantity: 2 });
    await until(async () => (await stateOf(campaign.id, 'b')) === 'ordered');
    const order = await orderOf(three.body.orderId);
    expect(order).toMatchObject({ subtotal: 60, shippingTotal: 5, taxTotal: 12.35, total: 77.35 });
    expect(order.items).toMatchObject([{ sku: 'Q-8', quantity: 3, price: 20, tax: 11.4, total: 71.4 }]);
  });

  test('takes all its units or none', async () => {
    const campaign = await fixture.start('Q-9', 4);
    const { status, body } = await fixture.join(campaign.id, 'a', { quantity: 5 });
    expect([status, body.code]).toEqual([409, 'insufficient_inventory']);
    expect(body.shortages).toEqual([{ sku: 'Q-9', requested: 5, available: 4 }]);
    expect(await fixture.stockOf('Q-9')).toEqual({ quantity: 4, reserved: 0 });
    expect(await fixture.read(campaign.id)).toMatchObject({ actualParticipants: 0 });
    const races = await Promise.all([1, 2, 3, 4].map((n) => fixture.join(campaign.id, `u${n}`, { quantity: 3 })));
    expect(races.map((reply) => reply.status).sort()).toEqual([201, 409, 409, 409]);
    expect(await fixture.stockOf('Q-9')).toEqual({ quantity: 1, reserved: 3 });
  });

  test('cannot cost more than Stripe charges, and is a whole number of units', async () => {
    const campaign = await fixture.start('Q-10', 1_000_000);
    const { status, body } = await fixture.join(campaign.id, 'a', { quantity: 100_000 });
    expect([status, body.errors]).toEqual([
      422,
      [{ pointer: '/quantity', detail: '2000000.00 USD is too much: Stripe charges 999999.99 USD at most.' }],
    ]);
    for (const quantity of [0, -1, 1.5, '2', 1_000_001]) {
      const wrong = await fixture.join(campaign.id, 'a', { quantity });
      expect([wrong.status, wrong.body.errors?.map((fault: { pointer: string }) => fault.pointer)]).toEqual([
        422,
        ['/quantity'],
      ]);
    }
    expect(await fixture.participants(campaign.id)).toEqual([]);
  });

  test('that is free counts as secured at once', async () => {
    const campaign = await fixture.start('Q-11', 10, { price: 0, minParticipants: 3, successOn: 'secured' });
    const { body } = await fixture.join(campaign.id, 'a', { quantity: 3 });
    expect(body).toMatchObject({ total: 0, state: 'secured', quantity: 3 });
    expect(await fixture.read(campaign.id)).toMatchObject({ securedUnits: 3 });
    await fixture.leave(campaign.id, 'a');
    expect(await fixture.read(campaign.id)).toMatchObject({ securedUnits: 0 });
  });

  test('is released with all its units if the campaign is cancelled', async () => {
    const campaign = await fixture.start('Q-12', 10);
    await fixture.join(campaign.id, 'a', { quantity: 7 });
    await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
    await until(async () => (await stateOf(campaign.id, 'a')) === 'released');
    expect(await fixture.stockOf('Q-12')).toEqual({ quantity: 10, reserved: 0 });
  });
});

describe('a place in a campaign with several SKUs', () => {
  const start = async (prefix: string, more: object = {}) => {
    const [productId] = await addVariants(store, 10, { [`${prefix}-M`]: {}, [`${prefix}-L`]: {} });
    const { status, body } = await store.send('POST', '/v1/campaigns', {
      ...{ productId, skus: [`${prefix}-M`, `${prefix}-L`], minParticipants: 2, maxParticipants: 10, price: 20 },
      startTime: new Date(Date.now() - 60_000).toISOString(),
      endTime: new Date(Date.now() + 86_400_000).toISOString(),
      ...more,
    });
    expect(status).toBe(201);
    return body as { id: string };
  };

  test('names one of them, and holds its stock only', async () => {
    const campaign = await start('V1');
    const faults = async (more: object) => {
      const { status, body } = await fixture.join(campaign.id, 'a', { ...more });
      return [status, body.errors];
    };
    expect(await faults({})).toEqual([422, [{ pointer: '/sku', detail: 'is required: one of V1-M, V1-L' }]]);
    expect(await faults({ sku: 'V1-S', invitedBy: 'a' })).toEqual([
      422,
      [
        { pointer: '/sku', detail: 'is not sold in this campaign: use one of V1-M, V1-L' },
        { pointer: '/invitedBy', detail: 'must be another user' },
      ],
    ]);
    const { status, body } = await fixture.join(campaign.id, 'a', { sku: 'V1-L', quantity: 2 });
    expect([status, body.sku, body.quantity, body.subtotal]).toEqual([201, 'V1-L', 2, 40]);
    expect(await fixture.stockOf('V1-L')).toEqual({ quantity: 8, reserved: 2 });
    expect(await fixture.stockOf('V1-M')).toEqual({ quantity: 10, reserved: 0 });
    const listed = await store.send('GET', `/v1/campaigns/${campaign.id}/participants`);
    expect(listed.body.data).toMatchObject([{ sku: 'V1-L', quantity: 2, subtotal: 40 }]);
  });

  test('has an order of its SKU', async () => {
    const campaign = await start('V2');
    await fixture.join(campaign.id, 'a', { sku: 'V2-M' });
    const { body } = await fixture.join(campaign.id, 'b', { sku: 'V2-L', quantity: 2 });
    await until(async () => (await stateOf(campaign.id, 'b')) === 'ordered');
    expect((await orderOf(body.orderId)).items).toMatchObject([{ sku: 'V2-L', quantity: 2, price: 20 }]);
  });

  test('is not sold once its product is archived', async () => {
    const campaign = await start('V3');
    await store.database.query(`update catalog.products set status = 'archived' where sku = 'V3-L'`);
    const { status, body } = await fixture.join(campaign.id, 'a', { sku: 'V3-L' });
    expect([status, body.errors]).toEqual([
      422,
      [{ pointer: '/sku', detail: 'is no longer for sale: use another SKU of this campaign' }],
    ]);
    expect((await fixture.join(campaign.id, 'a', { sku: 'V3-M' })).status).toBe(201);
  });

  test('in a team is opened, joined and left with its own SKU and units', async () => {
    const campaign = await start('V4', { ...teamsOf(2), minParticipants: undefined, maxParticipants: undefined });
    const opened = await open(campaign.id, 'a', { sku: 'V4-M', quantity: 2 });
    expect(opened.body.participant).toMatchObject({ sku: 'V4-M', quantity: 2, subtotal: 40, total: 40 });
    const { id } = opened.body.team;
    const short = await store.send('POST', `/v1/teams/${id}/join`, { userId: 'b', sku: 'V4-L', quantity: 11 });
    expect(short.body).toMatchObject({ code: 'insufficient_inventory', shortages: [{ sku: 'V4-L', available: 10 }] });
    const left = await store.send('POST', `/v1/teams/${id}/leave`, { userId: 'a' });
    expect(left.status).toBe(200);
    expect(await fixture.stockOf('V4-M')).toEqual({ quantity: 10, reserved: 0 });
  });

  test('shows the stock of each SKU afresh once the campaign is cancelled', async () => {
    const campaign = await start('V5');
    await fixture.join(campaign.id, 'a', { sku: 'V5-L', quantity: 10 });
    const shown = async () => (await store.send('GET', '/v1/inventory/V5-L')).body.quantity;
    expect(await shown()).toBe(0);
    await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
    await until(async () => (await shown()) === 10);
  });
});
