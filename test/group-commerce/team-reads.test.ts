import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Send, type Store, startStore } from '../support/harness.ts';
import { addShopper, type Customer } from '../support/shoppers.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let publishable: string;

beforeAll(async () => {
  store = await startStore();
  fixture = campaignFixture(store);
  publishable = await store.database.key({ kind: 'publishable' });
});
afterAll(() => store.close());

let campaigns = 0;
const startTeams = (more: Record<string, unknown> = {}) =>
  fixture.start(`TEAM-READ-${++campaigns}`, 100, {
    ...{ mode: 'teams', teamSize: 3, teamSeconds: 3_600, minParticipants: undefined, maxParticipants: undefined },
    ...more,
  });
const open = async (campaignId: string, userId: string, more: object = {}) => {
  const { status, body } = await store.send('POST', `/v1/campaigns/${campaignId}/teams`, { userId, ...more });
  expect(status).toBe(201);
  return body.team as { id: string; code: string; endTime: string };
};
const join = (teamId: string, userId?: string, options?: Send) =>
  store.send('POST', `/v1/teams/${teamId}/join`, { userId }, options);
const get = (path: string, key?: string) => store.send('GET', path, undefined, key === undefined ? {} : { key });
const outcome = ({ status, body }: { status: number; body: { code?: string } }) => [status, body.code];

/** Moves the team into another one, as a merge does when its time ends. */
const merge = (teamId: string, into: string) =>
  store.database.query(`update group_commerce.teams set status = 'merged', merged_into = $2 where id = $1`, [
    teamId,
    into,
  ]);

