import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore } from '../support/harness.ts';
import { stopQueues } from '../support/outbox.ts';
import { jobSecret } from '../support/secrets.ts';
import { teamFixture } from '../support/teams.ts';

// Many teams end at once, before the tables have been analyzed. A plan that reads the rows of all teams, or those that
// earlier batches have processed, makes the time of all batches grow with the square of the teams.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let teams: ReturnType<typeof teamFixture>;
let client: pg.Client;
beforeAll(async () => {
  store = await startStore();
  fixture = campaignFixture(store);
  teams = teamFixture(store, fixture);
  await stopQueues(store.database);
  client = new pg.Client(store.database.url);
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await store.close();
});

type Reads = { done: number; scanned: number; fetched: Record<string, number> };

/** Runs one batch. Returns the rows that it read: by sequential scans in all tables, and by index in each table. */
async function readsOf(name: string, input: object, at: Date): Promise<Reads> {
  await client.query('select pg_stat_force_next_flush()');
  const count = (column: string) =>
    `select relname as name, ${column}::int as rows from pg_stat_xact_user_tables
     where schemaname in ('group_commerce', 'payments', 'inventory') and ${column} > 0`;
  await client.query('begin');
  const call = JSON.stringify({ jobSecret, now: at.toISOString() });
  const { rows } = await client.query(`select ${name}($1, $2) as result`, [call, JSON.stringify(input)]);
  const scanned = (await client.query(count('seq_tup_read'))).rows;
  const fetched = (await client.query(count('idx_tup_fetch'))).rows;
  await client.query('commit');
  return {
    done: rows[0].result.done ?? rows[0].result.ended,
    scanned: scanned.reduce((total: number, table: { rows: number }) => total + table.rows, 0),
    fetched: Object.fromEntries(fetched.map((table) => [table.name, table.rows])),
  };
}

async function batches(name: string, input: object, at: Date): Promise<Reads[]> {
  const all: Reads[] = [];
  do all.push(await readsOf(name, input, at));
  while (all.at(-1)?.done !== 0);
  return all.slice(0, -1);
}

const minutes = (count: number) => new Date(Date.now() + count * 60_000);

/** No batch reads more rows of a table than `most`. */
function expectFewReads(all: Reads[], most: number): void {
  for (const { scanned, fetched } of all) {
    expect(scanned).toBeLessThan(100);
    for (const [table, rows] of Object.entries(fetched)) expect(rows, table).toBeLessThan(most);
  }
}

test('each batch of expired teams reads the rows of its own teams and places', async () => {
  const campaign = await teams.start('BATCH-1', 9_000, { maxPerCustomer: 1 });
  await teams.fill(campaign.id, 3_000, 2);
  const ended = await batches('group_commerce.end_teams', { limit: 500 }, minutes(61));
  expect(ended).toHaveLength(6);
  expectFewReads(ended, 4 * 500);
  const released = await batches('group_commerce.release_teams', { idleSeconds: 60, limit: 200 }, minutes(63));
  expect(released).toHaveLength(30);
  expectFewReads(released, 10 * 200);
  expect(await fixture.stockOf('BATCH-1')).toEqual({ quantity: 9_000, reserved: 0 });
}, 120_000);

test('each batch of successful teams reads the rows of its own teams and places', async () => {
  const campaign = await teams.start('BATCH-2', 9_000, { teamSize: 2 });
  await teams.fill(campaign.id, 1_000, 2, { success: true });
  const settled = await batches(
    'group_commerce.settle_teams',
    { idleSeconds: 60, limit: 100, graceSeconds: 900 },
    minutes(5),
  );
  expect(settled).toHaveLength(20);
  expectFewReads(settled, 10 * 100);
}, 120_000);
