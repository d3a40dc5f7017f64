import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, cronUntil, type Store, startStore, until } from '../support/harness.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000', DATABASE_DEADLINE_MS: '60000' } });
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

const soon = () => new Date(Date.now() + 3_600_000).toISOString();

describe('a campaign', () => {
  test('shows its product, its price and its places', async () => {
    const product = await addProduct(store, 'SHOWN', 5, 30);
    const wanted = { productId: product.id, minParticipants: 2, maxParticipants: 5, price: 19.99 };
    const times = { startTime: '2026-01-31T12:00:00.000Z', endTime: '2099-02-28T12:00:00.000Z' };
    const made = await store.send('POST', '/v1/campaigns', { ...wanted, ...times });
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({
      ...wanted,
      ...times,
      sku: 'SHOWN',
      currency: 'USD',
      originalPrice: 30,
      actualParticipants: 0,
      status: 'active',
      successOn: 'joined',
    });
    const { id } = made.body;
    const read = await store.send('GET', `/v1/campaigns/${id}`, undefined, {
      key: await store.database.key({ kind: 'publishable' }),
    });
    expect(read.body).toEqual(made.body);
    const headers = { 'if-none-match': read.headers.get('etag') ?? '' };
    expect((await store.send('GET', `/v1/campaigns/${id}`, undefined, { headers })).status).toBe(304);
    const listed = await store.send('GET', '/v1/campaigns?status=active');
    expect(listed.body.data.map((campaign: { id: string }) => campaign.id)).toContain(id);
    expect((await store.send('GET', '/v1/campaigns?status=failed')).body.data).toEqual([]);
    const other = { key: await store.database.key({ tenant: 'acme' }) };
    expect((await store.send('GET', `/v1/campaigns/${id}`, undefined, other)).status).toBe(404);
  });

  test('is rejected if its numbers are invalid', async () => {
    const { id: productId } = await addProduct(store, 'MISFIT', 5, 30);
    const fitting = {
      productId,
      minParticipants: 2,
      maxParticipants: 5,
      price: 20,
      startTime: soon(),
      endTime: soon(),
    };
    const later = new Date(Date.now() + 7_200_000).toISOString();
    const cases: [string, Record<string, unknown>][] = [
      ['/maxParticipants', { minParticipants: 6, endTime: later }],
      ['/endTime', { endTime: '2020-01-01T00:00:00.000Z' }],
      ['/price', { price: 30.01, endTime: later }],
      ['/price', { price: 20, originalPrice: 19.99, endTime: later }],
      ['/productId', { productId: randomUUID(), endTime: later }],
    ];
    for (const [pointer, wrong] of cases) {
      const { status, body } = await store.send('POST', '/v1/campaigns', { ...fitting, ...wrong });
      expect([status, body.code, body.errors?.[0]?.pointer]).toEqual([422, 'validation_failed', pointer]);
    }
  });

  test('cannot be joined with a publishable key, which cannot list its participants either', async () => {
    const campaign = await fixture.start('PUBLIC', 5);
    const key = await store.database.key({ kind: 'publishable' });
    expect((await store.send('POST', `/v1/campaigns/${campaign.id}/join`, { userId: 'u' }, { key })).status).toBe(403);
    const list = await store.send('GET', `/v1/campaigns/${campaign.id}/participants`, undefined, { key });
    expect(list.status).toBe(403);
  });
});

