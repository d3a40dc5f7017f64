import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Reply, type Store, startStore, until } from '../support/harness.ts';
import { startQueues, stopQueues } from '../support/outbox.ts';
import { jobSecret } from '../support/secrets.ts';
import { type TeamRow, teamFixture } from '../support/teams.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let teams: ReturnType<typeof teamFixture>;
/** Connections with the Worker's role, so that two runs of the cron's function go on at once. */
let crons: pg.Client[];
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  fixture = campaignFixture(store);
  teams = teamFixture(store, fixture);
  crons = await Promise.all(
    [1, 2].map(async () => {
      const client = new pg.Client(store.database.workerUrl);
      await client.connect();
      return client;
    }),
  );
});
afterAll(async () => {
  await Promise.all(crons.map((client) => client.end()));
  await store.close();
});

const seed = Number(process.env.SEED ?? 20_261_201);
const users = ['u1', 'u2', 'u3', 'u4', 'u5', 'u6', 'u7', 'u8'];

/** Ends what is due, as the cron does. Like the Worker, repeats a call that Postgres asks to repeat. */
async function endTeams(client = crons[0], limit = 500): Promise<number> {
  for (;;) {
    try {
      const { rows } = await (client as pg.Client).query('select group_commerce.end_teams($1, $2) as result', [
        JSON.stringify({ jobSecret, now: new Date().toISOString() }),
        JSON.stringify({ limit }),
      ]);
      return rows[0].result.ended;
    } catch (error) {
      if (!(error instanceof pg.DatabaseError && ['40001', '40P01'].includes(error.code ?? ''))) throw error;
    }
  }
}

type Place = { id: string; user_id: string; team_id: string; state: string; payment_id: string; amount: string };
const placesOf = (campaignId: string) =>
  store.database.query<Place>(
    `select p.id, p.user_id, p.team_id, p.state, p.payment_id, y.amount
     from group_commerce.participants p left join payments.payments y on y.payment_id = p.payment_id
     where p.campaign_id = $1 order by p.id`,
    [campaignId],
  );

/** Checks each team against its places: counts, size, success, and that no user has two places in a team. */
async function audit(campaignId: string) {
  const [rows, places] = await Promise.all([teams.rowsOf(campaignId), placesOf(campaignId)]);
  const live = places.filter((place) => place.state !== 'released');
  for (const team of rows) {
    const members = live.filter((place) => place.team_id === team.id).map((place) => place.user_id);
    expect(new Set(members).size).toBe(members.length);
    expect(members.length).toBeLessThanOrEqual(team.size);
    if (team.status === 'forming' || team.status === 'successful') expect(team.joined).toBe(members.length);
    else if (team.status === 'merged') expect(members).toEqual([]);
  }
  return { rows, places, live };
}

