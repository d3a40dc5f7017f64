import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { startQueues, stopQueues } from '../support/outbox.ts';
import { teamFixture } from '../support/teams.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let teams: ReturnType<typeof teamFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  fixture = campaignFixture(store);
  teams = teamFixture(store, fixture);
});
afterEach(() => startQueues(store.database));
afterAll(() => store.close());

const statusOf = async (teamId: string) => (await teams.row(teamId)).status;
const settledTeam = (teamId: string) => until(async () => (await teams.row(teamId)).settled_at !== null);
const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1_000);

describe('the end of a team’s time', () => {
  test('expires a team that is short, and releases each place, its money and its units once', async () => {
    const campaign = await teams.start('END-1', 10, { maxPerCustomer: 2 });
    const { team, places } = await teams.open(campaign.id, ['u1', 'u2']);
    await fixture.confirm(places[0].orderId);
    await until(async () => (await teams.row(team.id)).secured === 1);
    await teams.endIn(team.id, -1);
    await Promise.all([store.cron(), store.cron()]);
    await settledTeam(team.id);
    await store.settled();
    expect(await teams.row(team.id)).toMatchObject({ status: 'expired', joined: 2, secured: 1 });
    expect(await fixture.participants(campaign.id)).toMatchObject([
      { state: 'released', reason: 'team_expired' },
      { state: 'released', reason: 'team_expired' },
    ]);
    expect(await fixture.stockOf('END-1')).toEqual({ quantity: 10, reserved: 0 });
    expect((await teams.eventsOf(team.id)).filter((topic) => topic === 'expired')).toHaveLength(1);
    for (const place of places) expect(await fixture.eventsOf(place.orderId)).toEqual(['inventory.released']);
    const units = await store.database.query(
      'select units from group_commerce.campaign_customers where campaign_id = $1',
      [campaign.id],
    );
    expect(units).toEqual([{ units: 0 }, { units: 0 }]);
    await until(async () => (await fixture.intentsOf([places[0].orderId]))[0]?.status === 'canceled');
    expect(await fixture.intentsOf(places.map((place) => place.orderId))).toHaveLength(2);
    expect((await fixture.read(campaign.id)).status).toBe('active');
  });

  test('comes at its end time: the last place a millisecond earlier makes it successful, and none is taken at its end', async () => {
    const campaign = await teams.start('END-2', 10, { teamSize: 2 });
    const early = await teams.open(campaign.id, ['u1']);
    const late = await teams.open(campaign.id, ['u3']);
    const keyHash = await store.database.query<{ key_hash: string }>('select key_hash from platform.api_keys');
    const end = inSeconds(500);
    for (const { team } of [early, late]) {
      await store.database.query('update group_commerce.teams set end_time = $2 where id = $1', [team.id, end]);
    }
    const joinAt = async (teamId: string, userId: string, now: Date) => {
      const input = { teamId, userId, participantId: `p-${userId}`, orderId: `o-${userId}`, paymentId: `y-${userId}` };
      const terms = { graceSeconds: 60, secureSeconds: 600, holdWithinSeconds: 400_000 };
      const [row] = await store.database.query<{ answer: { answer: Record<string, unknown> } }>(
        'select group_commerce.join_team($1, $2) as answer',
        [
          JSON.stringify({
            ...{ keyHash: keyHash[0]?.key_hash, now: now.toISOString() },
            ...{ idempotencyKey: userId, requestHash: userId },
          }),
          JSON.stringify({ ...input, ...terms }),
        ],
      );
      return row?.answer.answer;
    };
    const last = await joinAt(early.team.id, 'u2', new Date(end.getTime() - 1));
    expect(last).toMatchObject({ team: { status: 'successful', joined: 2 } });
    expect(await joinAt(late.team.id, 'u4', end)).toMatchObject({ error: 'team_not_open' });
    await store.cron('* * * * *', new Date(end.getTime() - 1));
    expect(await statusOf(late.team.id)).toBe('forming');
    await store.cron('* * * * *', end);
    expect([await statusOf(early.team.id), await statusOf(late.team.id)]).toEqual(['successful', 'expired']);
  });

  test('expires a full team whose places are not all secured, if they must be', async () => {
    const campaign = await teams.start('END-3', 10, { teamSize: 2, successOn: 'secured' });
    const { team, places } = await teams.open(campaign.id, ['u1', 'u2']);
    await fixture.confirm(places[0].orderId);
    await until(async () => (await teams.row(team.id)).secured === 1);
    expect(await teams.row(team.id)).toMatchObject({ status: 'forming', joined: 2 });
    await teams.endIn(team.id, 0);
    // Its last place is secured after its end, before a cron has seen that.
    await fixture.confirm(places[1].orderId);
    await until(async () => (await teams.row(team.id)).secured === 2);
    expect(await statusOf(team.id)).toBe('forming');
    await store.cron();
    await settledTeam(team.id);
    expect(await statusOf(team.id)).toBe('expired');
    expect(await fixture.stockOf('END-3')).toEqual({ quantity: 10, reserved: 0 });
  });

  test('gives back money that arrives after it', async () => {
    await stopQueues(store.database);
    const campaign = await teams.start('END-4', 10);
    const { team, places } = await teams.open(campaign.id, ['u1', 'u2']);
    const payments = await Promise.all(places.map((place) => fixture.confirm(place.orderId)));
    await until(async () => (await teams.row(team.id)).secured === 2);
    await teams.endIn(team.id, -1);
    await store.cron();
    expect(await statusOf(team.id)).toBe('expired');
    // Captured in Stripe's dashboard before the place is released.
    await fixture.stripe.paymentIntents.capture(payments[0].stripePaymentIntentId);
    await until(async () => (await store.send('GET', `/v1/payments/${payments[0].id}`)).body.status !== 'pending');
    await startQueues(store.database);
    await store.cron();
    await settledTeam(team.id);
    const refunded = async () => (await store.send('GET', `/v1/payments/${payments[0].id}`)).body.status === 'refunded';
    await until(refunded);
    expect(await store.database.query('select id from orders.orders where campaign_id = $1', [campaign.id])).toEqual(
      [],
    );
    expect(await fixture.stockOf('END-4')).toEqual({ quantity: 10, reserved: 0 });
  });

  test('releases the places by cron if the message was lost', async () => {
    await stopQueues(store.database);
    const campaign = await teams.start('END-5', 10);
    const { team } = await teams.open(campaign.id, ['u1', 'u2']);
    await teams.endIn(team.id, -1);
    await store.cron();
    expect(await statusOf(team.id)).toBe('expired');
    await store.database.query(`delete from platform.outbox where sink = 'queue' and key = $1`, [team.id]);
    await startQueues(store.database);
    await store.cron('* * * * *', inSeconds(50)); // the queue still has its time
    expect((await teams.row(team.id)).settled_at).toBeNull();
    await store.cron('* * * * *', inSeconds(70));
    expect((await teams.row(team.id)).settled_at).not.toBeNull();
    expect(await fixture.stockOf('END-5')).toEqual({ quantity: 10, reserved: 0 });
  });

  test('of one tenant waits for no other tenant, and a row that fails stops no other', async () => {
    const key = await store.database.key({ tenant: 'acme' });
    const campaign = await teams.start('END-6', 100);
    await teams.fill(campaign.id, 3, 2);
    const [broken, ...others] = await teams.rowsOf(campaign.id);
    const product = await store.send(
      'POST',
      '/v1/products',
      { sku: 'END-6', name: 'Lamp', price: 30, currency: 'USD', inventory: 9 },
      { key },
    );
    const theirs = await store.send(
      'POST',
      '/v1/campaigns',
      {
        ...{ productId: product.body.id, price: 20, mode: 'teams', teamSize: 2, teamSeconds: 3_600 },
        ...{ startTime: inSeconds(-60).toISOString(), endTime: inSeconds(86_400).toISOString() },
      },
      { key },
    );
    const opened = await store.send('POST', `/v1/campaigns/${theirs.body.id}/teams`, { userId: 'u1' }, { key });
    await store.database.query(`create function public.spoilt() returns trigger language plpgsql as $$
      begin raise exception using errcode = '23514', constraint = 'spoilt_row', message = 'spoilt'; end $$`);
    await store.database.query(
      `create trigger spoilt before update on group_commerce.teams for each row
       when (old.id = '${broken?.id}') execute function public.spoilt()`,
    );
    await store.cron('* * * * *', inSeconds(3_700));
    expect(await statusOf(broken?.id ?? '')).toBe('forming');
    for (const { id } of others) expect(await statusOf(id)).toBe('expired');
    expect(await statusOf(opened.body.team.id)).toBe('expired');
    await store.database.query('drop function public.spoilt cascade');
    await store.cron('* * * * *', inSeconds(3_900));
    expect(await statusOf(broken?.id ?? '')).toBe('expired');
  });
});

