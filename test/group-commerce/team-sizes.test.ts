import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore } from '../support/harness.ts';
import { jobSecret } from '../support/secrets.ts';
import { teamFixture } from '../support/teams.ts';

let store: Store;
let teams: ReturnType<typeof teamFixture>;
let cron: pg.Client;
beforeAll(async () => {
  store = await startStore();
  teams = teamFixture(store, campaignFixture(store));
  cron = new pg.Client(store.database.workerUrl);
  await cron.connect();
});
afterAll(async () => {
  await cron.end();
  await store.close();
});

// The Worker's statements are cancelled after nine seconds. If one call moved the places of all teams that are due, it
// would be cancelled every minute, and no team would ever end.
test('large teams whose time is over are merged or expire a few at a time', async () => {
  const campaign = await teams.start('LARGE', 100_000, { teamSize: 1_000, onShort: 'merge' });
  await teams.fill(campaign.id, 25, 450, { merge: true });
  const call = JSON.stringify({ jobSecret, now: new Date(Date.now() + 7_200_000).toISOString() });
  const ended: number[] = [];
  do {
    const { rows } = await cron.query('select group_commerce.end_teams($1, $2) as result', [call, { limit: 500 }]);
    ended.push(rows[0].result.ended);
  } while (ended.at(-1) !== 0);
  expect(Math.max(...ended)).toBeLessThanOrEqual(10);
  expect(ended.reduce((sum, count) => sum + count)).toBe(25);
  expect((await teams.rowsOf(campaign.id)).filter(({ status }) => status === 'forming')).toEqual([]);
});