describe('a team whose time is over', () => {
  test('moves whole into the oldest team with room, which keeps its leader, code and end time', async () => {
    const campaign = await teams.start('MERGE-1', 20, { teamSize: 4, onShort: 'merge' });
    const oldest = await teams.open(campaign.id, ['u1', 'u2', 'u3'], { merge: true });
    const refusing = await teams.open(campaign.id, ['u1'], {});
    const fitting = await teams.open(campaign.id, ['u4'], { merge: true });
    const younger = await teams.open(campaign.id, ['u5'], { merge: true });
    const short = await teams.open(campaign.id, ['u6', 'u7'], { merge: true });
    await teams.endIn(short.team.id, -1);
    const target = await teams.row(fitting.team.id);
    await store.cron();
    expect(await teams.row(short.team.id)).toMatchObject({ status: 'merged', merged_into: target.id, joined: 2 });
    const merged = await teams.row(target.id);
    expect(merged).toEqual({ ...target, joined: 3, version: expect.any(Number), updated_at: expect.any(Date) });
    expect(await teams.membersOf(target.id)).toEqual(['u4', 'u6', 'u7']);
    expect(await teams.eventsOf(short.team.id)).toEqual(['created', 'joined', 'merged']);
    for (const { team } of [oldest, refusing, younger]) expect((await teams.row(team.id)).status).toBe('forming');
    // The other code leads there, and the last place there decides.
    const last = await store.send('POST', `/v1/teams/by-code/${short.team.code}/join`, { userId: 'u8' });
    expect(last).toMatchObject({ status: 201, body: { team: { id: target.id, joined: 4, status: 'successful' } } });
    await until(async () => (await teams.row(target.id)).settled_at !== null);
    expect((await audit(campaign.id)).live.filter((place) => place.state === 'ordered')).toHaveLength(4);
  });

  test('is left by a member in the team that it moved into', async () => {
    const campaign = await teams.start('MERGE-2', 20, { teamSize: 4, onShort: 'merge' });
    const into = await teams.open(campaign.id, ['u1'], { merge: true });
    const short = await teams.open(campaign.id, ['u2'], { merge: true });
    await teams.endIn(short.team.id, -1);
    await endTeams();
    for (const _ of [1, 2]) {
      const left = await teams.leave(short.team.id, 'u2');
      expect(left).toMatchObject({
        status: 200,
        body: { team: { id: into.team.id, joined: 1 }, participant: { state: 'released', reason: 'left' } },
      });
    }
    await audit(campaign.id);
  });

  test('completes another one whose time is over as well, and expires if none of them would succeed', async () => {
    const campaign = await teams.start('MERGE-3', 20, { teamSize: 3, onShort: 'merge' });
    const first = await teams.open(campaign.id, ['u1', 'u2'], { merge: true });
    const second = await teams.open(campaign.id, ['u3', 'u4'], { merge: true });
    const third = await teams.open(campaign.id, ['u5'], { merge: true });
    for (const { team } of [first, second, third]) await teams.endIn(team.id, -1);
    await store.cron();
    const statuses = await Promise.all(
      [first, second, third].map(async ({ team }) => (await teams.row(team.id)).status),
    );
    expect(statuses).toEqual(['successful', 'expired', 'merged']);
    expect((await teams.eventsOf(first.team.id)).at(-1)).toBe('successful');
    await until(async () => (await teams.row(second.team.id)).settled_at !== null);
    await until(async () => (await teams.row(first.team.id)).settled_at !== null);
    expect(await fixture.stockOf('MERGE-3')).toEqual({ quantity: 17, reserved: 3 });
  });

  test('is not merged if a member refuses, if the campaign releases short teams, or into a team with the same member', async () => {
    const campaign = await teams.start('MERGE-4', 20, { teamSize: 4, onShort: 'merge' });
    await teams.open(campaign.id, ['u1'], { merge: true });
    const refusing = await teams.open(campaign.id, ['u2'], { merge: true });
    await teams.join(refusing.team.id, 'u3', { merge: false });
    const common = await teams.open(campaign.id, ['u1'], { merge: true });
    const releasing = await teams.start('MERGE-5', 20, { teamSize: 4 });
    await teams.open(releasing.id, ['u1'], { merge: true });
    const other = await teams.open(releasing.id, ['u2'], { merge: true });
    for (const { team } of [refusing, common, other]) await teams.endIn(team.id, -1);
    await endTeams();
    for (const { team } of [refusing, common, other]) expect((await teams.row(team.id)).status).toBe('expired');
  });

  test('completes a team that counts secured places only if all are secured', async () => {
    const campaign = await teams.start('MERGE-6', 20, { teamSize: 2, onShort: 'merge', successOn: 'secured' });
    const [into, first, second] = [
      await teams.open(campaign.id, ['u1'], { merge: true }),
      await teams.open(campaign.id, ['u2'], { merge: true }),
      await teams.open(campaign.id, ['u3'], { merge: true }),
    ];
    await fixture.confirm(into.places[0].orderId);
    await fixture.confirm(second.places[0].orderId);
    await until(async () => (await teams.row(into.team.id)).secured + (await teams.row(second.team.id)).secured === 2);
    // The unsecured place could not be secured any more in a team whose time is over.
    await teams.endIn(into.team.id, -1);
    await teams.endIn(first.team.id, -1);
    await store.database.query(`update group_commerce.teams set end_time = now() + interval '1 hour' where id = $1`, [
      into.team.id,
    ]);
    await endTeams();
    expect(await teams.row(into.team.id)).toMatchObject({ status: 'forming', joined: 2, secured: 1 });
    await fixture.confirm(first.places[0].orderId);
    await until(async () => (await teams.row(into.team.id)).status === 'successful');
    expect((await teams.eventsOf(into.team.id)).at(-1)).toBe('successful');
  });
});

type RandomTeam = { members: string[]; refuses: boolean; ended: boolean; secured: boolean };
const randomTeam: fc.Arbitrary<RandomTeam> = fc.record({
  members: fc.uniqueArray(fc.constantFrom(...users), { minLength: 1, maxLength: 4 }),
  refuses: fc.boolean(),
  ended: fc.boolean(),
  secured: fc.boolean(),
});
const randomTeams = fc.record({
  size: fc.integer({ min: 2, max: 6 }),
  successOn: fc.constantFrom('joined', 'secured'),
  teams: fc.array(randomTeam, { minLength: 2, maxLength: 12 }),
  limit: fc.constantFrom(2, 500),
});