describe('a campaign with teams', () => {
  const endCampaign = (id: string) =>
    store.database.query(
      `with t as (update group_commerce.teams set end_time = least(end_time, now() - interval '1 second')
         where campaign_id = $1)
       update group_commerce.group_commerce_campaigns set end_time = now() - interval '1 second' where id = $1`,
      [id],
    );

  test('is successful at its end if a team was, and only the other teams’ places are released', async () => {
    const campaign = await teams.start('END-7', 10, { teamSize: 2 });
    const full = await teams.open(campaign.id, ['u1', 'u2']);
    const short = await teams.open(campaign.id, ['u3']);
    expect((await fixture.read(campaign.id)).status).toBe('active');
    await endCampaign(campaign.id);
    await store.cron();
    expect(await fixture.read(campaign.id)).toMatchObject({
      status: 'successful',
      successfulTeams: 1,
      formingTeams: 0,
    });
    await Promise.all([full, short].map(({ team }) => settledTeam(team.id)));
    expect(await fixture.statesOf(campaign.id)).toEqual({ u1: 'ordered', u2: 'ordered', u3: 'released' });
    await store.cron();
    expect((await fixture.eventsOf(campaign.id)).filter((topic) => topic === 'successful')).toHaveLength(1);
    expect(await fixture.stockOf('END-7')).toEqual({ quantity: 8, reserved: 2 });
  });

  test('expires at its end if no team was successful', async () => {
    const campaign = await teams.start('END-8', 10);
    const { team } = await teams.open(campaign.id, ['u1', 'u2']);
    await endCampaign(campaign.id);
    await store.cron();
    await settledTeam(team.id);
    expect((await fixture.read(campaign.id)).status).toBe('expired');
    expect((await fixture.eventsOf(campaign.id)).filter((topic) => topic === 'expired')).toHaveLength(1);
    expect(await fixture.stockOf('END-8')).toEqual({ quantity: 10, reserved: 0 });
  });

  test('that is cancelled keeps the teams that have succeeded, and cancels the others', async () => {
    const campaign = await teams.start('END-9', 20, { teamSize: 2 });
    const full = await teams.open(campaign.id, ['u1', 'u2']);
    const short = [await teams.open(campaign.id, ['u3']), await teams.open(campaign.id, ['u4'])];
    expect((await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`)).body.status).toBe('failed');
    await Promise.all([full, ...short].map(({ team }) => settledTeam(team.id)));
    expect(await statusOf(full.team.id)).toBe('successful');
    for (const { team } of short) {
      expect(await teams.row(team.id)).toMatchObject({ status: 'cancelled', joined: 1 });
      expect(await teams.eventsOf(team.id)).toEqual(['created', 'cancelled']);
    }
    expect(await fixture.statesOf(campaign.id)).toEqual({
      u1: 'ordered',
      u2: 'ordered',
      u3: 'released',
      u4: 'released',
    });
    expect((await fixture.participants(campaign.id)).map((place) => place.reason)).toEqual([
      ...[null, null, 'team_cancelled', 'team_cancelled'],
    ]);
    expect(await fixture.stockOf('END-9')).toEqual({ quantity: 18, reserved: 2 });
    expect(await teams.join(short[0]?.team.id, 'u9')).toMatchObject({ status: 409 });
  });

  test('that is cancelled while a team is opened cancels that team as well', async () => {
    const campaign = await teams.start('END-10', 20);
    await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
    await store.settled();
    await teams.fill(campaign.id, 1, 1);
    const [late] = await teams.rowsOf(campaign.id);
    await store.cron();
    expect(await statusOf(late?.id ?? '')).toBe('cancelled');
    await settledTeam(late?.id ?? '');
    const isSettled = async () =>
      (
        await store.database.query<{ settled: boolean }>(
          'select settled_at is not null as settled from group_commerce.group_commerce_campaigns where id = $1',
          [campaign.id],
        )
      )[0]?.settled;
    expect(await isSettled()).toBe(false);
    await store.cron('* * * * *', inSeconds(61));
    expect(await isSettled()).toBe(true);
    expect(await fixture.stockOf('END-10')).toEqual({ quantity: 20, reserved: 0 });
  });
});