describe('reading a team', () => {
  test('with a secret key shows its leader, its code and the time left', async () => {
    const campaign = await startTeams();
    const team = await open(campaign.id, 'u1');
    await join(team.id, 'u2');
    const reply = await get(`/v1/teams/${team.id}`);
    expect(reply).toMatchObject({
      status: 200,
      body: { ...team, leader: 'u1', joined: 2, secured: 0, size: 3, status: 'forming', mergedInto: null },
    });
    expect(reply.body.secondsLeft).toBeGreaterThan(3_500);
    expect(reply.body.secondsLeft).toBeLessThanOrEqual(3_600);
    expect((await get(`/v1/teams/by-code/${team.code}`)).body).toMatchObject({ id: team.id, leader: 'u1' });
  });

  test('with a publishable key shows the places and the time left, but nobody’s id, and the code only to who has it', async () => {
    const campaign = await startTeams();
    const team = await open(campaign.id, 'buyer-one', { listed: true });
    await join(team.id, 'buyer-two');
    const byId = await get(`/v1/teams/${team.id}`, publishable);
    expect(byId).toMatchObject({
      status: 200,
      body: { id: team.id, leader: null, code: null, size: 3, joined: 2, secured: 0, status: 'forming' },
    });
    expect(byId.body.secondsLeft).toBeGreaterThan(3_500);
    const byCode = await get(`/v1/teams/by-code/${team.code}`, publishable);
    expect(byCode).toMatchObject({ status: 200, body: { id: team.id, leader: null, code: team.code } });
    const list = await get(`/v1/campaigns/${campaign.id}/teams`, publishable);
    expect(list.body.data).toMatchObject([{ id: team.id, leader: null, code: null }]);
    for (const reply of [byId, byCode, list]) expect(JSON.stringify(reply.body)).not.toMatch(/buyer/);
    for (const reply of [byId, list]) expect(JSON.stringify(reply.body)).not.toContain(team.code);
  });

  test('with a secret key that cannot write campaigns shows nobody’s id and no code, as for participants', async () => {
    const campaign = await startTeams();
    const team = await open(campaign.id, 'u1');
    const key = await store.database.key({ scopes: ['campaigns:read'] });
    expect((await get(`/v1/teams/${team.id}`, key)).body).toMatchObject({ leader: null, code: null });
    expect((await get(`/v1/campaigns/${campaign.id}/teams`, key)).body.data).toEqual([]);
    expect(outcome(await get(`/v1/campaigns/${campaign.id}/participants`, key))).toEqual([403, 'forbidden']);
  });

  test('with a session shows the code to members only, and no other customer’s id', async () => {
    const campaign = await startTeams();
    const [leader, member, stranger] = (await Promise.all([1, 2, 3].map(() => addShopper(store.database)))) as [
      Customer,
      Customer,
      Customer,
    ];
    const as = ({ session }: Customer) => ({ key: session });
    const opened = await store.send('POST', `/v1/campaigns/${campaign.id}/teams`, {}, as(leader));
    expect(opened).toMatchObject({ status: 201, body: { team: { leader: leader.id } } });
    const { id, code } = opened.body.team;
    const read = async ({ session }: Customer) => (await get(`/v1/teams/${id}`, session)).body;
    expect(await read(member)).toMatchObject({ leader: null, code: null, joined: 1 });
    const joined = await store.send('POST', `/v1/teams/by-code/${code}/join`, {}, as(member));
    expect(joined).toMatchObject({
      status: 201,
      body: { team: { leader: null, code }, participant: { userId: member.id, teamId: id } },
    });
    expect(await read(member)).toMatchObject({ leader: null, code, joined: 2 });
    expect(await read(leader)).toMatchObject({ leader: leader.id, code });
    expect(await read(stranger)).toMatchObject({ leader: null, code: null });
    const left = await store.send('POST', `/v1/teams/${id}/leave`, {}, as(leader));
    expect(left).toMatchObject({ status: 200, body: { team: { leader: null, joined: 1 } } });
    expect(await read(leader)).toMatchObject({ leader: null, code: null });
    expect(await read(member)).toMatchObject({ leader: member.id, code });
  });

  test('by a code of a merged team leads to the last team that it moved into', async () => {
    const campaign = await startTeams();
    const [first, second, third] = [
      await open(campaign.id, 'u1'),
      await open(campaign.id, 'u2'),
      await open(campaign.id, 'u3'),
    ];
    await merge(third.id, second.id);
    await merge(second.id, first.id);
    for (const key of [store.key, publishable]) {
      const { body } = await get(`/v1/teams/by-code/${third.code}`, key);
      expect(body).toMatchObject({ id: first.id, code: first.code, status: 'forming' });
      expect((await get(`/v1/teams/${third.id}`, key)).body).toMatchObject({
        ...{ id: third.id, status: 'merged', mergedInto: second.id, secondsLeft: 0 },
      });
    }
  });

  test('has no time left once it is over', async () => {
    const campaign = await startTeams({ teamSize: 2 });
    const team = await open(campaign.id, 'u1');
    await join(team.id, 'u2');
    expect((await get(`/v1/teams/${team.id}`)).body).toMatchObject({ status: 'successful', secondsLeft: 0 });
    const late = await open(campaign.id, 'u1');
    await store.database.query(`update group_commerce.teams set end_time = now() - interval '1 s' where id = $1`, [
      late.id,
    ]);
    expect((await get(`/v1/teams/${late.id}`)).body).toMatchObject({ status: 'forming', secondsLeft: 0 });
  });

  test('of another tenant or of none is 404', async () => {
    const campaign = await startTeams();
    const team = await open(campaign.id, 'u1', { listed: true });
    const acme = await store.database.key({ tenant: 'acme' });
    const acmePublishable = await store.database.key({ tenant: 'acme', kind: 'publishable' });
    const { session } = await addShopper(store.database, 'acme');
    for (const key of [acme, acmePublishable, session]) {
      for (const path of [
        `/v1/teams/${team.id}`,
        `/v1/teams/by-code/${team.code}`,
        `/v1/campaigns/${campaign.id}/teams`,
      ]) {
        expect([path, ...outcome(await get(path, key))]).toEqual([path, 404, 'not_found']);
      }
    }
    for (const path of [`/v1/teams/${randomUUID()}`, '/v1/teams/x', `/v1/teams/by-code/${'0'.repeat(16)}`]) {
      expect([path, ...outcome(await get(path))]).toEqual([path, 404, 'not_found']);
    }
  });
});