describe('joining a campaign', () => {
  test('200 times at once with 50 places gives 50 users a place and a unit, and the campaign succeeds once', async () => {
    const campaign = await fixture.start('RUSH', 100, { minParticipants: 40, maxParticipants: 50 });
    const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => fixture.join(campaign.id, `user-${n}`)));
    expect(answers.filter((answer) => answer.status === 201)).toHaveLength(50);
    const refused = answers.filter((answer) => answer.status === 409).map((answer) => answer.body.code);
    expect(refused).toEqual(Array(150).fill('campaign_full'));
    await store.settled();
    const { status, live } = await fixture.audit(campaign, 100);
    expect([status, live.length]).toEqual(['successful', 50]);
    expect((await fixture.eventsOf(campaign.id)).filter((topic) => topic === 'joined')).toHaveLength(50);
  });

  test('makes one call to the database', async () => {
    const campaign = await fixture.start('ONECALL', 5);
    const joined = await fixture.join(campaign.id, 'user-1');
    expect(joined.headers.get('server-timing')).toMatch(/desc="1 calls"/);
    const full = await fixture.join((await fixture.start('NOCALL', 0)).id, 'user-1');
    expect(full.body.code).toBe('insufficient_inventory');
    expect(full.headers.get('server-timing')).toMatch(/desc="1 calls"/);
  });

  test.each([1, 2, 10])('many times at once, and once more, gives a user one place, of %i', async (maxParticipants) => {
    const sku = `TWICE-${maxParticipants}`;
    const campaign = await fixture.start(sku, 10, { minParticipants: 1, maxParticipants, successOn: 'secured' });
    // All have read that there are places before the first of them takes one.
    const other = new pg.Client(store.database.url);
    await other.connect();
    await other.query('begin');
    await other.query('select from group_commerce.group_commerce_campaigns where id = $1 for update', [campaign.id]);
    const joins = Array.from({ length: 10 }, () => fixture.join(campaign.id, 'user-1'));
    await until(async () => {
      const [row] = await store.database.query<{ joins: number }>(
        `select count(*)::int as joins from pg_stat_activity
         where usename = 'fusion_worker' and datname = current_database() and wait_event_type = 'Lock'`,
      );
      return row?.joins === joins.length;
    });
    await other.end();
    const answers = await Promise.all(joins);
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
    expect(answers.map((answer) => answer.status)).toEqual(Array(10).fill(201));
    expect((await fixture.join(campaign.id, 'user-1')).body.id).toBe(answers[0]?.body.id);
    expect((await fixture.read(campaign.id)).actualParticipants).toBe(1);
    expect(await fixture.stockOf(sku)).toEqual({ quantity: 9, reserved: 1 });
  });

  test('without stock changes nothing: no place, no payment, no event', async () => {
    const campaign = await fixture.start('SHORT', 1, { minParticipants: 2 });
    await fixture.join(campaign.id, 'user-1');
    const refused = await fixture.join(campaign.id, 'user-2');
    expect([refused.status, refused.body.code]).toEqual([409, 'insufficient_inventory']);
    expect(refused.body.shortages).toEqual([{ sku: 'SHORT', requested: 1, available: 0 }]);
    expect(await fixture.read(campaign.id)).toMatchObject({ actualParticipants: 1, status: 'active' });
    expect(await fixture.participants(campaign.id)).toHaveLength(1);
    expect(await fixture.eventsOf(campaign.id)).toEqual(['created', 'joined']);
    const payments = await store.database.query('select from payments.payments where campaign_id = $1', [campaign.id]);
    expect(payments).toHaveLength(1);
  });

  test('is rejected before the start and after the end by the database’s clock, even before a cron has run', async () => {
    const early = await fixture.start('EARLY', 5, {
      startTime: soon(),
      endTime: new Date(Date.now() + 9e6).toISOString(),
    });
    const over = await fixture.start('OVER', 5);
    await store.database.query(
      `update group_commerce.group_commerce_campaigns set end_time = now() - interval '1 second' where id = $1`,
      [over.id],
    );
    for (const campaign of [early, over]) {
      const refused = await fixture.join(campaign.id, 'user-1');
      expect([refused.status, refused.body.code]).toEqual([409, 'campaign_not_open']);
      expect(await fixture.read(campaign.id)).toMatchObject({ status: 'active', actualParticipants: 0 });
    }
  });

  test('is rejected once the product is archived, and places taken before stay valid', async () => {
    const campaign = await fixture.start('ARCHIVED', 5);
    const { body: place } = await fixture.join(campaign.id, 'early');
    await store.send('DELETE', `/v1/products/${campaign.productId}`);
    const late = await fixture.join(campaign.id, 'late');
    expect([late.status, late.body.code, late.body.detail]).toEqual([
      409,
      'campaign_not_open',
      'The product of this campaign is archived.',
    ]);
    expect((await fixture.join(campaign.id, 'early')).body.id).toBe(place.id);
    expect((await fixture.read(campaign.id)).actualParticipants).toBe(1);
    await store.send('PATCH', `/v1/products/${campaign.productId}`, { status: 'active' });
    expect((await fixture.join(campaign.id, 'late')).status).toBe(201);
  });

  test('is impossible after its end, because a campaign in the past is not created', async () => {
    const { productId } = await fixture.start('BYGONE', 5);
    const [startTime, endTime] = [2, 1].map((hours) => new Date(Date.now() - hours * 3_600_000).toISOString());
    const numbers = { productId, minParticipants: 2, maxParticipants: 10, price: 20, startTime, endTime };
    const { status, body } = await store.send('POST', '/v1/campaigns', numbers);
    expect([status, body.errors]).toEqual([422, [{ pointer: '/endTime', detail: 'must be in the future' }]]);
  });

  test('with the same Idempotency-Key returns the first response again', async () => {
    const campaign = await fixture.start('REPLAY', 5);
    const options = { idempotencyKey: randomUUID() };
    const path = `/v1/campaigns/${campaign.id}/join`;
    const first = await store.send('POST', path, { userId: 'user-1' }, options);
    const again = await store.send('POST', path, { userId: 'user-1' }, options);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect((await store.send('POST', path, { userId: 'x' }, { idempotencyKey: null })).body.code).toBe(
      'idempotency_key_required',
    );
  });
});