let campaigns = 0;

/** Inserts forming teams with these members. */
async function insertTeams(campaignId: string, size: number, drawn: RandomTeam[]) {
  await store.database.query(
    `with drawn as (
       select n, d, platform.uuid7() as id from jsonb_array_elements($2) with ordinality e(d, n)
     ), t as (
       insert into group_commerce.teams (id, tenant_id, campaign_id, code, leader, size, joined, secured, status,
         merge_refusals, end_time, created_at, updated_at)
       select id, 'default', $1, id, d->'members'->>0, $3, jsonb_array_length(d->'members'),
         case when (d->>'secured')::boolean then jsonb_array_length(d->'members') else 0 end, 'forming',
         (d->>'refuses')::boolean::int, now() + case when (d->>'ended')::boolean then '-1 s' else '1 hour' end::interval,
         now(), now()
       from drawn
     ), p as (
       insert into group_commerce.participants (id, tenant_id, campaign_id, team_id, user_id, order_id, payment_id, state,
         joined_at, secured_at, updated_at, merge)
       select platform.uuid7(), 'default', $1, id, m, platform.uuid7(), platform.uuid7(),
         case when (d->>'secured')::boolean then 'secured' else 'joined' end, now(),
         case when (d->>'secured')::boolean then now() end, now(), not (d->>'refuses')::boolean or k > 1
       from drawn, jsonb_array_elements_text(d->'members') with ordinality x(m, k) returning *
     )
     insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id, mode, campaign_id, user_id,
       created_at, updated_at, checked_at)
     select p.payment_id, p.order_id, 20, 'USD', 'pending', 'default', 'hold', $1, p.user_id, now(), now(), now() from p`,
    [campaignId, JSON.stringify(drawn), size],
  );
}

test('merges never exceed a size, split a team, or change a place’s price, whatever the teams are', async () => {
  console.log(`team merges: SEED=${seed}`);
  await stopQueues(store.database); // nothing is released meanwhile
  await fc.assert(
    fc.asyncProperty(randomTeams, async ({ size, successOn, teams: drawn, limit }) => {
      const campaign = await teams.start(`RANDOM-${++campaigns}`, 50, { teamSize: size, successOn, onShort: 'merge' });
      // A full team has succeeded, unless its places must be secured and are not.
      const forming = drawn
        .map((team) => ({ ...team, members: team.members.slice(0, size) }))
        .filter((team) => team.members.length < size || (successOn === 'secured' && !team.secured));
      await insertTeams(campaign.id, size, forming);
      const before = await audit(campaign.id);
      while ((await endTeams(crons[0], limit)) > 0);
      const after = await audit(campaign.id);

      const withoutTeam = (places: Place[]) => places.map(({ team_id: _, ...place }) => place);
      expect(withoutTeam(after.places)).toEqual(withoutTeam(before.places));
      const rows = new Map(after.rows.map((team) => [team.id, team]));
      for (const old of before.rows) {
        const team = rows.get(old.id) as TeamRow;
        expect([team.leader, team.code, team.end_time, team.size]).toEqual([
          old.leader,
          old.code,
          old.end_time,
          old.size,
        ]);
        const isOver = old.end_time.getTime() <= Date.now();
        if (team.status === 'merged') {
          expect([isOver, old.merge_refusals]).toEqual([true, 0]);
          expect([team.joined, team.secured]).toEqual([old.joined, old.secured]);
          const into = rows.get(team.merged_into ?? '') as TeamRow;
          expect(into.merge_refusals).toBe(0);
          // Its members moved together.
          const moved = before.places.filter((place) => place.team_id === old.id).map((place) => place.id);
          for (const place of after.places) if (moved.includes(place.id)) expect(place.team_id).toBe(into.id);
          // Nobody moves into a team that expires.
          expect(['forming', 'successful']).toContain(into.status);
        } else if (team.status === 'expired') {
          expect([isOver, team.joined]).toEqual([true, old.joined]);
        } else expect([team.status, isOver]).not.toEqual(['forming', true]);
        const counting = successOn === 'joined' ? team.joined : team.secured;
        expect(team.status === 'successful').toBe(counting === team.size && team.status !== 'merged');
        const count = before.places.filter((place) => after.places.find((p) => p.id === place.id)?.team_id === team.id);
        if (team.status !== 'merged') expect(team.joined).toBe(count.length);
      }
      // A team expires only if no team whose time is not over could take it.
      const membersOf = (id: string) =>
        after.live.filter((place) => place.team_id === id).map((place) => place.user_id);
      for (const expired of after.rows.filter((team) => team.status === 'expired' && team.merge_refusals === 0)) {
        if (expired.joined === expired.size) continue;
        const fitting = after.rows.filter(
          (team) =>
            team.status === 'forming' &&
            team.merge_refusals === 0 &&
            team.size - team.joined >= expired.joined &&
            !membersOf(team.id).some((member) => membersOf(expired.id).includes(member)),
        );
        expect(fitting).toEqual([]);
      }
    }),
    { seed, numRuns: Number(process.env.RUNS ?? 60), endOnFailure: true },
  );
  await startQueues(store.database);
}, 300_000);

