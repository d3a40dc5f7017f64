import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { deliver, startQueues, stopQueues } from '../support/outbox.ts';
import { teamFixture } from '../support/teams.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let teams: ReturnType<typeof teamFixture>;
let fault: NonNullable<NeonBridgeOptions['fault']> | undefined;
beforeAll(async () => {
  store = await startStore({
    variables: { STRIPE_REQUESTS_PER_SECOND: '1000' },
    neonFault: (call) => fault?.(call),
  });
  fixture = campaignFixture(store);
  teams = teamFixture(store, fixture);
});
afterEach(() => {
  fault = undefined;
});
afterAll(() => store.close());

const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1_000);
const settledTeam = (teamId: string) => until(async () => (await teams.row(teamId)).settled_at !== null);
const secured = (teamId: string, count: number) => until(async () => (await teams.row(teamId)).secured === count);
const ordersOf = (campaignId: string) =>
  store.database.query<{ id: string; status: string }>(
    'select id, status from orders.orders where campaign_id = $1 order by id',
    [campaignId],
  );
describe('a successful team', () => {
  test('gets one order and one charge for each place, even if two runs settle it at once', async () => {
    const campaign = await teams.start('SET-1', 10);
    const { team, places } = await teams.open(campaign.id, ['u1', 'u2']);
    await Promise.all(places.map((place) => fixture.confirm(place.orderId)));
    await secured(team.id, 2);
    expect(await ordersOf(campaign.id)).toEqual([]);
    const { body } = await teams.join(team.id, 'u3');
    await Promise.all([store.cron('* * * * *', inSeconds(70)), store.cron('* * * * *', inSeconds(70))]);
    await fixture.confirm(body.participant.orderId);
    await until(async () => (await fixture.participants(campaign.id)).every((place) => place.state === 'charged'));
    await settledTeam(team.id);
    await store.settled();
    const orders = await ordersOf(campaign.id);
    expect(orders.map((order) => order.status)).toEqual(Array(3).fill('confirmed'));
    const intents = await fixture.intentsOf(orders.map((order) => order.id));
    expect(intents.map((intent) => intent.amount_received)).toEqual([2000, 2000, 2000]);
    for (const { id } of orders) {
      expect(await fixture.eventsOf(id)).toEqual(['order.created', 'inventory.reserved', 'order.confirmed']);
    }
    expect(await fixture.stockOf('SET-1')).toEqual({ quantity: 7, reserved: 0 });
  });

  test('is settled by cron if the message was lost', async () => {
    await stopQueues(store.database);
    const campaign = await teams.start('SET-2', 10, { teamSize: 2 });
    const { team } = await teams.open(campaign.id, ['u1', 'u2']);
    await store.database.query(`delete from platform.outbox where sink = 'queue' and key = $1`, [team.id]);
    await startQueues(store.database);
    await store.cron('* * * * *', inSeconds(50)); // the queue still has its time
    expect(await ordersOf(campaign.id)).toEqual([]);
    await store.cron('* * * * *', inSeconds(70));
    expect(await ordersOf(campaign.id)).toHaveLength(2);
    expect((await teams.row(team.id)).settled_at).not.toBeNull();
    expect((await fixture.read(campaign.id)).status).toBe('active');
  });

  test('is settled together with the other teams of its batch', async () => {
    await stopQueues(store.database);
    const campaign = await teams.start('SET-3', 300);
    await teams.fill(campaign.id, 80, 3, { success: true });
    const calls: string[] = [];
    fault = ({ statements }) => {
      for (const { query } of statements) if (query.includes('settle_teams')) calls.push(query);
      return undefined;
    };
    await store.cron('* * * * *', inSeconds(70));
    expect(await ordersOf(campaign.id)).toHaveLength(240);
    expect((await teams.rowsOf(campaign.id)).filter((team) => team.settled_at === null)).toEqual([]);
    // 240 places, 100 a call, and the one that finds nothing more.
    expect(calls).toHaveLength(4);
    await startQueues(store.database);
  });

  test('shows a refunded member as missing and stays successful', async () => {
    const campaign = await teams.start('SET-4', 10, { teamSize: 2 });
    const { team, places } = await teams.open(campaign.id, ['u1', 'u2']);
    const [first] = await Promise.all(places.map((place) => fixture.confirm(place.orderId)));
    await until(async () => (await fixture.participants(campaign.id)).every((place) => place.state === 'charged'));
    await store.send('POST', `/v1/orders/${places[0].orderId}/cancel`);
    await until(async () => (await fixture.statesOf(campaign.id)).u1 === 'released');
    expect(await teams.row(team.id)).toMatchObject({ status: 'successful', joined: 1, leader: 'u2' });
    await until(async () => (await store.send('GET', `/v1/payments/${first.id}`)).body.status === 'refunded');
    expect((await ordersOf(campaign.id)).map((order) => order.status).sort()).toEqual(['cancelled', 'confirmed']);
    expect(await teams.join(team.id, 'u3')).toMatchObject({ status: 409, body: { code: 'team_not_open' } });
  });
});

