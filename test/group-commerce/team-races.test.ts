import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { oneLine, type Reply, type Store, startStore, until } from '../support/harness.ts';
import { sendTogether } from '../support/locks.ts';
import { addShopper } from '../support/shoppers.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;

beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000', DATABASE_DEADLINE_MS: '60000' } });
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

const stock = 100;
let campaigns = 0;
const startTeams = (more: Record<string, unknown> = {}) =>
  fixture.start(`TEAM-RACE-${++campaigns}`, stock, {
    ...{ mode: 'teams', teamSize: 2, teamSeconds: 3_600, minParticipants: undefined, maxParticipants: undefined },
    ...more,
  });
type Campaign = Awaited<ReturnType<typeof startTeams>>;

const open = (campaign: Campaign, userId: string, more: object = {}) =>
  store.send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId, ...more });
const openTeam = async (campaign: Campaign, userId: string) => (await open(campaign, userId)).body.team.id as string;
const join = (teamId: string, userId: string, more: object = {}) =>
  store.send('POST', `/v1/teams/${teamId}/join`, { userId, ...more });
const leave = (teamId: string, userId: string) => store.send('POST', `/v1/teams/${teamId}/leave`, { userId });
const readTeam = async (teamId: string) => (await store.send('GET', `/v1/teams/${teamId}`)).body;
const countOf = (replies: Reply[], code: string) => replies.filter(({ body }) => body.code === code).length;
const joinedIn = (replies: Reply[]) => replies.filter(({ status }) => status === 201);

const lockTeams = 'select from group_commerce.teams where id = any($1) for update';

/** The users with a place in the team, the earliest first. */
const membersOf = async (teamId: string) =>
  (
    await store.database.query<{ user_id: string }>(
      `select user_id from group_commerce.participants where team_id = $1 and state <> 'released' order by id`,
      [teamId],
    )
  ).map((row) => row.user_id);

/** Checks that every place has its count, its unit of stock and its payment, and that nothing else has one. */
async function auditTeams(campaign: Campaign) {
  await store.settled();
  const places = await store.database.query<{ order_id: string; quantity: number; state: string }>(
    'select order_id, quantity, state from group_commerce.participants where campaign_id = $1',
    [campaign.id],
  );
  const teams = await store.database.query<{
    id: string;
    joined: number;
    live: number;
    leads: boolean;
    status: string;
  }>(
    `select t.id, t.joined, t.status, count(p.id)::int as live, coalesce(bool_or(p.user_id = t.leader), false) as leads
     from group_commerce.teams t
     left join group_commerce.participants p on p.team_id = t.id and p.state <> 'released'
     where t.campaign_id = $1 group by t.id`,
    [campaign.id],
  );
  for (const { id, joined, live, leads, status } of teams) {
    expect([id, joined]).toEqual([id, live]);
    expect([id, leads]).toEqual([id, live > 0]);
    if (live === 0) expect(status).toBe('cancelled');
  }
  const units = places.reduce((sum, place) => sum + (place.state === 'released' ? 0 : place.quantity), 0);
  const held = await fixture.stockOf(campaign.sku);
  expect((held?.quantity ?? 0) + units).toBe(stock);
  const orders = places.map((place) => place.order_id).sort();
  const payments = await store.database.query<{ order_id: string }>(
    'select order_id from payments.payments where campaign_id = $1 order by order_id',
    [campaign.id],
  );
  expect(payments.map((payment) => payment.order_id)).toEqual(orders);
  const reservations = await store.database.query<{ n: number }>(
    `select count(*)::int as n from inventory.reservations where $1 = any(skus) and order_id <> all($2)`,
    [campaign.sku, orders],
  );
  expect(reservations).toEqual([{ n: 0 }]);
}

