import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { shippingOption as optionSchema } from '../../src/domain/orders/shipping-options.ts';
import { addProduct, type Reply, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const pointers = (reply: Reply) => reply.body.errors?.map((error: { pointer: string }) => error.pointer);
const fields = (more: Record<string, unknown> = {}) => ({
  ...{ name: 'Standard', countries: ['FR', 'DE'], currency: 'USD', price: 5 },
  ...more,
});
const post = (more: Record<string, unknown> = {}) => store.send('POST', '/v1/shipping-options', fields(more));
const read = (id: string, key?: string) =>
  store.send('GET', `/v1/shipping-options/${id}`, undefined, key ? { key } : {});
const patch = (id: string, body: unknown, headers: Record<string, string> = {}) =>
  store.send('PATCH', `/v1/shipping-options/${id}`, body, { headers });
const remove = (id: string, headers: Record<string, string> = {}) =>
  store.send('DELETE', `/v1/shipping-options/${id}`, undefined, { headers });
const home = (country: string) => ({ name: 'Ada', line1: 'Rue 1', city: 'Paris', postalCode: '75001', country });
const order = (sku: string, quantity: number, shippingOptionId: string, country = 'FR') =>
  store.send('POST', '/v1/orders', {
    ...{ customerId: 'c', items: [{ sku, quantity }], shippingOptionId, shippingAddress: home(country) },
  });

describe('a shipping option', () => {
  test('is returned as every read shows it, with its Location', async () => {
    const made = await post({
      freeFrom: 50,
      minWeight: 0,
      maxWeight: 1_000,
      minDays: 1,
      maxDays: 3,
      taxCategory: 'post',
    });
    expect(made.status, JSON.stringify(made.body)).toBe(201);
    expect(Object.keys(made.body)).toEqual(Object.keys(optionSchema.shape));
    expect(made.body).toMatchObject({
      ...fields(),
      freeFrom: 50,
      minWeight: 0,
      maxWeight: 1_000,
      minDays: 1,
      maxDays: 3,
    });
    expect(made.headers.get('location')).toBe(`/v1/shipping-options/${made.body.id}`);
    const got = await read(made.body.id);
    expect(got.body).toEqual(made.body);
    expect(got.headers.get('etag')).toBe(made.headers.get('etag'));
    expect((await store.send('GET', '/v1/shipping-options?limit=1')).body.data).toEqual([made.body]);
  });

  test.each([
    ['no country', { countries: [] }, ['/countries']],
    ['a country twice', { countries: ['FR', 'FR'] }, ['/countries']],
    ['an unknown country', { countries: ['FR', 'XX'] }, ['/countries/1']],
    ['decimals that its currency lacks', { currency: 'JPY', price: 5.5, freeFrom: 0.5 }, ['/freeFrom', '/price']],
    ['a maximum weight below the minimum', { minWeight: 2, maxWeight: 1 }, ['/maxWeight']],
    ['a maximum of days below the minimum', { minDays: 2, maxDays: 1 }, ['/maxDays']],
    ['a negative price', { price: -1 }, ['/price']],
  ])('with %s is rejected', async (_, more, expected) => {
    const reply = await post(more);
    expect([outcome(reply), pointers(reply)]).toEqual([[422, 'validation_failed'], expected]);
  });

  test('changes only the fields of the request, and only in the version that If-Match names', async () => {
    const made = await post({ minDays: 2, maxDays: 4 });
    const etag = made.headers.get('etag') ?? '';
    const { id } = made.body;
    const changed = await patch(id, { price: 6 }, { 'if-match': etag });
    expect(changed.body).toEqual({ ...made.body, price: 6, updatedAt: changed.body.updatedAt });
    expect(outcome(await patch(id, { price: 7 }, { 'if-match': etag }))).toEqual([412, 'version_mismatch']);
    expect(outcome(await remove(id, { 'if-match': etag }))).toEqual([412, 'version_mismatch']);
    expect(pointers(await patch(id, { maxDays: 1 }))).toEqual(['/maxDays']);
    expect((await patch(id, { minDays: null, maxDays: 1 })).body).toMatchObject({ minDays: null, maxDays: 1 });
    expect(outcome(await patch(id, {}))).toEqual([422, 'validation_failed']);
    expect((await remove(id)).status).toBe(204);
    for (const gone of [await read(id), await patch(id, { price: 1 }), await remove(id)])
      expect(outcome(gone)).toEqual([404, 'not_found']);
  });

  test('is not there for another tenant, nor with a key without its scope', async () => {
    const { body } = await post();
    expect(outcome(await read(body.id, await store.database.key({ tenant: 'acme' })))).toEqual([404, 'not_found']);
    expect(outcome(await read(body.id, await store.database.key({ kind: 'publishable' })))).toEqual([403, 'forbidden']);
  });
});

describe('an order with a shipping option', () => {
  test('pays its price, or nothing from a subtotal on, and keeps its name', async () => {
    const { sku } = await addProduct(store, 'FREE-FROM', 100, 10);
    const { body: option } = await post({ freeFrom: 30 });
    const paid = await order(sku, 2, option.id);
    expect(paid.body).toMatchObject({
      ...{ subtotal: 20, shippingTotal: 5, total: 25, shippingOption: { id: option.id, name: 'Standard' } },
    });
    expect((await order(sku, 3, option.id)).body).toMatchObject({ subtotal: 30, shippingTotal: 0, total: 30 });
    await patch(option.id, { name: 'Express', price: 9 });
    await remove(option.id);
    const { body: kept } = await store.send('GET', `/v1/orders/${paid.body.id}`);
    expect([kept.shippingOption, kept.shippingTotal]).toEqual([{ id: option.id, name: 'Standard' }, 5]);
  });

  test('is rejected if the option is not offered for its country, currency or weight, or is gone', async () => {
    const { sku } = await addProduct(store, 'HEAVY', 100, 10, { weight: 500 });
    const notOffered = (reply: Reply) =>
      expect([outcome(reply), reply.body.errors]).toEqual([
        [422, 'validation_failed'],
        [{ pointer: '/shippingOptionId', detail: 'is not offered for this address, currency and weight' }],
      ]);
    const { body: light } = await post({ maxWeight: 1_000 });
    const { body: heavy } = await post({ minWeight: 1_001, price: 20 });
    const { body: other } = await post({ currency: 'EUR' });
    expect((await order(sku, 2, light.id)).body.shippingTotal).toBe(5);
    expect((await order(sku, 3, heavy.id)).body.shippingTotal).toBe(20);
    notOffered(await order(sku, 3, light.id));
    notOffered(await order(sku, 2, heavy.id));
    notOffered(await order(sku, 1, light.id, 'US'));
    notOffered(await order(sku, 1, other.id));
    await remove(light.id);
    notOffered(await order(sku, 2, light.id));
  });
});
