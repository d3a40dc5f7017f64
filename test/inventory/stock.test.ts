import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, oneLine, type Reply, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const maximum = 1_000_000_000;
const outcome = (reply: Reply) => [reply.status, reply.body.code];
const read = (sku: string) => store.send('GET', `/v1/inventory/${sku}`);
const put = (sku: string, quantity: unknown, headers: Record<string, string> = {}) =>
  store.send('PUT', `/v1/inventory/${sku}`, { quantity }, { headers });
const adjust = (sku: string, delta: unknown, reason: unknown = 'counted') =>
  store.send('POST', `/v1/inventory/${sku}/adjustments`, { delta, reason });

/** The sum of the ledger, and the sum of the available, held and sold units. */
async function balance(sku: string) {
  const [row] = await store.database.query<{ ledger: number; there: number }>(
    `select (select coalesce(sum(delta), 0)::int from inventory.adjustments a where a.sku = $1 and a.tenant_id = 'default') as ledger,
       (select (i.quantity + i.reserved)::int from inventory.inventory i where i.sku = $1 and i.tenant_id = 'default')
       + (select coalesce(sum(s.n), 0)::int from inventory.reservations r, unnest(r.skus, r.quantities) s(sku, n)
          where r.tenant_id = 'default' and r.status = 'committed' and s.sku = $1) as there`,
    [sku],
  );
  return row;
}

describe('stock', () => {
  test('shows its available units, its held units and its version', async () => {
    await addProduct(store, 'SHOWN', 10);
    const first = await read('SHOWN');
    expect(first.body).toEqual({
      sku: 'SHOWN',
      quantity: 10,
      reserved: 0,
      version: 0,
      lowStockThreshold: null,
      updatedAt: expect.any(String),
    });
    await store.send('POST', '/v1/orders', oneLine('SHOWN', 4));
    const held = await read('SHOWN');
    expect(held.body).toMatchObject({ quantity: 6, reserved: 4, version: 1 });
    expect(held.body.updatedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(held.headers.get('etag')).not.toBe(first.headers.get('etag'));
    for (const path of ['/v1/inventory/NOTHING', '/v1/inventory/shown']) {
      expect(outcome(await store.send('GET', path))).toEqual([404, 'not_found']);
    }
  });

  test('is listed by SKU, page by page, each SKU once, also while it changes', async () => {
    const skus = Array.from({ length: 30 }, (_, n) => `LISTED-${String.fromCodePoint(0x21 + ((n * 7) % 90))}${n}`);
    const lines = skus.map((sku) => JSON.stringify({ sku, name: sku, price: 1, currency: 'USD', inventory: 1 }));
    const headers = { 'content-type': 'application/x-ndjson' };
    await store.send('POST', '/v1/products/import', lines.join('\n'), { headers });
    const seen: string[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await store.send('GET', `/v1/inventory?limit=8${cursor}`);
      seen.push(...body.data.map((row: { sku: string }) => row.sku));
      await adjust(encodeURIComponent(seen[0] ?? ''), 1);
      if (body.nextCursor === null) break;
      cursor = `&cursor=${body.nextCursor}`;
    }
    expect(seen.filter((sku) => sku.startsWith('LISTED-'))).toEqual(skus.toSorted());
    expect(new Set(seen).size).toBe(seen.length);
  });
});

describe('setting a count', () => {
  test('is absolute, keeps held units, and is recorded in the ledger', async () => {
    await addProduct(store, 'COUNTED', 10);
    await store.send('POST', '/v1/orders', oneLine('COUNTED', 4));
    const counted = await put('COUNTED', 50);
    expect(counted.status).toBe(200);
    expect(counted.body).toMatchObject({ quantity: 50, reserved: 4, version: 2 });
    expect((await put('COUNTED', 0)).body).toMatchObject({ quantity: 0, reserved: 4 });
    expect((await put('COUNTED', 0)).body).toMatchObject({ quantity: 0, version: 4 });
    const ledger = await store.database.query(
      `select delta, reason from inventory.adjustments where sku = 'COUNTED' order by created_at`,
    );
    expect(ledger).toEqual([
      { delta: 10, reason: 'opening' },
      { delta: 44, reason: 'count' },
      { delta: -50, reason: 'count' },
    ]);
  });

  test('with If-Match succeeds only if the stock has not changed since it was read', async () => {
    await addProduct(store, 'MATCHED', 10);
    const etag = (await read('MATCHED')).headers.get('etag') ?? '';
    await store.send('POST', '/v1/orders', oneLine('MATCHED'));
    for (const stale of [etag, `W/${etag}`, '"x"']) {
      expect(outcome(await put('MATCHED', 99, { 'if-match': stale }))).toEqual([412, 'version_mismatch']);
    }
    const fresh = (await read('MATCHED')).headers.get('etag') ?? '';
    expect((await put('MATCHED', 20, { 'if-match': `${etag}, ${fresh}` })).body.quantity).toBe(20);
    expect((await put('MATCHED', 30, { 'if-match': '*' })).body.quantity).toBe(30);
  });

  test('many times at once with one ETag succeeds once', async () => {
    await addProduct(store, 'RACED', 10);
    const headers = { 'if-match': (await read('RACED')).headers.get('etag') ?? '' };
    const replies = await Promise.all(Array.from({ length: 20 }, (_, n) => put('RACED', 100 + n, headers)));
    const won = replies.filter((reply) => reply.status === 200);
    expect(won).toHaveLength(1);
    expect((await read('RACED')).body.quantity).toBe(won[0]?.body.quantity);
  });

  test('needs a whole number from 0 to 1000000000, held units included', async () => {
    await addProduct(store, 'RANGE', 10);
    for (const quantity of [-1, 1.5, maximum + 1, 1e300, '5', null, true]) {
      expect(outcome(await put('RANGE', quantity))).toEqual([422, 'validation_failed']);
    }
    expect((await put('RANGE', maximum)).body.quantity).toBe(maximum);
    await put('RANGE', 10);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('RANGE', 10));
    const refused = await put('RANGE', maximum - 9);
    expect([...outcome(refused), refused.body.errors[0].pointer]).toEqual([422, 'validation_failed', '/quantity']);
    expect((await put('RANGE', maximum - 10)).status).toBe(200);
    // Held units always fit back, so that a release never fails.
    expect((await store.send('POST', `/v1/orders/${order.id}/cancel`)).status).toBe(200);
    expect((await read('RANGE')).body).toMatchObject({ quantity: maximum, reserved: 0 });
  });

  test('of an unknown SKU returns 404', async () => {
    expect(outcome(await put('NOBODY', 5))).toEqual([404, 'not_found']);
    expect(outcome(await adjust('NOBODY', 5))).toEqual([404, 'not_found']);
  });
});