describe('a forming team', () => {
  test.each(['leaves', 'is refunded'])(
    'with successOn: secured waits for the present members after a secured one %s',
    async (how) => {
      const sku = `SECURED-${how === 'leaves' ? 1 : 2}`;
      const campaign = await teams.start(sku, 10, { teamSize: 2, successOn: 'secured' });
      const { team, places } = await teams.open(campaign.id, ['u1', 'u2']);
      const [gone, stays] = places;
      const payment = await fixture.confirm(gone.orderId);
      await secured(team.id, 1);
      if (how === 'leaves') await teams.leave(team.id, 'u1');
      else {
        await fixture.stripe.paymentIntents.capture(payment.stripePaymentIntentId);
        await until(
          async () => (await store.send('GET', `/v1/payments/${gone.paymentId}`)).body.status === 'succeeded',
        );
        expect((await store.send('POST', `/v1/payments/${gone.paymentId}/refunds`, {})).status).toBe(201);
      }
      await until(async () => (await teams.row(team.id)).joined === 1);
      await fixture.confirm(stays.orderId);
      await secured(team.id, 1);
      expect(await teams.row(team.id)).toMatchObject({ status: 'forming', joined: 1, leader: 'u2' });
      const { body } = await teams.join(team.id, 'u3');
      expect(body.team).toMatchObject({ status: 'forming', joined: 2, secured: 1 });
      await fixture.confirm(body.participant.orderId);
      await until(async () => (await fixture.statesOf(campaign.id)).u3 === 'charged');
      await until(async () => (await fixture.statesOf(campaign.id)).u2 === 'charged');
      expect(await teams.row(team.id)).toMatchObject({ status: 'successful', joined: 2, secured: 2 });
      await store.settled();
      expect((await ordersOf(campaign.id)).map(({ status }) => status)).toEqual(['confirmed', 'confirmed']);
      expect(await fixture.stockOf(sku)).toEqual({ quantity: 8, reserved: 0 });
    },
  );

  test('has no order and no label, even if its money was captured in Stripe’s dashboard', async () => {
    const campaign = await teams.start('SET-5', 10, { teamSize: 2 });
    const { team, places } = await teams.open(campaign.id, ['u1']);
    const payment = await fixture.confirm(places[0].orderId);
    await secured(team.id, 1);
    await fixture.stripe.paymentIntents.capture(payment.stripePaymentIntentId);
    await until(async () => (await store.send('GET', `/v1/payments/${payment.id}`)).body.status === 'succeeded');
    await store.settled();
    await store.cron();
    expect(await ordersOf(campaign.id)).toEqual([]);
    expect((await store.send('GET', `/v1/orders/${places[0].orderId}`)).status).toBe(404);
    expect(
      await store.database.query('select from shipping.label_requests where order_id = $1', [places[0].orderId]),
    ).toEqual([]);
    expect((await fixture.stockOf('SET-5'))?.reserved).toBe(1);
    await teams.join(team.id, 'u2');
    await until(async () => (await fixture.statesOf(campaign.id)).u1 === 'charged');
    expect(await ordersOf(campaign.id)).toHaveLength(2);
  });

  test('is led by the earliest member after its leader was refunded', async () => {
    const campaign = await teams.start('SET-6', 10, { teamSize: 3 });
    const { team, places } = await teams.open(campaign.id, ['u1', 'u2']);
    const payment = await fixture.confirm(places[0].orderId);
    await fixture.stripe.paymentIntents.capture(payment.stripePaymentIntentId);
    await until(async () => (await store.send('GET', `/v1/payments/${payment.id}`)).body.status === 'succeeded');
    await fixture.stripe.refunds.create({ payment_intent: payment.stripePaymentIntentId });
    await until(async () => (await fixture.statesOf(campaign.id)).u1 === 'released');
    expect(await teams.row(team.id)).toMatchObject({ status: 'forming', joined: 1, secured: 0, leader: 'u2' });
    expect(await fixture.stockOf('SET-6')).toEqual({ quantity: 9, reserved: 1 });
  });
});