describe('the teams of a campaign', () => {
  test('are listed newest first, page by page, by status, and to buyers only the listed ones', async () => {
    const campaign = await startTeams({ teamSize: 2 });
    const teams: string[] = [];
    for (let n = 0; n < 6; n++) teams.push((await open(campaign.id, `u${n}`, { listed: n % 2 === 0 })).id);
    await join(teams[4] as string, 'other');
    const walk = async (filter: string, key = store.key) => {
      const found: string[] = [];
      let next: string | null = `/v1/campaigns/${campaign.id}/teams?limit=2${filter}`;
      while (next !== null) {
        const { status, body, headers } = await get(next, key);
        expect(status).toBe(200);
        found.push(...body.data.map((team: { id: string }) => team.id));
        next = body.nextCursor === null ? null : `${next.split('&cursor')[0]}&cursor=${body.nextCursor}`;
        expect(headers.get('content-type')).toMatch(/json/);
      }
      return found.map((id) => teams.indexOf(id));
    };
    expect(await walk('')).toEqual([5, 4, 3, 2, 1, 0]);
    expect(await walk('&status=forming')).toEqual([5, 3, 2, 1, 0]);
    expect(await walk('&status=successful')).toEqual([4]);
    expect(await walk('', publishable)).toEqual([4, 2, 0]);
    expect(await walk('&status=forming', publishable)).toEqual([2, 0]);
    expect(await walk('&status=cancelled', publishable)).toEqual([]);
  });

  test('are none in a pool, 404 in no campaign, and 422 with an unknown status', async () => {
    const pool = await fixture.start('TEAM-READ-POOL', 5);
    expect((await get(`/v1/campaigns/${pool.id}/teams`, publishable)).body).toMatchObject({ data: [] });
    expect(outcome(await get(`/v1/campaigns/${randomUUID()}/teams`))).toEqual([404, 'not_found']);
    expect(outcome(await get(`/v1/campaigns/${pool.id}/teams?status=full`))).toEqual([422, 'validation_failed']);
  });

  test('have participants that are listed by team, and a session lists its own only', async () => {
    const campaign = await startTeams();
    const shopper = await addShopper(store.database);
    const [first, second] = [await open(campaign.id, 'u1'), await open(campaign.id, 'u2')];
    await join(first.id, undefined, { key: shopper.session });
    await join(second.id, undefined, { key: shopper.session });
    await join(second.id, 'u3');
    const users = async (filter: string, key = store.key) => {
      const { body } = await get(`/v1/campaigns/${campaign.id}/participants${filter}`, key);
      return body.data.map((each: { userId: string; teamId: string }) => [each.userId, each.teamId]);
    };
    const id = shopper.id;
    expect(await users(`?teamId=${second.id}`)).toEqual([
      ['u3', second.id],
      [id, second.id],
      ['u2', second.id],
    ]);
    expect(await users('')).toHaveLength(5);
    expect(await users(`?teamId=${first.id}`, shopper.session)).toEqual([[id, first.id]]);
    expect(await users('', shopper.session)).toHaveLength(2);
    expect(await users(`?teamId=${randomUUID()}`)).toEqual([]);
    expect(outcome(await get(`/v1/campaigns/${campaign.id}/participants?teamId=x`))).toEqual([
      422,
      'validation_failed',
    ]);
  });
});

