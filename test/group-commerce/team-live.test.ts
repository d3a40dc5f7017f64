import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { watchLive } from '../support/live.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let key: string;
let polls = 0;
beforeAll(async () => {
  store = await startStore({
    variables: { LIVE_SECONDS: '6' },
    neonFault: ({ statements }) => {
      if (statements.some(({ query }) => query.includes('"merged_into"'))) polls++;
      return undefined;
    },
  });
  fixture = campaignFixture(store);
  key = await store.database.key({ kind: 'publishable' });
});
afterAll(() => store.close());

async function openTeam(sku: string, more: Record<string, unknown> = {}) {
  const campaign = await fixture.start(sku, 20, {
    ...{ mode: 'teams', teamSize: 3, teamSeconds: 3_600, minParticipants: undefined, maxParticipants: undefined },
    ...more,
  });
  const { status, body } = await store.send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId: 'leader-1' });
  expect(status).toBe(201);
  return { campaign, team: body.team as { id: string; code: string; endTime: string } };
}
const join = async (teamId: string, userId: string) => {
  const { status } = await store.send('POST', `/v1/teams/${teamId}/join`, { userId });
  expect(status).toBe(201);
};
const watchTeam = (teamId: string, lastEventId?: string) =>
  watchLive(store, key, `/v1/teams/${teamId}/live`, lastEventId);
const eventsOf = (name: string, { received }: Awaited<ReturnType<typeof watchLive>>['watched']) =>
  received.filter(({ event }) => event === name);

describe('the stream of a team', () => {
  test('shows places, status and time left to a publishable key, and no code and nobody’s id', async () => {
    const { team } = await openTeam('SHOWN');
    const { watched, reading } = await watchTeam(team.id);
    await until(() => watched.received.length === 1);
    expect([watched.status, watched.type]).toEqual([200, 'text/event-stream']);
    const { secondsLeft, ...shown } = watched.received[0]?.data ?? {};
    expect(shown).toEqual({
      ...{ id: team.id, status: 'forming', size: 3, joined: 1, secured: 0, mergedInto: null },
      endTime: team.endTime,
    });
    expect(secondsLeft).toBeGreaterThan(3_500);
    expect(secondsLeft).toBeLessThanOrEqual(3_600);
    await join(team.id, 'member-2');
    await until(() => eventsOf('team', watched).at(-1)?.data.joined === 2);
    await reading;
    expect(watched.received.at(-1)?.data).toEqual({ reason: 'time_limit', reconnect: true });
    expect(watched.text).not.toContain(team.code);
    expect(watched.text).not.toMatch(/leader-1|member-2/);
  });

  test('ends when the team is full, and a watcher that knows it gets 204', async () => {
    const { team } = await openTeam('FULL');
    const { watched, reading } = await watchTeam(team.id);
    for (const user of ['b', 'c']) await join(team.id, user);
    await reading;
    const [last, end] = watched.received.slice(-2);
    expect(last?.data).toMatchObject({ status: 'successful', joined: 3, secondsLeft: 0 });
    expect(end).toEqual({ id: '', event: 'end', data: { reason: 'team_over', reconnect: false } });
    const again = await watchTeam(team.id, last?.id);
    await again.reading;
    expect(again.watched.status).toBe(204);
  });

  test('names the team to watch next when the team was merged', async () => {
    const [{ team }, { team: target }] = [await openTeam('MERGED-1'), await openTeam('MERGED-2')];
    const { watched, reading } = await watchTeam(team.id);
    await until(() => watched.received.length === 1);
    await store.database.query(`update group_commerce.teams set status = 'merged', merged_into = $2 where id = $1`, [
      team.id,
      target.id,
    ]);
    await reading;
    expect(eventsOf('team', watched).at(-1)?.data).toMatchObject({ status: 'merged', mergedInto: target.id });
    expect(watched.received.at(-1)?.data).toEqual({ reason: 'team_over', reconnect: false });
  });

  test('has one event when the time of the team ends', async () => {
    const { team } = await openTeam('TIMED', { teamSeconds: 3 });
    const { watched, reading } = await watchTeam(team.id);
    await until(() => eventsOf('team', watched).some(({ data }) => data.secondsLeft === 0));
    const ended = eventsOf('team', watched).at(-1);
    expect(ended?.data).toMatchObject({ status: 'forming', endTime: team.endTime });
    expect(ended?.id).toMatch(/^[0-9a-f]{16}-ended$/);
    await reading;
  });

  test('sends a watcher that reconnects only what it does not know', async () => {
    const { team } = await openTeam('AGAIN');
    const first = await watchTeam(team.id);
    await until(() => first.watched.received.length === 1);
    const second = await watchTeam(team.id, first.watched.received[0]?.id);
    await join(team.id, 'b');
    await Promise.all([first.reading, second.reading]);
    expect(eventsOf('team', first.watched).map(({ data }) => data.joined)).toEqual([1, 2]);
    expect(eventsOf('team', second.watched).map(({ data }) => data.joined)).toEqual([2]);
  });

  test('costs as many database calls for many watchers as for one', async () => {
    const { team } = await openTeam('CROWD');
    const watchers = await Promise.all(Array.from({ length: 20 }, () => watchTeam(team.id)));
    polls = 0;
    await Promise.all(watchers.map(({ reading }) => reading));
    expect(polls).toBeGreaterThan(0);
    expect(polls).toBeLessThanOrEqual(5);
  });

  test('is not found by another tenant, and needs a key', async () => {
    const { team, campaign } = await openTeam('HIDDEN');
    const foreign = { key: await store.database.key({ tenant: 'acme', kind: 'publishable' }) };
    for (const [path, options, status] of [
      [`/v1/teams/${team.id}/live`, foreign, 404],
      [`/v1/teams/${team.id}/live`, { key: null }, 401],
      [`/v1/teams/${campaign.id}/live`, {}, 404],
      [`/v1/campaigns/${team.id}/live`, {}, 404],
    ] as const) {
      expect([path, (await store.send('GET', path, undefined, options)).status]).toEqual([path, status]);
    }
  });
});