describe('an adjustment', () => {
  test('adds or removes units, and returns the new quantity', async () => {
    await addProduct(store, 'ADJUSTED', 10);
    const more = await adjust('ADJUSTED', 5, 'found behind the shelf');
    expect([more.status, more.body.quantity, more.body.version]).toEqual([201, 15, 1]);
    expect((await adjust('ADJUSTED', -15)).body.quantity).toBe(0);
    expect((await read('ADJUSTED')).body).toMatchObject({ quantity: 0, version: 2 });
  });

  test('below zero is rejected with the shortage, whatever is held', async () => {
    await addProduct(store, 'SHORT', 10);
    await store.send('POST', '/v1/orders', oneLine('SHORT', 4));
    const refused = await adjust('SHORT', -7);
    expect(outcome(refused)).toEqual([409, 'insufficient_inventory']);
    expect(refused.body.shortages).toEqual([{ sku: 'SHORT', requested: 7, available: 6 }]);
    expect((await read('SHORT')).body).toMatchObject({ quantity: 6, reserved: 4, version: 1 });
    expect((await adjust('SHORT', -maximum)).body.code).toBe('insufficient_inventory');
    expect((await adjust('SHORT', -6)).body.quantity).toBe(0);
  });

  test('is a whole number other than 0, keeps the count within its limits, and has a reason', async () => {
    await addProduct(store, 'FORM', 10);
    for (const delta of [0, 1.5, maximum + 1, -maximum - 1, '1', null]) {
      expect(outcome(await adjust('FORM', delta))).toEqual([422, 'validation_failed']);
    }
    for (const reason of ['', null, 5, 'x'.repeat(256)]) {
      expect(outcome(await adjust('FORM', 1, reason))).toEqual([422, 'validation_failed']);
    }
    const over = await adjust('FORM', maximum);
    expect([...outcome(over), over.body.errors[0].pointer]).toEqual([422, 'validation_failed', '/delta']);
    await store.send('POST', '/v1/orders', oneLine('FORM', 3));
    expect(outcome(await adjust('FORM', maximum - 9))).toEqual([422, 'validation_failed']);
    expect((await adjust('FORM', maximum - 10)).body).toMatchObject({ quantity: maximum - 3, reserved: 3 });
  });

  test('made fifty times at once, up and down, is exact, and never goes below zero', async () => {
    await addProduct(store, 'FIFTY', 0);
    const replies = await Promise.all(Array.from({ length: 50 }, (_, n) => adjust('FIFTY', n % 2 ? -3 : 2)));
    const done = replies.flatMap((reply, n) => (reply.status === 201 ? [n % 2 ? -3 : 2] : []));
    for (const reply of replies) expect([201, 409]).toContain(reply.status);
    expect(replies.filter((_, n) => n % 2 === 0).map((reply) => reply.status)).toEqual(Array(25).fill(201));
    const { body } = await read('FIFTY');
    expect(body.quantity).toBe(done.reduce((sum: number, delta) => sum + delta, 0));
    expect(body.version).toBe(done.length);
    for (const reply of replies.filter((each) => each.status === 201)) {
      expect(reply.body.quantity).toBeGreaterThanOrEqual(0);
    }
  });
});