describe('cancelling a team', () => {
  const cancel = (id: string, options: Send = {}) => store.send('POST', `/v1/teams/${id}/cancel`, undefined, options);

  test('ends it once, however often it is asked for', async () => {
    const campaign = await startTeams();
    const team = await open(campaign.id, 'u1');
    const idempotencyKey = randomUUID();
    const first = await cancel(team.id, { idempotencyKey });
    expect(first).toMatchObject({ status: 200, body: { id: team.id, status: 'cancelled', leader: 'u1' } });
    const replay = await cancel(team.id, { idempotencyKey });
    expect([replay.status, replay.body, replay.headers.get('idempotent-replayed')]).toEqual([200, first.body, 'true']);
    expect(await cancel(team.id)).toMatchObject({ status: 200, body: { status: 'cancelled' } });
    const topics = await fixture.eventsOf(team.id);
    expect(topics.filter((topic) => topic === 'group-commerce.team.cancelled')).toHaveLength(1);
    expect(await join(team.id, 'u2')).toMatchObject({ status: 409, body: { code: 'team_not_open' } });
    expect((await fixture.read(campaign.id)).status).toBe('active');
  });

  test('at the same time as its last place is taken does one of both', async () => {
    for (let n = 0; n < 8; n++) {
      const campaign = await startTeams({ teamSize: 2 });
      const team = await open(campaign.id, 'u1');
      const [cancelled, joined] = await Promise.all([cancel(team.id), join(team.id, 'u2')]);
      const { body } = await get(`/v1/teams/${team.id}`);
      if (cancelled.status === 200) {
        expect(outcome(joined)).toEqual([409, 'team_not_open']);
        expect(body).toMatchObject({ status: 'cancelled' });
      } else {
        expect([...outcome(cancelled), joined.status]).toEqual([409, 'conflict', 201]);
        expect(body).toMatchObject({ status: 'successful', joined: 2 });
      }
    }
  });

  test('is refused, with what to do, once it has succeeded, expired or was merged', async () => {
    const campaign = await startTeams({ teamSize: 2 });
    const successful = await open(campaign.id, 'u1');
    await join(successful.id, 'u2');
    const expired = await open(campaign.id, 'u3');
    await store.database.query(`update group_commerce.teams set status = 'expired' where id = $1`, [expired.id]);
    const merged = await open(campaign.id, 'u4');
    await merge(merged.id, successful.id);
    const details: string[] = [];
    for (const { id } of [successful, expired, merged]) {
      const reply = await cancel(id);
      expect(outcome(reply)).toEqual([409, 'conflict']);
      details.push(reply.body.detail);
    }
    expect(details).toEqual([
      'The team has succeeded. Cancel or refund the orders of its members.',
      'The time of the team is over, and its places are released. There is nothing to cancel.',
      `The team was merged into the team ${successful.id}. Cancel that team to end the places of both.`,
    ]);
  });

  test('needs a secret key of its tenant that may write campaigns', async () => {
    const campaign = await startTeams();
    const team = await open(campaign.id, 'u1');
    const { session } = await addShopper(store.database);
    const reader = await store.database.key({ scopes: ['campaigns:read'] });
    for (const key of [publishable, session, reader]) {
      expect(outcome(await cancel(team.id, { key }))).toEqual([403, 'forbidden']);
    }
    expect(outcome(await cancel(team.id, { key: await store.database.key({ tenant: 'acme' }) }))).toEqual([
      404,
      'not_found',
    ]);
    expect(outcome(await cancel(randomUUID()))).toEqual([404, 'not_found']);
    expect((await get(`/v1/teams/${team.id}`)).body.status).toBe('forming');
  });
});

