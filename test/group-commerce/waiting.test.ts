import { createHash, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { jobSecret } from '../support/secrets.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

/** Starts a campaign, fills it with the users `a1`, `a2` …, and puts these users in line. */
async function startFull(sku: string, places: number, line: string[] = [], more: Record<string, unknown> = {}) {
  const campaign = await fixture.start(sku, 10, { minParticipants: places, maxParticipants: places, ...more });
  for (let n = 1; n <= places; n++) expect((await fixture.join(campaign.id, `a${n}`)).status).toBe(201);
  for (const user of line) expect((await wait(campaign.id, user)).status).toBe(202);
  return campaign;
}
const wait = (campaignId: string, user: string) => fixture.join(campaignId, user, { waitlist: true });
const list = async (campaignId: string, query = '') =>
  (await store.send('GET', `/v1/campaigns/${campaignId}/waiting${query}`)).body;
/** Those in line, as `user:position`, with a `*` for an offer. */
const lineOf = async (campaignId: string): Promise<string> =>
  (await list(campaignId)).data
    .map(
      (entry: { userId: string; position: number; state: string }) =>
        `${entry.userId}:${entry.position}${entry.state === 'offered' ? '*' : ''}`,
    )
    .join(' ');
const statesOf = async (campaignId: string) =>
  (
    await store.database.query<{ line: string }>(
      `select string_agg(user_id || ':' || state, ' ' order by id) as line from group_commerce.waiting_places
       where campaign_id = $1`,
      [campaignId],
    )
  )[0]?.line;
const offersOf = async (campaignId: string) =>
  (
    await store.database.query<{ user: string }>(
      `select payload->>'userId' as user from platform.events
       where key = $1 and topic = 'group-commerce.place.offered' order by seq`,
      [campaignId],
    )
  ).map(({ user }) => user);
const offeredPlaces = async (campaignId: string) =>
  (
    await store.database.query<{ n: number }>(
      'select offered_places as n from group_commerce.group_commerce_campaigns where id = $1',
      [campaignId],
    )
  )[0]?.n;
const endOffers = (campaignId: string) =>
  store.database.query(
    `update group_commerce.waiting_places set offered_until = now() - interval '1 second'
     where campaign_id = $1 and state = 'offered'`,
    [campaignId],
  );

describe('a full campaign', () => {
  test('puts a buyer who asks for it in line, without money and stock', async () => {
    const campaign = await startFull('WAIT-1', 2);
    expect(await fixture.join(campaign.id, 'w1')).toMatchObject({ status: 409, body: { code: 'campaign_full' } });
    const first = await wait(campaign.id, 'w1');
    expect(first).toMatchObject({
      status: 202,
      body: { campaignId: campaign.id, userId: 'w1', state: 'waiting', position: 1, offeredUntil: null },
    });
    expect(await wait(campaign.id, 'w2')).toMatchObject({ status: 202, body: { state: 'waiting', position: 2 } });
    expect((await wait(campaign.id, 'w1')).body).toEqual(first.body);
    expect(await fixture.join(campaign.id, 'w1')).toMatchObject({ status: 409, body: { code: 'campaign_full' } });
    expect(await fixture.stockOf(campaign.sku)).toMatchObject({ reserved: 2 });
    const payments = await store.database.query('select from payments.payments where campaign_id = $1', [campaign.id]);
    expect(payments).toHaveLength(2);
    expect((await wait(campaign.id, 'a1')).status).toBe(201); // has a place
  });

  test('returns the same entry to the same Idempotency-Key, whatever has become of it', async () => {
    const campaign = await startFull('WAIT-2', 2);
    const again = () =>
      store.send(
        'POST',
        `/v1/campaigns/${campaign.id}/join`,
        { userId: 'w1', waitlist: true },
        { idempotencyKey: 'w' },
      );
    const first = await again();
    await fixture.leave(campaign.id, 'w1');
    const replayed = await again();
    expect([replayed.status, replayed.body]).toEqual([202, first.body]);
    expect(replayed.headers.get('idempotent-replayed')).toBe('true');
  });

  test('refuses what it would refuse with a free place', async () => {
    const full = await startFull('WAIT-3', 2, [], { maxPerCustomer: 1 });
    const join = (more: object) => fixture.join(full.id, 'w1', { waitlist: true, ...more });
    expect(await join({ sku: 'OTHER' })).toMatchObject({ status: 422, body: { code: 'validation_failed' } });
    expect(await join({ quantity: 2 })).toMatchObject({ status: 409, body: { code: 'limit_per_customer' } });
    expect(await join({ invitedBy: 'w1' })).toMatchObject({ status: 422 });
    const teams = await fixture.start('WAIT-4', 5, {
      ...{ mode: 'teams', teamSize: 2, teamSeconds: 60, minParticipants: undefined, maxParticipants: undefined },
    });
    expect(await wait(teams.id, 'w1')).toMatchObject({ status: 409, body: { code: 'conflict' } });
    await store.send('DELETE', `/v1/products/${full.productId}`);
    expect(await join({})).toMatchObject({ status: 409, body: { code: 'campaign_not_open' } });
    expect(await statesOf(full.id)).toBeNull();
  });
});

describe('a place that becomes free', () => {
  test('is kept for the first in line, who takes it by joining again', async () => {
    const open = await startFull('OFFER-1', 3, ['w1', 'w2'], { minParticipants: 1, successOn: 'secured' });
    const before = Date.now();
    await fixture.leave(open.id, 'a1');
    expect(await lineOf(open.id)).toBe('w1:1* w2:2');
    const [entry] = (await list(open.id)).data;
    const minutes = (Date.parse(entry.offeredUntil) - before) / 60_000;
    expect(minutes).toBeGreaterThan(9.9);
    expect(minutes).toBeLessThan(10.5);
    const [event] = await store.database.query<{ payload: object }>(
      `select payload from platform.events where key = $1 and topic = 'group-commerce.place.offered'`,
      [open.id],
    );
    expect(event?.payload).toEqual({ campaignId: open.id, userId: 'w1', offeredUntil: entry.offeredUntil });
    expect(await fixture.join(open.id, 'x')).toMatchObject({ status: 409, body: { code: 'campaign_full' } });
    expect(await fixture.join(open.id, 'w2')).toMatchObject({ status: 409, body: { code: 'campaign_full' } });
    expect(await wait(open.id, 'x')).toMatchObject({ status: 202, body: { position: 3 } });

    expect(await fixture.join(open.id, 'w1')).toMatchObject({ status: 201, body: { userId: 'w1', state: 'joined' } });
    expect(await lineOf(open.id)).toBe('w2:1 x:2');
    expect(await statesOf(open.id)).toBe('w1:taken w2:waiting x:waiting');
    expect(await offeredPlaces(open.id)).toBe(0);
    expect(await fixture.read(open.id)).toMatchObject({ actualParticipants: 3 });
    expect(await fixture.stockOf(open.sku)).toMatchObject({ reserved: 3 });
  });

  test('passes to the next in line when the offer is not taken in time', async () => {
    const campaign = await startFull('LAPSE-1', 2, ['w1', 'w2'], { minParticipants: 1, successOn: 'secured' });
    await fixture.leave(campaign.id, 'a1');
    await endOffers(campaign.id);
    expect(await fixture.join(campaign.id, 'w1')).toMatchObject({ status: 409, body: { code: 'campaign_full' } });
    await store.cron();
    expect(await statesOf(campaign.id)).toBe('w1:lapsed w2:offered');
    expect(await offersOf(campaign.id)).toEqual(['w1', 'w2']);
    expect(await wait(campaign.id, 'w1')).toMatchObject({ status: 202, body: { state: 'waiting', position: 2 } });
    expect((await fixture.join(campaign.id, 'w2')).status).toBe(201);
    expect(await offeredPlaces(campaign.id)).toBe(0);
  });

  test('passes on without the cron when somebody joins with `waitlist`', async () => {
    const campaign = await startFull('LAPSE-2', 2, ['w1', 'w2'], { minParticipants: 1, successOn: 'secured' });
    await fixture.leave(campaign.id, 'a1');
    await endOffers(campaign.id);
    expect(await wait(campaign.id, 'w1')).toMatchObject({ status: 202, body: { state: 'waiting', position: 2 } });
    expect(await statesOf(campaign.id)).toBe('w1:lapsed w2:offered w1:waiting');
    // Nobody else is in line: a late buyer takes the place.
    const alone = await startFull('LAPSE-3', 2, ['w1'], { minParticipants: 1, successOn: 'secured' });
    await fixture.leave(alone.id, 'a1');
    await endOffers(alone.id);
    expect((await wait(alone.id, 'w1')).status).toBe(201);
    expect(await statesOf(alone.id)).toBe('w1:lapsed');
    expect(await offeredPlaces(alone.id)).toBe(0);
  });

  test('is offered until the end of the campaign at the latest', async () => {
    const endTime = new Date(Date.now() + 300_000).toISOString();
    const campaign = await startFull('LAPSE-4', 2, ['w1'], { minParticipants: 1, successOn: 'secured', endTime });
    await fixture.leave(campaign.id, 'a1');
    expect((await list(campaign.id)).data).toMatchObject([{ state: 'offered', offeredUntil: endTime }]);
  });

  test('stays offered if there is no stock for it', async () => {
    const campaign = await startFull('SHORT-1', 2, ['w1'], { minParticipants: 1, successOn: 'secured' });
    await fixture.leave(campaign.id, 'a1');
    await store.database.query('update inventory.inventory set quantity = 0 where sku = $1', [campaign.sku]);
    expect(await fixture.join(campaign.id, 'w1')).toMatchObject({
      status: 409,
      body: { code: 'insufficient_inventory' },
    });
    expect(await lineOf(campaign.id)).toBe('w1:1*');
    expect(await offeredPlaces(campaign.id)).toBe(1);
  });

  test('is offered when its payment was not secured in time', async () => {
    const campaign = await startFull('UNSECURED-1', 2, ['w1', 'w2', 'w3'], {
      minParticipants: 2,
      successOn: 'secured',
    });
    await store.database.query(
      `update group_commerce.participants set secure_by = now() - interval '1 second' where campaign_id = $1`,
      [campaign.id],
    );
    await store.cron();
    expect(await lineOf(campaign.id)).toBe('w1:1* w2:2* w3:3');
    expect(await offeredPlaces(campaign.id)).toBe(2);
  });

  test('is offered when the charge of a successful campaign fails for good', async () => {
    const campaign = await fixture.start('CHARGE-1', 10, {
      ...{ minParticipants: 2, maxParticipants: 2, successOn: 'joined' },
      endTime: new Date(Date.now() + 20 * 86_400_000).toISOString(), // the cards are saved
    });
    await fixture.join(campaign.id, 'a1');
    const { body: place } = await fixture.join(campaign.id, 'a2');
    await wait(campaign.id, 'w1');
    await store.settled();
    await until(async () => (await fixture.statesOf(campaign.id)).a2 === 'ordered');
    // The buyer never pays, and the grace period of the order ends.
    await store.database.query(
      `update inventory.reservations set expires_at = now() - interval '1 second' where order_id = $1`,
      [place.orderId],
    );
    await until(async () => {
      await store.cron();
      return (await lineOf(campaign.id)) === 'w1:1*';
    });
    const taken = await fixture.join(campaign.id, 'w1');
    expect(taken).toMatchObject({ status: 201, body: { state: 'ordered' } });
    expect(await fixture.read(campaign.id)).toMatchObject({ actualParticipants: 2, status: 'successful' });
  });

  test('is not offered while the product is archived, but soon after it is restored', async () => {
    const campaign = await startFull('ARCHIVED-1', 2, ['w1'], { minParticipants: 1, successOn: 'secured' });
    await store.database.query(`update catalog.products set status = 'archived' where id = $1`, [campaign.productId]);
    await fixture.leave(campaign.id, 'a1');
    await store.cron();
    expect(await lineOf(campaign.id)).toBe('w1:1');
    await store.database.query(`update catalog.products set status = 'active' where id = $1`, [campaign.productId]);
    await store.cron();
    expect(await lineOf(campaign.id)).toBe('w1:1*');
  });
});

describe('the waiting list', () => {
  test('is left by leaving the campaign, and an offer passes to the next', async () => {
    const campaign = await startFull('LEAVE-1', 2, ['w1', 'w2', 'w3'], { minParticipants: 1, successOn: 'secured' });
    const left = await fixture.leave(campaign.id, 'w2');
    expect(left).toMatchObject({ status: 200, body: { userId: 'w2', state: 'left', position: null } });
    expect((await fixture.leave(campaign.id, 'w2')).body).toEqual(left.body);
    expect(await lineOf(campaign.id)).toBe('w1:1 w3:2');
    await fixture.leave(campaign.id, 'a1');
    expect(await lineOf(campaign.id)).toBe('w1:1* w3:2');
    expect(await fixture.leave(campaign.id, 'w1')).toMatchObject({ body: { state: 'left', offeredUntil: null } });
    expect(await lineOf(campaign.id)).toBe('w3:1*');
    expect(await offeredPlaces(campaign.id)).toBe(1);
    expect((await fixture.leave(campaign.id, 'stranger')).status).toBe(404);
    expect((await fixture.join(campaign.id, 'w3')).status).toBe(201);
    expect(await fixture.leave(campaign.id, 'w3')).toMatchObject({ body: { state: 'released', reason: 'left' } });
    expect(await fixture.leave(campaign.id, 'w3')).toMatchObject({ body: { state: 'released', reason: 'left' } });
  });

  test.each(['cancel', 'expire'])('ends with the campaign: %s', async (end) => {
    const campaign = await startFull(`END-${end}`, 2, ['w1', 'w2', 'w3'], { minParticipants: 2, successOn: 'secured' });
    await fixture.leave(campaign.id, 'a1');
    if (end === 'cancel') await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
    else
      await store.database.query(
        `update group_commerce.group_commerce_campaigns set end_time = now() - interval '1 second' where id = $1`,
        [campaign.id],
      );
    expect(await fixture.join(campaign.id, 'w1')).toMatchObject({ status: 409, body: { code: 'campaign_not_open' } });
    await store.cron();
    expect(await statesOf(campaign.id)).toBe('w1:ended w2:ended w3:ended');
    expect(await offeredPlaces(campaign.id)).toBe(0);
    expect(await offersOf(campaign.id)).toEqual(['w1']);
  });

  test('is listed in pages, the first in line first, with positions', async () => {
    const campaign = await startFull('LIST-1', 2, ['w1', 'w2', 'w3'], { minParticipants: 1, successOn: 'secured' });
    await fixture.leave(campaign.id, 'a1');
    const page = await list(campaign.id, '?limit=2');
    expect(page.data).toMatchObject([
      { userId: 'w1', position: 1, state: 'offered' },
      { userId: 'w2', position: 2, state: 'waiting' },
    ]);
    const rest = await list(campaign.id, `?limit=2&cursor=${page.nextCursor}`);
    expect(rest).toMatchObject({ data: [{ userId: 'w3', position: 3 }], nextCursor: null });
    expect((await store.send('GET', `/v1/campaigns/${randomUUID()}/waiting`)).status).toBe(404);
  });

  test('shows a customer’s session its own entry only', async () => {
    const campaign = await startFull('LIST-2', 2, ['w1']);
    const { body: customer } = await store.send('POST', '/v1/customers', { email: 'own@example.com' });
    const key = `cs_${randomUUID().replaceAll('-', '')}`;
    await store.database.query(
      `insert into platform.customer_sessions (token_hash, tenant_id, customer_id, created_at, expires_at)
       values ($1, 'default', $2, now(), now() + interval '1 hour')`,
      [createHash('sha256').update(key).digest('hex'), customer.id],
    );
    const own = () => store.send('GET', `/v1/campaigns/${campaign.id}/waiting`, undefined, { key });
    expect((await own()).body.data).toEqual([]);
    const waiting = await store.send('POST', `/v1/campaigns/${campaign.id}/join`, { waitlist: true }, { key });
    expect(waiting).toMatchObject({ status: 202, body: { userId: customer.id, position: 2 } });
    expect((await own()).body.data).toEqual([waiting.body]);
  });

  test('does not keep a customer from being erased, is in the export, and an offer passes to the next', async () => {
    const { body: customer } = await store.send('POST', '/v1/customers', { email: 'gone@example.com' });
    const campaign = await startFull('ERASE-1', 2, [customer.id, 'w2'], { minParticipants: 1, successOn: 'secured' });
    await fixture.leave(campaign.id, 'a1');
    const { body: file } = await store.send('GET', `/v1/customers/${customer.id}/export`);
    expect(file.waiting).toMatchObject([{ campaignId: campaign.id, state: 'offered' }]);
    expect((await store.send('DELETE', `/v1/customers/${customer.id}`)).status).toBe(204);
    expect(await statesOf(campaign.id)).toBe(`${customer.id}:ended w2:offered`);
    expect(await offeredPlaces(campaign.id)).toBe(1);
  });

  test('keeps its order if clocks differ: a new id sorts after the last one', async () => {
    const last = ['019ab3f5-5f60-7172-8d84-9eaf1b2c3d4e', 'f19ab3f5-ffff-7172-8d84-9eaf1b2c3d4e'];
    const rows = await store.database.query<{ id: string; after: string }>(
      'select id, group_commerce.id_after(id) as after from unnest($1::varchar[]) id',
      [last],
    );
    for (const { id, after } of rows) {
      expect(after > id).toBe(true);
      expect(after).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    }
    expect(rows[1]?.after.slice(0, 13)).toBe('f19ab3f6-0000');
  });
});

describe('long lines', () => {
  /** Puts this many users in line by SQL. */
  const fillLine = (campaignId: string, count: number) =>
    store.database.query(
      `insert into group_commerce.waiting_places (id, tenant_id, campaign_id, user_id, state, created_at, updated_at)
       select platform.uuid7(), c.tenant_id, c.id, 'in-line-' || n, 'waiting', now(), now()
       from group_commerce.group_commerce_campaigns c, generate_series(1, $2::int) n where c.id = $1`,
      [campaignId, count],
    );
  /** One call of the cron's function. */
  const update = async () => {
    const [row] = await store.database.query<{ result: { changed: number } }>(
      'select group_commerce.update_waiting($1, $2) as result',
      [JSON.stringify({ jobSecret, now: new Date().toISOString() }), JSON.stringify({ limit: 200 })],
    );
    return row?.result.changed ?? 0;
  };

  // A call that takes too long is cancelled, each minute again, and the cron's jobs after it never run.
  test('get the places that are free at once in several calls', async () => {
    const campaign = await fixture.start('LONG-1', 5, { minParticipants: 2_000, maxParticipants: 2_000 });
    await fillLine(campaign.id, 1_100);
    const offers = async () => {
      const [row] = await store.database.query<{ offered_places: number }>(
        'select offered_places from group_commerce.group_commerce_campaigns where id = $1',
        [campaign.id],
      );
      return row?.offered_places;
    };
    await update();
    expect(await offers()).toBe(500);
    while ((await update()) !== 0);
    expect(await offers()).toBe(1_100);
  });

  test('of many campaigns end in several calls', async () => {
    const campaigns = [];
    for (let n = 0; n < 8; n++) {
      const campaign = await fixture.start(`LONG-2-${n}`, 5, { minParticipants: 2 });
      await fillLine(campaign.id, 60);
      await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
      campaigns.push(campaign.id);
    }
    const changed: number[] = [];
    do changed.push(await update());
    while (changed.at(-1) !== 0);
    expect(Math.max(...changed)).toBeLessThanOrEqual(200);
    const left = await store.database.query(
      `select from group_commerce.waiting_places where campaign_id = any($1) and state = 'waiting'`,
      [campaigns],
    );
    expect(left).toEqual([]);
  });
});
