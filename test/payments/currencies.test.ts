import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chargeable, decimalsOf } from '../../src/base/currencies.ts';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';

let store: Store;
let shop: PaymentFixture;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
});
afterAll(() => store.close());

const iso = [...new Set([...Intl.supportedValuesOf('currency'), ...chargeable.keys(), 'ZZZ'])].sort();

const faults = (body: { errors?: { pointer: string; detail: string }[] }) => body.errors ?? [];

/** Places an order at a quoted price. */
const quote = (sku: string, price: number, quantity = 1) =>
  store.send('POST', '/v1/orders', { customerId: 'ada', pricing: 'quoted', items: [{ sku, quantity, price }] });

test('the database and the Worker have the same table of currencies', async () => {
  const rows = await store.database.query<{
    code: string;
    decimals: number;
    limits: { least: number; most: number } | null;
  }>(
    `select code, platform.currency_decimals(code) as decimals, platform.charge_limits(code) as limits
     from unnest($1::varchar[]) code`,
    [iso],
  );
  expect(rows).toEqual(
    iso.map((code) => {
      const limits = chargeable.get(code);
      return {
        code,
        decimals: decimalsOf(code),
        limits: limits === undefined ? null : { least: limits.least, most: limits.most },
      };
    }),
  );
});

test('the limits of a charge are inlined, so a check calls no function for them', async () => {
  const plan = await store.database.query<{ 'QUERY PLAN': string }>(
    `explain (verbose, costs off) select platform.is_currency(code), platform.least_charge(code),
       platform.most_charge(code) from unnest(array['JPY']::varchar[]) code`,
  );
  const lines = plan.map((row) => row['QUERY PLAN']).join();
  expect(lines).toContain('JPY');
  expect(lines).not.toContain('platform.');
});

describe('every accepted total can be paid:', () => {
  const codes = [...chargeable.keys()];
  const size = 16;
  const batches = Array.from({ length: Math.ceil(codes.length / size) }, (_, n) =>
    codes.slice(n * size, (n + 1) * size),
  );

  /** Pays orders with the smallest and the largest total. One step beyond each, the order is rejected. */
  async function payIn(currency: string) {
    const { least = 0, most = 0, decimals = 2 } = chargeable.get(currency) ?? {};
    const step = decimals === 0 ? 1 : 0.01;
    await addProduct(store, `IN-${currency}`, 9, least, { currency });
    for (const total of [Number((least - step).toFixed(2)), Number((most + step).toFixed(2))]) {
      const { status, body } = await quote(`IN-${currency}`, total);
      const expected = total === 0 ? [201, undefined] : [422, 'validation_failed'];
      expect([currency, total, status, body.code]).toEqual([currency, total, ...expected]);
    }
    for (const total of [least, most]) {
      const { status, body: order } = await quote(`IN-${currency}`, total);
      expect([currency, total, status]).toEqual([currency, total, 201]);
      const { body: payment } = await store.send('POST', '/v1/payments', { orderId: order.id });
      expect((await shop.pay(payment.stripePaymentIntentId))?.status).toBe('succeeded');
      await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
    }
  }

  test.each(batches.map((batch) => [batch.join(' '), batch] as const))('%s', { timeout: 120_000 }, async (_, batch) => {
    await Promise.all(batch.map(payIn));
  });
});

describe('an order with a total that Stripe cannot charge', () => {
  test('is rejected with the amount and the limit, and reserves nothing', async () => {
    await addProduct(store, 'CHEAP', 100, 0.1, { currency: 'EUR' });
    const refused = await store.send('POST', '/v1/orders', {
      customerId: 'ada',
      items: [{ sku: 'CHEAP', quantity: 4 }],
    });
    expect([refused.status, refused.body.code]).toEqual([422, 'validation_failed']);
    expect(faults(refused.body)).toEqual([
      { pointer: '/items', detail: '0.40 EUR is too little: Stripe charges 0.50 EUR or more.' },
    ]);
    expect(await shop.stockOf('CHEAP')).toEqual({ quantity: 100, reserved: 0 });
    const taken = await store.send('POST', '/v1/orders', { customerId: 'ada', items: [{ sku: 'CHEAP', quantity: 5 }] });
    expect([taken.status, taken.body.total]).toEqual([201, 0.5]);
  });

  test('is also rejected with merged lines, and with respond-async', async () => {
    await addProduct(store, 'PAIR', 100, 0.1, { currency: 'EUR' });
    const items = [
      { sku: 'PAIR', quantity: 1, price: 0.05 },
      { sku: 'PAIR', quantity: 1, price: 0.1 },
    ];
    const merged = await store.send('POST', '/v1/orders', { customerId: 'ada', pricing: 'quoted', items });
    expect(faults(merged.body)[0]?.detail).toMatch('0.15 EUR is too little');
    const later = await store.send(
      'POST',
      '/v1/orders',
      { customerId: 'ada', items: [{ sku: 'PAIR', quantity: 1 }] },
      { headers: { prefer: 'respond-async' } },
    );
    expect(later.status).toBe(422);
  });

  test('because it is 0 is confirmed without a charge', async () => {
    await addProduct(store, 'GIFT', 3, 0, { currency: 'EUR' });
    const { body } = await quote('GIFT', 0);
    await until(async () => (await shop.orderOf(body.id)).status === 'confirmed');
  });

  test('because it is above the largest charge is rejected', async () => {
    await addProduct(store, 'HOUSE', 3, 600_000);
    const { status, body } = await store.send('POST', '/v1/orders', {
      customerId: 'ada',
      items: [{ sku: 'HOUSE', quantity: 2 }],
    });
    expect(status).toBe(422);
    expect(faults(body)[0]?.detail).toBe('1200000.00 USD is too much: Stripe charges 999999.99 USD at most.');
  });
});