describe('a campaign without success', () => {
  test('releases the place, the unit and the money of a user who leaves', async () => {
    const campaign = await fixture.start('LEAVE', 5, { minParticipants: 3 });
    const { body: place } = await fixture.join(campaign.id, 'user-1');
    const payment = await fixture.confirm(place.orderId);
    await until(async () => (await fixture.statesOf(campaign.id))['user-1'] === 'secured');
    const left = await fixture.leave(campaign.id, 'user-1');
    expect(left.body).toMatchObject({ state: 'released', reason: 'left' });
    expect((await fixture.leave(campaign.id, 'user-1')).body).toEqual(left.body);
    expect((await fixture.leave(campaign.id, 'nobody')).status).toBe(404);
    expect(await fixture.stockOf('LEAVE')).toEqual({ quantity: 5, reserved: 0 });
    expect(await fixture.read(campaign.id)).toMatchObject({ actualParticipants: 0, securedParticipants: 0 });
    const { stripePaymentIntentId: intent } = payment;
    await until(async () => (await fixture.stripe.paymentIntents.retrieve(intent)).status === 'canceled');
    expect((await store.send('GET', `/v1/payments/${payment.id}`)).body.status).toBe('cancelled');
    // The same user can join again.
    expect((await fixture.join(campaign.id, 'user-1')).body.state).toBe('joined');
  });

  test('is no longer possible after success: nobody can leave and nothing can be cancelled', async () => {
    const campaign = await fixture.start('STAY', 5, { minParticipants: 1 });
    await fixture.join(campaign.id, 'user-1');
    expect((await fixture.leave(campaign.id, 'user-1')).body.code).toBe('campaign_not_open');
    expect((await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`)).body.code).toBe('conflict');
  });

  test.each(['failed', 'expired'])('that has %s releases every hold on money and stock', async (ending) => {
    const sku = `END-${ending}`;
    const campaign = await fixture.start(sku, 10, { minParticipants: 5 });
    const users = ['user-1', 'user-2', 'user-3'];
    const places = await Promise.all(users.map(async (user) => (await fixture.join(campaign.id, user)).body));
    const payments = await Promise.all(places.slice(0, 2).map((place) => fixture.confirm(place.orderId)));
    await until(async () => (await fixture.read(campaign.id)).securedParticipants === 2);
    if (ending === 'failed') {
      const cancelled = await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
      expect(cancelled.body).toMatchObject({ status: 'failed', actualParticipants: 3 });
      expect((await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`)).body.status).toBe('failed');
    } else {
      // Only this campaign ends: a cron with tomorrow’s time would also end the campaigns of other tests.
      await store.database.query(`update group_commerce.group_commerce_campaigns set end_time = now() where id = $1`, [
        campaign.id,
      ]);
      await store.cron();
    }
    expect((await fixture.join(campaign.id, 'user-9')).body.code).toBe('campaign_not_open');
    // A cron run has a time limit. On a slow machine the campaign may end in a later run.
    await until(async () => {
      if (ending === 'expired') await store.cron();
      return (await fixture.stockOf(sku))?.reserved === 0;
    });
    expect(await fixture.statesOf(campaign.id)).toEqual(Object.fromEntries(users.map((user) => [user, 'released'])));
    expect((await fixture.participants(campaign.id)).map((place) => place.reason)).toEqual(
      Array(3).fill(`campaign_${ending}`),
    );
    for (const { id, stripePaymentIntentId } of payments) {
      expect((await store.send('GET', `/v1/payments/${id}`)).body.status).toBe('cancelled');
      await until(
        async () => (await fixture.stripe.paymentIntents.retrieve(stripePaymentIntentId)).status === 'canceled',
      );
    }
    await fixture.audit(campaign, 10);
    expect((await fixture.eventsOf(campaign.id)).at(-1)).toBe(ending);
  });

  test('releases a place whose payment is not secured in time, and no other place', async () => {
    const campaign = await fixture.start('SLOW', 5, { minParticipants: 4 });
    const [slow, quick] = await Promise.all(
      ['slow', 'quick'].map(async (user) => (await fixture.join(campaign.id, user)).body),
    );
    await fixture.confirm(quick.orderId);
    await until(async () => (await fixture.statesOf(campaign.id)).quick === 'secured');
    await store.cron('* * * * *', new Date(Date.parse(slow.secureBy) - 1));
    expect(await fixture.statesOf(campaign.id)).toEqual({ slow: 'joined', quick: 'secured' });
    await cronUntil(
      store,
      new Date(slow.secureBy),
      async () => (await fixture.statesOf(campaign.id)).slow !== 'joined',
    );
    expect(await fixture.statesOf(campaign.id)).toEqual({ slow: 'released', quick: 'secured' });
    expect((await fixture.participants(campaign.id)).find((place) => place.user_id === 'slow')?.reason).toBe(
      'not_secured',
    );
    expect(await fixture.stockOf('SLOW')).toEqual({ quantity: 4, reserved: 1 });
    expect(await fixture.eventsOf(campaign.id)).toContain('left');
  });
});
