import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore } from '../support/harness.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;

beforeAll(async () => {
  store = await startStore();
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

const startTeams = (sku: string, stock: number, more: Record<string, unknown> = {}) =>
  fixture.start(sku, stock, {
    ...{ mode: 'teams', teamSize: 2, teamSeconds: 3_600, minParticipants: undefined, maxParticipants: undefined },
    ...more,
  });

describe('a team', () => {
  test('is opened with the place of its leader, joined by its code, and succeeds with its last place', async () => {
    const campaign = await startTeams('TEAM-1', 10);
    const opened = await store.send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId: 'u1' });
    expect(opened).toMatchObject({
      status: 201,
      body: { team: { joined: 1, size: 2, status: 'forming', leader: 'u1' }, participant: { state: 'joined' } },
    });
    const { code, id } = opened.body.team;
    expect(code).toMatch(/^[0-9a-hjkmnp-tv-z]{16}$/);
    const joined = await store.send('POST', `/v1/teams/by-code/${code}/join`, { userId: 'u2' });
    expect(joined).toMatchObject({ status: 201, body: { team: { id, joined: 2, status: 'successful' } } });
    const late = await store.send('POST', `/v1/teams/${id}/join`, { userId: 'u3' });
    expect(late).toMatchObject({ status: 409, body: { code: 'team_full' } });
    expect(await fixture.read(campaign.id)).toMatchObject({
      actualParticipants: 2,
      successfulTeams: 1,
      status: 'active',
    });
  });

  test('passes its lead to the earliest member when the leader leaves, and its time does not change', async () => {
    const campaign = await startTeams('TEAM-2', 10, { teamSize: 3 });
    const { team } = (await store.send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId: 'u1' })).body;
    await store.send('POST', `/v1/teams/${team.id}/join`, { userId: 'u2' });
    const left = await store.send('POST', `/v1/teams/${team.id}/leave`, { userId: 'u1' });
    expect(left).toMatchObject({
      status: 200,
      body: { team: { joined: 1, leader: 'u2', endTime: team.endTime }, participant: { state: 'released' } },
    });
    const last = await store.send('POST', `/v1/teams/${team.id}/leave`, { userId: 'u2' });
    expect(last).toMatchObject({ status: 200, body: { team: { joined: 0, status: 'cancelled' } } });
  });
});