describe('opening, joining and leaving a team', () => {
  test('with the same idempotency key return the same response, and with another body 409', async () => {
    const campaign = await startTeams();
    const send = (path: string, userId: string, idempotencyKey: string) =>
      store.send('POST', path, { userId }, { idempotencyKey });
    const paths = [`/v1/campaigns/${campaign.id}/teams`];
    for (let step = 0; step < paths.length; step++) {
      const path = paths[step] as string;
      const key = randomUUID();
      const user = step === 0 ? 'u1' : 'u2';
      const first = await send(path, user, key);
      expect(first.status).toBe(path.endsWith('leave') ? 200 : 201);
      if (step === 0) {
        const { id, code } = first.body.team;
        paths.push(`/v1/teams/${id}/join`, `/v1/teams/by-code/${code}/join`, `/v1/teams/${id}/leave`);
      }
      const replay = await send(path, user, key);
      expect([replay.status, replay.body]).toEqual([first.status, first.body]);
      expect(replay.headers.get('idempotent-replayed')).toBe('true');
      expect(outcome(await send(path, 'u9', key))).toEqual([422, 'idempotency_key_reused']);
    }
    const [counts] = await store.database.query(
      `select count(*)::int as teams, sum(joined)::int as joined from group_commerce.teams where campaign_id = $1`,
      [campaign.id],
    );
    expect(counts).toEqual({ teams: 1, joined: 1 });
  });

  test('need an idempotency key, a user and known fields', async () => {
    const campaign = await startTeams();
    const team = await open(campaign.id, 'u1');
    const paths = [
      ...[`/v1/campaigns/${campaign.id}/teams`, `/v1/teams/${team.id}/join`],
      ...[`/v1/teams/by-code/${team.code}/join`, `/v1/teams/${team.id}/leave`],
    ];
    for (const path of paths) {
      const noUser = await store.send('POST', path, {});
      expect([path, ...outcome(noUser)]).toEqual([path, 422, 'validation_failed']);
      expect(noUser.body.errors).toEqual([{ pointer: '/userId', detail: expect.stringMatching(/required/) }]);
      const wrong = await store.send('POST', path, { userId: 'u2', size: 5 });
      expect([path, ...outcome(wrong)]).toEqual([path, 422, 'validation_failed']);
      expect(wrong.body.errors[0].pointer).toBe('/size');
    }
    for (const path of paths.slice(0, 3)) {
      const reply = await store.send('POST', path, { userId: 'u2' }, { idempotencyKey: null });
      expect([path, ...outcome(reply)]).toEqual([path, 400, 'idempotency_key_required']);
    }
  });

  test('are 404 in an unknown team or campaign and in another tenant’s, and 403 for another customer', async () => {
    const campaign = await startTeams();
    const team = await open(campaign.id, 'u1');
    const shopper = await addShopper(store.database);
    const acme = await store.database.key({ tenant: 'acme' });
    const { session: foreign } = await addShopper(store.database, 'acme');
    const paths = (campaignId: string, teamId: string, code: string) => [
      ...[`/v1/campaigns/${campaignId}/teams`, `/v1/teams/${teamId}/join`],
      ...[`/v1/teams/by-code/${code}/join`, `/v1/teams/${teamId}/leave`],
    ];
    for (const path of paths(randomUUID(), randomUUID(), '0'.repeat(16))) {
      expect([path, ...outcome(await store.send('POST', path, { userId: 'u1' }))]).toEqual([path, 404, 'not_found']);
    }
    for (const path of paths(campaign.id, team.id, team.code)) {
      const outcomes = [
        outcome(await store.send('POST', path, { userId: 'u1' }, { key: acme })),
        outcome(await store.send('POST', path, {}, { key: foreign })),
        outcome(await store.send('POST', path, { userId: 'u1' }, { key: shopper.session })),
      ];
      expect([path, outcomes]).toEqual([
        path,
        [
          [404, 'not_found'],
          [404, 'not_found'],
          [403, 'forbidden'],
        ],
      ]);
    }
    expect((await get(`/v1/teams/${team.id}`)).body).toMatchObject({ joined: 1, leader: 'u1' });
  });

  test('say what to do when they are refused', async () => {
    const campaign = await startTeams({ teamSize: 2, maxPerCustomer: 1 });
    const pool = await fixture.start('TEAM-READ-POOL-2', 5);
    const team = await open(campaign.id, 'u1');
    await join(team.id, 'u2');
    const forming = await open(campaign.id, 'u5');
    const cancelled = await open(campaign.id, 'u3');
    await store.send('POST', `/v1/teams/${cancelled.id}/cancel`);
    const refusals = [
      await join(team.id, 'u4'),
      await join(cancelled.id, 'u4'),
      await join(forming.id, 'u1'),
      await store.send('POST', `/v1/campaigns/${pool.id}/teams`, { userId: 'u1' }),
      await fixture.join(campaign.id, 'u4'),
      await fixture.leave(campaign.id, 'u1'),
      await store.send('POST', `/v1/teams/${team.id}/leave`, { userId: 'u2' }),
    ];
    expect(refusals.map(({ status, body }) => [status, body.code, body.detail])).toEqual([
      [409, 'team_full', 'All 2 places of the team are taken. Open a new team, or join another one.'],
      [409, 'team_not_open', 'The team was cancelled. Open a new team, or join another one.'],
      [
        409,
        'limit_per_customer',
        'A customer may have one unit of this campaign, in all teams together. One is taken so far.',
      ],
      [409, 'conflict', 'This campaign has no teams: join the campaign.'],
      [409, 'conflict', expect.stringMatching(/team/)],
      [409, 'conflict', expect.stringMatching(/team/)],
      [409, 'team_not_open', 'The team has succeeded. Cancel the order of the place instead.'],
    ]);
  });
});