describe('the last place of a team', () => {
  test.each([2, 20])(
    'goes to one of %i users who take it at once, and the others owe and hold nothing',
    async (many) => {
      const campaign = await startTeams();
      const team = await openTeam(campaign, 'leader');
      const users = Array.from({ length: many }, (_, n) => `user-${n}`);
      const replies = await sendTogether(
        store,
        lockTeams,
        [team],
        users.map((user) => () => join(team, user)),
      );
      expect(joinedIn(replies)).toHaveLength(1);
      expect(countOf(replies, 'team_full')).toBe(many - 1);
      expect(await readTeam(team)).toMatchObject({ joined: 2, status: 'successful' });
      expect((await fixture.eventsOf(team)).filter((topic) => topic.endsWith('.successful'))).toHaveLength(1);
      await auditTeams(campaign);
      // Stripe has an intent for each place, and none for anybody else.
      const owed = new Set<string | undefined>();
      await until(async () => {
        for await (const intent of fixture.stripe.paymentIntents.list({ limit: 100 }))
          owed.add(intent.metadata.orderId);
        return (await fixture.participants(campaign.id)).every((place) => owed.has(place.order_id));
      });
      const places = await store.database.query<{ order_id: string }>(
        'select order_id from group_commerce.participants',
      );
      const ordered = new Set(places.map((place) => place.order_id));
      expect([...owed].filter((order) => order === undefined || !ordered.has(order))).toEqual([]);
    },
  );

  test('goes to a user once who takes it twice at once', async () => {
    const campaign = await startTeams({ maxPerCustomer: 1 });
    const team = await openTeam(campaign, 'leader');
    const replies = await sendTogether(
      store,
      lockTeams,
      [team],
      Array.from({ length: 4 }, () => () => join(team, 'user')),
    );
    expect(replies.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
    expect(new Set(replies.map(({ body }) => body.participant.id)).size).toBe(1);
    expect(await readTeam(team)).toMatchObject({ joined: 2, status: 'successful' });
    await auditTeams(campaign);
  });

  test('of each of 20 teams is taken at once, and every team succeeds', async () => {
    const campaign = await startTeams();
    const teams: string[] = [];
    for (let n = 0; n < 20; n++) teams.push(await openTeam(campaign, `leader-${n}`));
    const replies = await Promise.all(teams.map((team, n) => join(team, `user-${n}`)));
    expect(joinedIn(replies)).toHaveLength(20);
    expect(await fixture.read(campaign.id)).toMatchObject({ successfulTeams: 20, formingTeams: 0, status: 'active' });
    await auditTeams(campaign);
  });
});

describe('a user', () => {
  test('who joins a team many times at once gets one place', async () => {
    const campaign = await startTeams({ teamSize: 5 });
    const team = await openTeam(campaign, 'leader');
    const replies = await Promise.all(Array.from({ length: 10 }, () => join(team, 'user')));
    expect(replies.map(({ status }) => status)).toEqual(Array(10).fill(201));
    expect(new Set(replies.map(({ body }) => body.participant.id)).size).toBe(1);
    expect(await membersOf(team)).toEqual(['leader', 'user']);
    await auditTeams(campaign);
  });

  test.each(['joins', 'opens'])('who %s several teams at once never has more units than the limit', async (how) => {
    const campaign = await startTeams({ teamSize: 9, maxPerCustomer: 5 });
    const teams: string[] = [];
    for (let n = 0; n < 6; n++) teams.push(await openTeam(campaign, `leader-${n}`));
    const take = (team: string) =>
      how === 'joins' ? join(team, 'user', { quantity: 2 }) : open(campaign, 'user', { quantity: 2 });
    const replies = await Promise.all(teams.map(take));
    expect(joinedIn(replies)).toHaveLength(2);
    expect(countOf(replies, 'limit_per_customer')).toBe(4);
    const counted = await store.database.query(
      `select units from group_commerce.campaign_customers where campaign_id = $1 and user_id = 'user'`,
      [campaign.id],
    );
    expect(counted).toEqual([{ units: 4 }]);
    await auditTeams(campaign);
  });

  test('who leaves while joining another team ends within the limit', async () => {
    const campaign = await startTeams({ teamSize: 9, maxPerCustomer: 1 });
    let team = await openTeam(campaign, 'leader');
    await join(team, 'user');
    for (let turn = 0; turn < 8; turn++) {
      const other = await openTeam(campaign, `leader-${turn}`);
      const [left, joined] = await Promise.all([leave(team, 'user'), join(other, 'user')]);
      expect(left.status).toBe(200);
      if (joined.status !== 201) {
        expect(joined.body.code).toBe('limit_per_customer');
        expect((await join(other, 'user')).status).toBe(201);
      }
      team = other;
    }
    await auditTeams(campaign);
  });
});

describe('a team that is left', () => {
  test('by its leader while others join has one of its members as leader, and keeps its end time', async () => {
    for (let turn = 0; turn < 6; turn++) {
      const campaign = await startTeams({ teamSize: 9 });
      const team = await openTeam(campaign, 'leader');
      const { endTime } = await readTeam(team);
      await join(team, 'member');
      const replies = await sendTogether(
        store,
        lockTeams,
        [team],
        [...['user-1', 'user-2', 'user-3'].map((user) => () => join(team, user)), () => leave(team, 'leader')],
      );
      expect(replies.map(({ status }) => status)).toEqual([201, 201, 201, 200]);
      const found = await readTeam(team);
      expect(found).toMatchObject({ joined: 4, leader: 'member', endTime, status: 'forming' });
      await auditTeams(campaign);
    }
  });

  test('by its last member while another user joins is cancelled with nobody in it, or led by that user', async () => {
    const ends = new Set<string>();
    for (let turn = 0; turn < 12; turn++) {
      const campaign = await startTeams({ teamSize: 3 });
      const team = await openTeam(campaign, 'leader');
      const steps = [() => leave(team, 'leader'), () => join(team, 'user')];
      if (turn % 2 === 0) steps.reverse();
      const replies = await Promise.all(steps.map((step) => step()));
      const joined = turn % 2 === 0 ? replies[0] : replies[1];
      const found = await readTeam(team);
      if (joined?.status === 201) {
        expect(found).toMatchObject({ status: 'forming', joined: 1, leader: 'user' });
        expect(await membersOf(team)).toEqual(['user']);
      } else {
        expect(joined?.body.code).toBe('team_not_open');
        expect(found).toMatchObject({ status: 'cancelled', joined: 0 });
        expect(await membersOf(team)).toEqual([]);
      }
      ends.add(found.status);
      await auditTeams(campaign);
    }
    expect(ends.size).toBeGreaterThan(0);
  }, 60_000);

  test('twice at once is left once', async () => {
    const campaign = await startTeams({ teamSize: 3, maxPerCustomer: 2 });
    const team = await openTeam(campaign, 'leader');
    await join(team, 'user');
    const replies = await sendTogether(
      store,
      lockTeams,
      [team],
      [1, 2, 3].map(() => () => leave(team, 'user')),
    );
    expect(replies.map(({ status, body }) => [status, body.team.joined])).toEqual(Array(3).fill([200, 1]));
    const events = await fixture.eventsOf(team);
    expect(events.filter((topic) => topic === 'group-commerce.team.left')).toHaveLength(1);
    await auditTeams(campaign);
  });
});

describe('beside a team', () => {
  test('a refused join holds no stock and opens no payment: full, over, sold out, above the limit', async () => {
    const campaign = await startTeams({ maxPerCustomer: 3 });
    const full = await openTeam(campaign, 'u1');
    await join(full, 'u2');
    const cancelled = await openTeam(campaign, 'u3');
    await leave(cancelled, 'u3');
    const forming = await openTeam(campaign, 'u4');
    const before = await fixture.stockOf(campaign.sku);
    const refused = [await join(full, 'x'), await join(cancelled, 'x'), await join(forming, 'x', { quantity: 4 })];
    await store.database.query('update inventory.inventory set quantity = 1, reserved = 0 where sku = $1', [
      campaign.sku,
    ]);
    refused.push(await join(forming, 'x', { quantity: 2 }));
    expect(refused.map(({ body }) => body.code)).toEqual([
      ...['team_full', 'team_not_open', 'limit_per_customer', 'insufficient_inventory'],
    ]);
    await store.database.query('update inventory.inventory set quantity = $2, reserved = $3 where sku = $1', [
      campaign.sku,
      before?.quantity,
      before?.reserved,
    ]);
    const [counted] = await store.database.query<{ n: number }>(
      `select count(*)::int as n from group_commerce.campaign_customers where campaign_id = $1 and user_id = 'x'`,
      [campaign.id],
    );
    expect(counted?.n).toBe(0);
    await auditTeams(campaign);
  });

  test('the product is sold alone at its own price', async () => {
    const campaign = await startTeams();
    const { body } = await open(campaign, 'u1');
    const alone = await store.send('POST', '/v1/orders', oneLine(campaign.sku));
    expect(alone).toMatchObject({ status: 201, body: { total: 30 } });
    expect(body.participant.total).toBe(20);
    const { session } = await addShopper(store.database);
    const own = await store.send('POST', `/v1/teams/${body.team.id}/join`, {}, { key: session });
    expect(own).toMatchObject({ status: 201, body: { participant: { total: 20 }, team: { status: 'successful' } } });
  });

  test('a transaction that writes the campaign’s row, or another team, delays nothing', async () => {
    const campaign = await startTeams({ teamSize: 3, maxPerCustomer: 5 });
    const [team, busy] = [await openTeam(campaign, 'u1'), await openTeam(campaign, 'u2')];
    const client = new pg.Client(store.database.url);
    await client.connect();
    try {
      await client.query('begin');
      await client.query('select from group_commerce.group_commerce_campaigns where id = $1 for update', [campaign.id]);
      await client.query(lockTeams, [[busy]]);
      const outcomes = [
        await join(team, 'u3'),
        await open(campaign, 'u4'),
        await leave(team, 'u1'),
        await join(team, 'u5'),
        await join(team, 'u6'),
      ];
      expect(outcomes.map(({ status }) => status)).toEqual([201, 201, 200, 201, 201]);
      for (const { headers } of outcomes) expect(headers.get('server-timing')).toMatch(/1 calls/); // none has waited
      expect(outcomes.at(-1)?.body.team).toMatchObject({ status: 'successful', leader: 'u3' });
    } finally {
      await client.query('rollback');
      await client.end();
    }
    await auditTeams(campaign);
  });
});