/** Sends requests while these teams are locked, so that they go on at the same moment. Some need no lock. */
async function sendWhileLocked(teamIds: string[], requests: (() => Promise<Reply>)[]): Promise<Reply[]> {
  const client = new pg.Client(store.database.url);
  await client.connect();
  try {
    await client.query('begin');
    await client.query('select from group_commerce.teams where id = any($1) order by id for update', [teamIds]);
    const replies = requests.map((request) => request());
    await sleep(150);
    await client.query('commit');
    return await Promise.all(replies);
  } finally {
    await client.end();
  }
}

test('a merge against a join, a leave and an expiry at once loses no place and no member', async () => {
  const random = fc.sample(
    fc.record({
      size: fc.integer({ min: 2, max: 4 }),
      targetEnds: fc.boolean(),
      leaver: fc.constantFrom('mover', 'target', 'none'),
      joins: fc.constantFrom('target', 'mover-code', 'both'),
      crons: fc.integer({ min: 1, max: 2 }),
      order: fc.shuffledSubarray([0, 1, 2, 3, 4], { minLength: 5, maxLength: 5 }),
    }),
    { seed, numRuns: 30 },
  );
  for (const [n, round] of random.entries()) {
    const sku = `CLASH-${n}`;
    const campaign = await teams.start(sku, 20, { teamSize: round.size, onShort: 'merge' });
    const target = await teams.open(campaign.id, ['leader'], { merge: true });
    const mover = await teams.open(campaign.id, ['mover'], { merge: true });
    await teams.endIn(mover.team.id, -1);
    if (round.targetEnds) await teams.endIn(target.team.id, -1);
    const replies: (() => Promise<Reply>)[] = [];
    const leaving = { mover: [mover.team.id, 'mover'], target: [target.team.id, 'leader'], none: undefined }[
      round.leaver
    ];
    if (leaving) replies.push(() => teams.leave(leaving[0] ?? '', leaving[1] ?? ''));
    if (round.joins !== 'mover-code') replies.push(() => teams.join(target.team.id, 'late', { merge: true }));
    const byCode = `/v1/teams/by-code/${mover.team.code}/join`;
    if (round.joins !== 'target') replies.push(() => store.send('POST', byCode, { userId: 'later', merge: true }));
    const ends = crons.slice(0, round.crons).map((client) => async () => {
      await endTeams(client);
      return { status: 200, headers: new Headers(), body: {} };
    });
    const all = [...replies, ...ends];
    const shuffled = round.order.flatMap((index) => all[index] ?? []);
    const answers = await sendWhileLocked([target.team.id, mover.team.id], shuffled);
    for (const { status, body } of answers) {
      // A member of a team that is forming, wherever it moved to, always finds its place.
      expect([200, 201, 409]).toContain(status);
      if (status === 409) expect(['team_full', 'team_not_open']).toContain(body.code);
    }
    while ((await endTeams()) > 0);
    await store.cron();
    await store.settled();
    const { rows, live } = await audit(campaign.id);
    for (const team of rows) if (team.end_time.getTime() <= Date.now()) expect(team.status).not.toBe('forming');
    await until(async () =>
      (await audit(campaign.id)).rows.every((t) => t.settled_at || ['forming', 'merged'].includes(t.status)),
    );
    const left = (await audit(campaign.id)).live;
    expect(await fixture.stockOf(sku)).toEqual({ quantity: 20 - left.length, reserved: left.length });
    expect(left.length).toBeLessThanOrEqual(live.length);
  }
}, 300_000);