/** `TEAMS=10000 npx vitest run …` measures more teams than CI has time for. */
const teamsDue = Number(process.env.TEAMS ?? 1_000);

test('a thousand teams that expire in the same minute are released in few calls', {
  timeout: 300 * teamsDue,
}, async () => {
  await stopQueues(store.database); // so that the crons do all of it
  const campaign = await teams.start('SET-7', 5_000, { maxPerCustomer: 1 });
  await store.database.query('update inventory.inventory set quantity = $2 where sku = $1', ['SET-7', 3 * teamsDue]);
  await teams.fill(campaign.id, teamsDue, 2);
  const calls = new Map<string, number>();
  fault = ({ statements }) => {
    for (const { query } of statements) {
      const [name] = /(end_teams|release_teams)/.exec(query) ?? [];
      if (name) calls.set(name, (calls.get(name) ?? 0) + 1);
    }
    return undefined;
  };
  const started = Date.now();
  let runs = 0;
  for (let minute = 61; ; minute += 2) {
    runs++;
    await store.cron('* * * * *', inSeconds(60 * minute));
    if ((await fixture.stockOf('SET-7'))?.reserved === 0) break;
  }
  console.log(`${teamsDue} teams: ${Date.now() - started} ms, ${runs} runs`, Object.fromEntries(calls));
  const expired = await teams.rowsOf(campaign.id);
  expect(expired.every((team) => team.status === 'expired' && team.joined === 2 && team.settled_at)).toBe(true);
  expect(await fixture.stockOf('SET-7')).toEqual({ quantity: 3 * teamsDue, reserved: 0 });
  // 500 teams end and 200 places are released in a call; each run of the cron ends with a call that finds nothing.
  expect(calls.get('end_teams')).toBeLessThanOrEqual(teamsDue / 500 + 5);
  expect(calls.get('release_teams')).toBeLessThanOrEqual((teamsDue * 2) / 200 + 5);
  // Without statistics, the plan of this query compares each event with each place.
  await store.database.query('analyze platform.events, group_commerce.participants');
  const released = await store.database.query<{ n: number }>(
    `select count(*)::int as n, count(distinct key)::int as keys from platform.events
     where topic = 'inventory.released' and key in (
       select order_id from group_commerce.participants where campaign_id = $1 and reason = 'team_expired')`,
    [campaign.id],
  );
  expect(released).toEqual([{ n: teamsDue * 2, keys: teamsDue * 2 }]);
  const [left] = await store.database.query<{ units: number }>(
    'select sum(units)::int as units from group_commerce.campaign_customers where campaign_id = $1',
    [campaign.id],
  );
  expect(left?.units).toBe(0);
});

test('a batch of events releases its teams together', async () => {
  await stopQueues(store.database);
  const campaign = await teams.start('SET-8', 100);
  await teams.fill(campaign.id, 10, 2);
  await store.database.query(
    `update group_commerce.teams set end_time = now() - interval '1 second' where campaign_id = $1`,
    [campaign.id],
  );
  await store.cron();
  const rows = await store.database.query<{ id: string; event: unknown }>(
    `select e.id, platform.envelope(e) as event from platform.events e
     where e.topic = 'group-commerce.team.expired' and e.payload->'team'->>'campaignId' = $1`,
    [campaign.id],
  );
  expect(rows).toHaveLength(10);
  let calls = 0;
  fault = ({ statements }) => {
    if (statements.some(({ query }) => query.includes('release_teams'))) calls++;
    return undefined;
  };
  const { acknowledged } = await deliver(
    store,
    'fusioncommerce-group-commerce',
    rows.map(({ id, event }) => ({ id, body: event })),
  );
  expect(acknowledged).toHaveLength(10);
  expect(calls).toBe(1);
  expect(await fixture.stockOf('SET-8')).toEqual({ quantity: 100, reserved: 0 });
  expect((await teams.rowsOf(campaign.id)).every((team) => team.settled_at !== null)).toBe(true);
  fault = undefined;
  await startQueues(store.database);
});