describe('a currency that Stripe cannot charge', () => {
  test.each(['IQD', 'LYD', 'MRU', 'CUP', 'XAU', 'ZZZ', 'CLF'])('%s is rejected for a product', async (currency) => {
    const made = { sku: `NO-${currency}`, name: 'n', price: 10, currency, inventory: 1 };
    const { status, body } = await store.send('POST', '/v1/products', made);
    expect([status, body.code, faults(body)[0]?.pointer]).toEqual([422, 'validation_failed', '/currency']);
    const product = await addProduct(store, `PATCH-${currency}`, 1);
    const changed = await store.send('PATCH', `/v1/products/${product.id}`, { currency });
    expect([changed.status, faults(changed.body)[0]?.pointer]).toEqual([422, '/currency']);
    const line = JSON.stringify({ ...made, sku: `LINE-${currency}` });
    const good = JSON.stringify({ sku: `GOOD-${currency}`, name: 'n', price: 10, currency: 'USD', inventory: 1 });
    const report = await store.send('POST', '/v1/products/import', `${line}\n${good}\n`, {
      headers: { 'content-type': 'application/x-ndjson' },
    });
    expect(report.body).toMatchObject({ created: 1, rejected: [{ line: 1, code: 'validation_failed' }] });
    expect(report.body.rejected[0].detail).toMatch('currency');
  });

  test('is reported when an existing product’s price is set or it is ordered, and its other fields can be changed', async () => {
    const product = await addProduct(store, 'OLD-IQD', 5);
    await store.database.query(`update catalog.products set currency = 'IQD' where id = $1`, [product.id]);
    const priced = await store.send('PATCH', `/v1/products/${product.id}`, { price: 5 });
    expect(faults(priced.body)).toEqual([{ pointer: '/currency', detail: 'Stripe cannot charge IQD.' }]);
    const line = (more: object) =>
      store.send('POST', '/v1/products/import', `${JSON.stringify({ sku: 'OLD-IQD', ...more })}\n`, {
        headers: { 'content-type': 'application/x-ndjson' },
      });
    expect((await line({ price: 5 })).body.rejected[0].detail).toBe('Stripe cannot charge IQD.');
    expect((await line({ name: 'Renamed' })).body.updated).toBe(1);
    expect((await store.send('PATCH', `/v1/products/${product.id}`, { status: 'active', name: 'Again' })).status).toBe(
      200,
    );
    const { status, body } = await quote('OLD-IQD', 10);
    expect([status, faults(body)[0]?.detail]).toEqual([422, 'Stripe cannot charge IQD.']);
    expect((await quote('OLD-IQD', 0)).status).toBe(201);
  });
});

test('amounts of MGA, ISK and UGX must be whole units in every request', async () => {
  for (const currency of ['MGA', 'ISK', 'UGX']) {
    const made = { sku: `PART-${currency}`, name: 'n', price: 10.5, currency, inventory: 1 };
    const { status, body } = await store.send('POST', '/v1/products', made);
    expect([status, faults(body)[0]?.pointer]).toEqual([422, '/price']);
    await addProduct(store, `WHOLE-${currency}`, 5, 1000, { currency });
    expect((await quote(`WHOLE-${currency}`, 999.5)).status).toBe(422);
  }
});

describe('a campaign, in which every place is one unit,', () => {
  const campaign = (productId: string, price: number) =>
    store.send('POST', '/v1/campaigns', {
      productId,
      minParticipants: 2,
      maxParticipants: 5,
      price,
      startTime: new Date(Date.now() - 60_000).toISOString(),
      endTime: new Date(Date.now() + 86_400_000).toISOString(),
    });

  test('is rejected if its price is too low to be charged', async () => {
    const product = await addProduct(store, 'GROUP', 5, 20, { currency: 'EUR' });
    const { status, body } = await campaign(product.id, 0.1);
    expect([status, faults(body)]).toEqual([
      422,
      [{ pointer: '/price', detail: '0.10 EUR is too little: Stripe charges 0.50 EUR or more.' }],
    ]);
    expect((await campaign(product.id, 0.5)).status).toBe(201);
    expect((await campaign(product.id, 0)).status).toBe(201);
  });

  test('is rejected above the largest charge, and in a currency that cannot be charged', async () => {
    const dear = await addProduct(store, 'GROUP-DEAR', 5, 2_000_000);
    expect(faults((await campaign(dear.id, 1_000_000)).body)[0]?.pointer).toBe('/price');
    const old = await addProduct(store, 'GROUP-IQD', 5, 20);
    await store.database.query(`update catalog.products set currency = 'IQD' where id = $1`, [old.id]);
    expect(faults((await campaign(old.id, 10)).body)[0]?.detail).toBe('Stripe cannot charge IQD.');
  });
});