describe('the stock ledger', () => {
  test('adds up to the available, held and sold units after concurrent changes of every kind', async () => {
    for (const sku of ['LEDGER-A', 'LEDGER-B']) await addProduct(store, sku, 40);
    const items = [
      { sku: 'LEDGER-A', quantity: 2 },
      { sku: 'LEDGER-B', quantity: 1 },
    ];
    const place = async (n: number) => {
      const placed = await store.send('POST', '/v1/orders', { customerId: `c-${n}`, items });
      if (n % 3 === 0 && placed.status === 201) await store.send('POST', `/v1/orders/${placed.body.id}/cancel`);
      return placed.body.reservation?.expiresAt;
    };
    const renewed = JSON.stringify({ sku: 'LEDGER-B', inventory: 33 });
    const [ends] = await Promise.all([
      Promise.all(Array.from({ length: 30 }, (_, n) => place(n))),
      ...Array.from({ length: 10 }, (_, n) => adjust('LEDGER-A', n % 2 ? -4 : 3)),
      put('LEDGER-A', 25),
      store.send('POST', '/v1/products/import', renewed, { headers: { 'content-type': 'application/x-ndjson' } }),
    ]);
    for (const sku of ['LEDGER-A', 'LEDGER-B']) {
      const row = await balance(sku);
      expect([sku, row?.there]).toEqual([sku, row?.ledger]);
    }
    const end = ends
      .filter((at) => at !== undefined)
      .toSorted()
      .at(-1);
    // If an intent is being created while the hold ends, the next turn checks it.
    for (let turn = 0; (await read('LEDGER-A')).body.reserved + (await read('LEDGER-B')).body.reserved > 0; turn++) {
      await store.cron('* * * * *', new Date(Date.parse(end) + 1000 + turn * 60_000));
    }
    for (const sku of ['LEDGER-A', 'LEDGER-B']) {
      const row = await balance(sku);
      expect([sku, row?.there]).toEqual([sku, row?.ledger]);
      expect((await read(sku)).body.reserved).toBe(0);
    }
  });

  test('can only be appended to', async () => {
    const [may] = await store.database.query(
      `select has_table_privilege('fusion_inventory', 'inventory.adjustments', 'UPDATE, DELETE, TRUNCATE') as may`,
    );
    expect(may).toEqual({ may: false });
  });
});