test('a live token of a team opens only its stream, and ends with its key', async () => {
  const [{ team, campaign }, { team: other }] = [await openTeam('TOKEN'), await openTeam('OTHER')];
  const publishable = await store.database.key({ kind: 'publishable' });
  const makeToken = (path: string, options: object = {}) =>
    store.send('POST', `${path}/live-token`, undefined, { key: publishable, ...options });
  const created = await makeToken(`/v1/teams/${team.id}`, { idempotencyKey: 'page' });
  const repeated = await makeToken(`/v1/teams/${team.id}`, { idempotencyKey: 'page' });
  expect([created.status, repeated.body]).toEqual([201, created.body]);
  expect((await makeToken(`/v1/teams/${campaign.id}`)).status).toBe(404);
  const foreign = await store.database.key({ tenant: 'acme', kind: 'publishable' });
  expect((await makeToken(`/v1/teams/${team.id}`, { key: foreign })).status).toBe(404);
  const open = async (path: string, token: string) => {
    const response = await fetch(`${store.url}${path}/live?token=${token}`);
    await response.body?.cancel();
    return response.status;
  };
  const { token } = created.body;
  expect(await open(`/v1/teams/${team.id}`, token)).toBe(200);
  expect(await open(`/v1/campaigns/${team.id}`, token)).toBe(404);
  await store.database.query('update platform.api_keys set revoked_at = now() where id = $1', [token.split('_')[1]]);
  expect(await open(`/v1/teams/${team.id}`, token)).toBe(401);
  // A rejected token is rejected everywhere for some seconds, so each path is tried with the token of another key.
  for (const path of [`/v1/teams/${other.id}`, `/v1/campaigns/${campaign.id}`]) {
    const key = await store.database.key({ kind: 'publishable' });
    const { body } = await makeToken(`/v1/teams/${team.id}`, { key });
    expect([path, await open(path, body.token)]).toEqual([path, 401]);
  }
});

describe('the stream of a campaign', () => {
  test('with teams shows their counts, although the campaign’s own row does not change', async () => {
    const { campaign, team } = await openTeam('COUNTS', { teamSize: 2 });
    const rowOf = () =>
      store.database.query('select version, updated_at from group_commerce.group_commerce_campaigns where id = $1', [
        campaign.id,
      ]);
    const before = await rowOf();
    const { watched, reading } = await watchLive(store, key, `/v1/campaigns/${campaign.id}/live`);
    await until(() => watched.received.length === 1);
    expect(watched.received[0]?.data).toMatchObject({ actualParticipants: 1, formingTeams: 1, successfulTeams: 0 });
    expect(watched.received[0]?.data).not.toHaveProperty('currentPrice');
    await join(team.id, 'b');
    await until(() => eventsOf('campaign', watched).at(-1)?.data.successfulTeams === 1);
    expect(eventsOf('campaign', watched).at(-1)?.data).toMatchObject({ actualParticipants: 2, formingTeams: 0 });
    expect(await rowOf()).toEqual(before);
    await reading;
  });

  test('with tiers shows the price now, the next tier and how many are missing, and goes on until the price is fixed', async () => {
    const product = await addProduct(store, 'TIERS', 10, 30);
    const { body: campaign } = await store.send('POST', '/v1/campaigns', {
      ...{ productId: product.id, minParticipants: 1, maxParticipants: 5, price: 20, successOn: 'joined' },
      ...{ tiers: [{ participants: 2, price: 15 }], startTime: new Date(Date.now() - 60_000).toISOString() },
      endTime: new Date(Date.now() + 86_400_000).toISOString(),
    });
    const path = `/v1/campaigns/${campaign.id}/live`;
    const { watched, reading } = await watchLive(store, key, path);
    await until(() => watched.received.length === 1);
    expect(watched.received[0]?.data).toMatchObject({
      ...{ currentPrice: 20, nextTier: { participants: 2, price: 15, missing: 2 }, settledPrice: null },
    });
    expect(watched.received[0]?.data).not.toHaveProperty('formingTeams');
    const set = (change: string) =>
      store.database.query(`update group_commerce.group_commerce_campaigns set ${change} where id = $1`, [campaign.id]);
    await set(`actual_participants = 1, secured_participants = 1, secured_units = 1`);
    await until(() => eventsOf('campaign', watched).length === 2);
    expect(eventsOf('campaign', watched)[1]?.data.nextTier).toMatchObject({ missing: 1 });
    await reading;
    // The end of a campaign that has succeeded is over only once its price is fixed.
    await set(`status = 'successful', end_time = now() - interval '1 second'`);
    const second = await watchLive(store, key, path);
    await until(() => eventsOf('campaign', second.watched).at(-1)?.data.status === 'successful');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(second.watched.ended).toBe(false);
    await set('settled_price = 15');
    await second.reading;
    expect(eventsOf('campaign', second.watched).at(-1)?.data).toMatchObject({
      ...{ status: 'successful', settledPrice: 15, currentPrice: 15, nextTier: null, secondsLeft: 0 },
    });
    expect(second.watched.received.at(-1)?.data).toEqual({ reason: 'campaign_over', reconnect: false });
  });
});
