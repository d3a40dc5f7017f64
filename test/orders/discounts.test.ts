import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { discount as discountSchema } from '../../src/domain/orders/discounts.ts';
import { addProduct, oneLine, type Reply, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const pointers = (reply: Reply) => reply.body.errors?.map((error: { pointer: string }) => error.pointer);
let codes = 0;
const newCode = () => `CODE-${++codes}`;
const fields = (more: Record<string, unknown> = {}) => ({
  ...{ code: newCode(), name: 'Sale', type: 'percentage', value: 10 },
  ...more,
});
const post = (more: Record<string, unknown> = {}) => store.send('POST', '/v1/discounts', fields(more));
const read = (id: string, key?: string) => store.send('GET', `/v1/discounts/${id}`, undefined, key ? { key } : {});
const patch = (id: string, body: unknown, headers: Record<string, string> = {}) =>
  store.send('PATCH', `/v1/discounts/${id}`, body, { headers });
const remove = (id: string, headers: Record<string, string> = {}) =>
  store.send('DELETE', `/v1/discounts/${id}`, undefined, { headers });
const order = (sku: string, code: string, more: Record<string, unknown> = {}) =>
  store.send('POST', '/v1/orders', oneLine(sku, 1, { discountCodes: [code], ...more }));
/** The counters of a discount as they are stored: of all orders, and of each customer. */
const countersOf = async (id: string) => {
  const [counter] = await store.database.query<{ used: number }>(
    'select used from orders.discount_counters where discount_id = $1',
    [id],
  );
  const customers = await store.database.query<{ used: number }>(
    'select used from orders.discount_customers where discount_id = $1 order by used',
    [id],
  );
  return { all: counter?.used, customers: customers.map((row) => row.used) };
};

describe('a discount', () => {
  test('is returned as every read shows it, with its Location', async () => {
    const made = await post({ startsAt: '2026-01-31T13:00:00+01:00', usageLimit: 5, minSubtotal: 20, currency: 'USD' });
    expect(made.status, JSON.stringify(made.body)).toBe(201);
    expect(Object.keys(made.body)).toEqual(Object.keys(discountSchema.shape));
    expect(made.body).toMatchObject({
      ...{ startsAt: '2026-01-31T12:00:00.000Z', endsAt: null, usageLimit: 5, used: 0, minSubtotal: 20 },
      ...{ combinable: false, skus: null, collections: null, perCustomerLimit: null },
    });
    expect(made.headers.get('location')).toBe(`/v1/discounts/${made.body.id}`);
    const got = await read(made.body.id);
    expect(got.body).toEqual(made.body);
    expect(got.headers.get('etag')).toBe(made.headers.get('etag'));
    expect((await store.send('GET', '/v1/discounts?limit=1')).body.data).toEqual([made.body]);
  });

  test('of free shipping needs no value, and one without a code has none', async () => {
    const made = await store.send('POST', '/v1/discounts', {
      name: 'Free',
      type: 'free_shipping',
      endsAt: '2020-01-01T00:00:00Z',
    });
    expect(made.body).toMatchObject({ code: null, value: 0, currency: null, used: null });
  });

  test.each([
    ['a percentage of 0', { value: 0 }, ['/value']],
    ['a percentage above 100', { value: 100.01 }, ['/value']],
    ['a percentage with three decimals', { value: 1.005 }, ['/value']],
    ['no percentage', { value: undefined }, ['/value']],
    ['an amount of 0', { type: 'amount', value: 0, currency: 'USD' }, ['/value']],
    ['an amount without a currency', { type: 'amount', value: 5 }, ['/currency']],
    ['an amount with decimals that its currency lacks', { type: 'amount', value: 5.5, currency: 'JPY' }, ['/value']],
    ['free shipping that has a value', { type: 'free_shipping', value: 5 }, ['/value']],
    ['a smallest subtotal without a currency', { minSubtotal: 5 }, ['/currency']],
    ['a smallest subtotal with too many decimals', { minSubtotal: 5.5, currency: 'JPY' }, ['/minSubtotal']],
    ['an end before its start', { startsAt: '2026-02-01T00:00:00Z', endsAt: '2026-02-01T00:00:00Z' }, ['/endsAt']],
    ['an unknown collection', { collections: ['019ab3f0-0000-7000-8000-000000000000'] }, ['/collections/0']],
    ['a SKU twice', { skus: ['A', 'A'] }, ['/skus']],
    ['no SKUs', { skus: [] }, ['/skus']],
    ['a limit of 0', { usageLimit: 0, perCustomerLimit: 0 }, ['/usageLimit', '/perCustomerLimit']],
  ])('with %s is rejected', async (_, more, expected) => {
    const reply = await post(more);
    expect([outcome(reply), pointers(reply)]).toEqual([[422, 'validation_failed'], expected]);
  });

  test('changes only the fields of the request, and only in the version that If-Match names', async () => {
    const { body: collection } = await store.send('POST', '/v1/collections', { name: 'Summer' });
    const made = await post({ collections: [collection.id], skus: ['A'], usageLimit: 3 });
    const etag = made.headers.get('etag') ?? '';
    const { id } = made.body;
    const renamed = await patch(id, { name: 'Winter' }, { 'if-match': etag });
    expect(renamed.body).toEqual({ ...made.body, name: 'Winter', updatedAt: renamed.body.updatedAt });
    expect(outcome(await patch(id, { name: 'Spring' }, { 'if-match': etag }))).toEqual([412, 'version_mismatch']);
    expect(outcome(await remove(id, { 'if-match': etag }))).toEqual([412, 'version_mismatch']);
    expect((await patch(id, { skus: null, usageLimit: null })).body).toMatchObject({ skus: null, usageLimit: null });
    expect(pointers(await patch(id, { type: 'amount' }))).toEqual(['/currency']);
    expect(pointers(await patch(id, { type: 'free_shipping' }))).toEqual(['/value']);
    expect((await patch(id, { type: 'amount', value: 5, currency: 'USD' })).body).toMatchObject({
      type: 'amount',
      value: 5,
    });
    expect(outcome(await patch(id, {}))).toEqual([422, 'validation_failed']);
    // A collection that is deleted later does not stop other changes.
    await store.send('DELETE', `/v1/collections/${collection.id}`);
    expect((await patch(id, { name: 'Autumn' })).status).toBe(200);
    expect(pointers(await patch(id, { collections: [collection.id] }))).toEqual(['/collections/0']);
  });

  test('has a code that no other has, whatever its case, until it is deleted', async () => {
    const { body: first } = await post({ code: 'Straße-Ünique' });
    expect(outcome(await post({ code: 'straße-ünique' }))).toEqual([409, 'conflict']);
    const { body: second } = await post();
    expect(outcome(await patch(second.id, { code: 'STRAßE-ÜNIQUE' }))).toEqual([409, 'conflict']);
    expect((await patch(first.id, { code: 'straße-ünique' })).status).toBe(200);
    expect((await remove(first.id)).status).toBe(204);
    for (const gone of [await read(first.id), await patch(first.id, { name: 'x' }), await remove(first.id)])
      expect(outcome(gone)).toEqual([404, 'not_found']);
    expect((await patch(second.id, { code: 'STRAßE-ÜNIQUE' })).status).toBe(200);
    const made = await Promise.all(Array.from({ length: 8 }, () => post({ code: 'RACE' })));
    expect(made.map((reply) => reply.status).sort()).toEqual([201, ...Array(7).fill(409)]);
  });

  test('is found by its code and is listed newest first, a page at a time, without deleted ones', async () => {
    const ids = [];
    for (let n = 0; n < 5; n++) ids.unshift((await post({ code: `List-${n}` })).body.id);
    await remove(ids[2]);
    ids.splice(2, 1);
    const seen = [];
    let path = '/v1/discounts?limit=3';
    while (seen.length < 4) {
      const { body } = await store.send('GET', path);
      seen.push(...body.data.map((row: { id: string }) => row.id));
      path = `/v1/discounts?limit=3&cursor=${body.nextCursor}`;
    }
    expect(seen.slice(0, 4)).toEqual(ids);
    const found = await store.send('GET', '/v1/discounts?code=lIST-1');
    expect(found.body.data.map((row: { code: string }) => row.code)).toEqual(['List-1']);
    expect((await store.send('GET', '/v1/discounts?code=none')).body.data).toEqual([]);
  });

  test("belongs to its tenant: another tenant's collections and discounts are not there", async () => {
    const key = await store.database.key({ tenant: 'acme' });
    const { body } = await post();
    expect(outcome(await read(body.id, key))).toEqual([404, 'not_found']);
    const { body: collection } = await store.send('POST', '/v1/collections', { name: 'Theirs' }, { key });
    expect(pointers(await post({ collections: [collection.id] }))).toEqual(['/collections/0']);
    expect((await store.send('POST', '/v1/discounts', fields({ code: body.code }), { key })).status).toBe(201);
  });
});

describe('a limit', () => {
  test('that is added starts from the uses that are taken, and one that is removed leaves no counter', async () => {
    const { sku } = await addProduct(store, 'LIMITS', 1_000);
    const { body: made } = await post({ usageLimit: 10 });
    const orders = [];
    for (const email of ['a@example.com', 'a@example.com', 'b@example.com', 'c@example.com'])
      orders.push((await order(sku, made.code, { email })).body);
    await store.send('POST', `/v1/orders/${orders[3].id}/cancel`, {});
    expect((await read(made.id)).body.used).toBe(3);
    expect(await countersOf(made.id)).toEqual({ all: 3, customers: [] });
    await patch(made.id, { perCustomerLimit: 2 });
    expect(await countersOf(made.id)).toEqual({ all: 3, customers: [0, 1, 2] });
    expect(outcome(await order(sku, made.code, { email: 'A@example.com' }))).toEqual([422, 'discount_invalid']);
    expect((await patch(made.id, { usageLimit: null })).body.used).toBeNull();
    expect(await countersOf(made.id)).toEqual({ all: undefined, customers: [0, 1, 2] });
    await order(sku, made.code, { email: 'b@example.com' });
    expect((await patch(made.id, { usageLimit: 4, perCustomerLimit: null })).body.used).toBe(4);
    expect(await countersOf(made.id)).toEqual({ all: 4, customers: [] });
    expect(outcome(await order(sku, made.code))).toEqual([422, 'discount_invalid']);
  });

  test('below the uses that are taken only ends further uses', async () => {
    const { sku } = await addProduct(store, 'LOWER', 1_000);
    const { body: made } = await post({ usageLimit: 10 });
    const placed = [await order(sku, made.code), await order(sku, made.code), await order(sku, made.code)];
    expect((await patch(made.id, { usageLimit: 1 })).body).toMatchObject({ usageLimit: 1, used: 3 });
    expect(outcome(await order(sku, made.code))).toEqual([422, 'discount_invalid']);
    for (const { body } of placed) await store.send('POST', `/v1/orders/${body.id}/cancel`, {});
    expect((await read(made.id)).body.used).toBe(0);
    expect((await order(sku, made.code)).status).toBe(201);
  });

  test('of a deleted discount still counts its orders', async () => {
    const { sku } = await addProduct(store, 'DELETED', 1_000);
    const { body: made } = await post({ usageLimit: 10, perCustomerLimit: 3 });
    const { body: placed } = await order(sku, made.code);
    await remove(made.id);
    expect(outcome(await order(sku, made.code))).toEqual([422, 'discount_invalid']);
    expect(await countersOf(made.id)).toEqual({ all: 1, customers: [1] });
    await store.send('POST', `/v1/orders/${placed.id}/cancel`, {});
    expect(await countersOf(made.id)).toEqual({ all: 0, customers: [0] });
    expect((await store.send('GET', `/v1/orders/${placed.id}`)).body.discounts).toMatchObject([
      { id: made.id, amount: 1 },
    ]);
  });
});
