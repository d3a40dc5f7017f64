import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import trackUpdated from '../fixtures/carriers/shippo-track-updated.json' with { type: 'json' };
import { type FakeShippo, startFakeShippo } from '../support/carrier.ts';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { home, secret, shop } from '../support/shipping.ts';

describe('a carrier on the network', () => {
  let store: Store;
  let shippo: FakeShippo;
  let recordsAreLost = false;
  let recordsWait: Promise<undefined> | undefined;
  const { orderOf, free, confirmed, shipped, ship, historyOf, deadLettersOf, requestOf } = shop(() => store);
  beforeAll(async () => {
    shippo = await startFakeShippo();
    store = await startStore({
      variables: {
        CARRIER: 'shippo',
        SHIPPO_API_KEY: 'shippo_test',
        SHIPPO_WEBHOOK_SECRET: secret,
        SHIPPO_API_URL: shippo.url,
        SHIP_FROM: JSON.stringify({ ...home, name: 'Warehouse 2' }),
      },
      neonFault: ({ statements }) => {
        if (!statements.some(({ query }) => query.includes('shipping.record_labels'))) return undefined;
        return recordsAreLost ? { kind: 'lose-request' } : recordsWait;
      },
    });
    await addProduct(store, 'GIFT', 1_000, 0);
  });
  afterAll(async () => {
    await store.close();
    await shippo.close();
  });
  beforeEach(() => {
    shippo.purchaseOutcome = () => 'sell';
  });

  const soldTo = async (orderId: string) => {
    const [row] = await store.database.query<{ shipment_id: string }>(
      'select shipment_id from shipping.label_requests where order_id = $1',
      [orderId],
    );
    return shippo.sold.filter((id) => id === row?.shipment_id).length;
  };

  test('is called again after it was unavailable, and sells one label', async () => {
    let answers = 0;
    shippo.purchaseOutcome = () => (++answers <= 1 ? 'unavailable' : 'sell');
    const id = await free(home);
    expect(await shipped(id)).toMatchObject({ carrier: 'USPS', status: 'created' });
    expect(await soldTo(id)).toBe(1);
    expect(await requestOf(id)).toMatchObject({ status: 'made', attempts: 2, last_error: null });
    expect(await deadLettersOf(id)).toEqual([]);
  });

  test('that is unavailable makes a POST return 503, and the queue buys the label later', async () => {
    const id = await confirmed();
    let answers = 0;
    shippo.purchaseOutcome = () => (++answers <= 1 ? 'unavailable' : 'sell');
    const unavailable = await ship(id, home, 'again');
    expect([unavailable.status, unavailable.body.code]).toEqual([503, 'unavailable']);
    const shipment = await shipped(id);
    expect(await historyOf(id)).toContain('shipping.label.requested');
    expect((await ship(id, home, 'again')).body).toEqual(shipment);
    expect(await soldTo(id)).toBe(1);
  });

  test('that rejects one order still sells the labels of the others in the same batch', async () => {
    shippo.purchaseOutcome = ({ street1 }) => (street1 === 'Nowhere 1' ? 'reject' : 'sell');
    const ids = await Promise.all(
      Array.from({ length: 6 }, (_, n) => free(n === 2 ? { ...home, line1: 'Nowhere 1' } : home)),
    );
    await until(async () => (await deadLettersOf(ids[2] ?? '')).length === 1);
    for (const [n, id] of ids.entries()) {
      if (n === 2) expect((await orderOf(id)).shipment).toBeNull();
      else expect(await shipped(id)).toMatchObject({ orderId: id });
    }
  });

  test('that never recovers leads to a dead letter with the reason, whose replay buys the label', async () => {
    const id = await confirmed();
    shippo.purchaseOutcome = () => 'unavailable';
    await ship(id);
    await until(async () => ((await requestOf(id))?.attempts ?? 0) >= 2);
    await store.database.query(`update shipping.label_requests set attempts = 9 where order_id = $1`, [id]);
    await until(async () => (await deadLettersOf(id)).length === 1);
    const [deadLetter] = await deadLettersOf(id);
    expect(deadLetter).toMatchObject({ topic: 'shipping.label.requested', reason: expect.stringContaining('503') });
    expect(await requestOf(id)).toMatchObject({ status: 'refused', attempts: 10 });
    expect((await orderOf(id)).status).toBe('confirmed');
    await store.cron('* * * * *', new Date(Date.now() + 86_400_000));
    expect((await historyOf(id)).filter((type) => type === 'shipping.label.requested')).toHaveLength(1);
    shippo.purchaseOutcome = () => 'sell';
    await store.send('POST', `/v1/dead-letters/${deadLetter?.id}/replay`);
    expect(await shipped(id)).toMatchObject({ carrier: 'USPS' });
    expect(await soldTo(id)).toBe(1);
  });

  describe('for a parcel of some units', () => {
    const part = (orderId: string, quantity: number, key: string) => {
      const items = [{ lineId: '1', quantity }];
      return store.send('POST', '/v1/shipments', { orderId, items, address: home }, { idempotencyKey: key });
    };
    const threeUnits = async () => {
      const items = [{ sku: 'GIFT', quantity: 3 }];
      const { body } = await store.send('POST', '/v1/orders', { customerId: 'customer-1', items });
      await until(async () => (await orderOf(body.id)).status === 'confirmed');
      return body.id as string;
    };
    const fulfilled = async (id: string) => (await orderOf(id)).items[0].fulfilledQuantity;

    test('sells its label once, later through the queue, and a repetition gets that parcel', async () => {
      const id = await threeUnits();
      let answers = 0;
      shippo.purchaseOutcome = () => (++answers <= 1 ? 'unavailable' : 'sell');
      expect((await part(id, 1, `${id} a`)).status).toBe(503);
      const other = await part(id, 2, `${id} b`);
      expect([other.status, await fulfilled(id)]).toEqual([201, 3]);
      await until(async () => (await orderOf(id)).shipments.length === 2);
      const again = await part(id, 1, `${id} a`);
      expect([again.status, again.body.items]).toEqual([201, [{ lineId: '1', quantity: 1 }]]);
      const { shipments } = await orderOf(id);
      expect(shipments.map((each: { id: string }) => each.id).sort()).toEqual([again.body.id, other.body.id].sort());
      expect(shippo.sold.filter((sold) => [again.body.id, other.body.id].includes(sold))).toHaveLength(2);
    });

    test('rejects another parcel under an idempotency key whose label is not made yet', async () => {
      const id = await threeUnits();
      shippo.purchaseOutcome = () => 'unavailable';
      expect((await part(id, 1, `${id} a`)).status).toBe(503);
      await until(async () => (await requestOf(id))?.last_error !== null);
      const other = await part(id, 2, `${id} a`);
      expect([other.status, other.body.code]).toEqual([422, 'idempotency_key_reused']);
      shippo.purchaseOutcome = () => 'sell';
      await until(async () => (await orderOf(id)).shipments.length === 1);
      expect(await fulfilled(id)).toBe(1);
    });

    test('gives its units back once it is given up, and voids what the carrier may have sold', async () => {
      const id = await threeUnits();
      shippo.purchaseOutcome = () => 'unavailable';
      await part(id, 3, `${id} a`);
      await until(async () => ((await requestOf(id))?.attempts ?? 0) >= 2);
      await store.database.query(`update shipping.label_requests set attempts = 9 where order_id = $1`, [id]);
      await until(async () => (await deadLettersOf(id)).length === 1);
      expect([await requestOf(id), await fulfilled(id)]).toMatchObject([{ status: 'ended', attempts: 10 }, 0]);
      const voids = await store.database.query('select status from shipping.label_voids where order_id = $1', [id]);
      expect(voids).toEqual([{ status: 'open' }]);
      shippo.purchaseOutcome = () => 'sell';
      expect((await part(id, 3, `${id} b`)).status).toBe(201);
      // The parcel has been replaced, so its replay sends nothing.
      await store.send('POST', `/v1/dead-letters/${(await deadLettersOf(id))[0]?.id}/replay`);
      await store.settled();
      expect((await orderOf(id)).shipments).toHaveLength(1);
    });
  });

  test('whose rejection is recorded late does not end the lease of another request', async () => {
    const id = await confirmed();
    const recorded = Promise.withResolvers<undefined>();
    recordsWait = recorded.promise;
    const triedBefore = shippo.tried;
    shippo.purchaseOutcome = () => 'reject';
    const rejected = ship(id);
    await until(async () => shippo.tried > triedBefore);
    // The lease of the first request is over, and another request has leased the label.
    const lease = `update shipping.label_requests set leased_until = now() + interval '1 minute' where order_id = $1
      returning leased_until::text`;
    const [leased] = await store.database.query(lease, [id]);
    recordsWait = undefined;
    recorded.resolve(undefined);
    expect((await rejected).status).toBe(422);
    const [request] = await store.database.query(
      'select leased_until::text, status, last_error from shipping.label_requests where order_id = $1',
      [id],
    );
    expect(request).toEqual({ ...leased, status: 'open', last_error: null });
  });

  test('sells one label even if the Worker dies before it records the label', async () => {
    recordsAreLost = true;
    const id = await free(home);
    await until(() => store.logs().some((line) => line.service === 'shipping' && line.outcome === 'retry'));
    expect([await soldTo(id), (await orderOf(id)).shipment]).toEqual([1, null]);
    recordsAreLost = false;
    await store.database.query('update shipping.label_requests set leased_until = now() where order_id = $1', [id]);
    const { trackingNumber } = await shipped(id);
    expect([await soldTo(id), trackingNumber]).toEqual([1, expect.stringMatching(/^9200190306/)]);
  });

  test('is called once for concurrent requests, and all of them get the same label', async () => {
    const id = await confirmed();
    const called = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    shippo.purchaseOutcome = async () => {
      called.resolve();
      await go.promise;
      return 'sell' as const;
    };
    const before = shippo.tried;
    const first = ship(id);
    await called.promise;
    const laterRequests = [ship(id), ship(id)];
    setTimeout(() => go.resolve(), 300);
    const answers = await Promise.all([first, ...laterRequests]);
    expect(answers.map((answer) => answer.status)).toEqual([201, 201, 201]);
    expect(new Set(answers.map((answer) => answer.body.trackingNumber)).size).toBe(1);
    expect(shippo.tried - before).toBe(1);
  });

  test('sells a label that is voided if its order is cancelled meanwhile, and the request names the label', async () => {
    const called = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    shippo.purchaseOutcome = async () => {
      called.resolve();
      await go.promise;
      return 'sell' as const;
    };
    const id = await free(home);
    await called.promise;
    await store.send('POST', `/v1/orders/${id}/cancel`);
    go.resolve();
    await until(async () => (await requestOf(id))?.last_error !== null);
    expect((await requestOf(id))?.last_error).toMatch(/^The order was cancelled while its label was made: USPS 9200/);
    expect((await orderOf(id)).shipment).toBeNull();
    await store.cron();
    expect(shippo.voided.at(-1)).toBe(shippo.sold.at(-1));
    expect(await historyOf(id)).not.toContain('shipping.label.created');
  });

  test('is no longer called once the order is cancelled before its label', async () => {
    shippo.purchaseOutcome = () => 'unavailable';
    const id = await free(home);
    await until(async () => (await requestOf(id))?.last_error?.includes('503') ?? false);
    await store.send('POST', `/v1/orders/${id}/cancel`);
    shippo.purchaseOutcome = () => 'sell';
    await until(async () => (await requestOf(id))?.status === 'ended');
    expect(await soldTo(id)).toBe(0);
    expect(await deadLettersOf(id)).toEqual([]);
  });

  test('reports the parcel’s status in its own format', async () => {
    const id = await free(home);
    const { trackingNumber } = await shipped(id);
    const body = JSON.stringify({ ...trackUpdated, data: { ...trackUpdated.data, tracking_number: trackingNumber } });
    const send = (path: string) => store.send('POST', path, body, { key: null, idempotencyKey: null });
    expect((await send('/webhooks/shipping/shippo?token=guess')).body.code).toBe('invalid_signature');
    expect((await orderOf(id)).status).toBe('confirmed');
    expect((await send(`/webhooks/shipping/shippo?token=${secret}`)).status).toBe(200);
    expect(await orderOf(id)).toMatchObject({ status: 'shipped', shipment: { status: 'in_transit' } });
  });
});
