import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Postgres, startPostgres } from '../../dev/postgres/server.ts';
import { run } from '../../dev/support/process.ts';
import { cellOfKey } from '../../src/base/cells.ts';

let postgres: Postgres;
const urlOf = (name: string) => `postgres://owner_of_cells:owner@127.0.0.1:${postgres.port}/${name}`;
beforeAll(async () => {
  postgres = await startPostgres({ dir: await mkdtemp(join(tmpdir(), 'fusion-cells-')), port: 0, durable: false });
  const superuser = new pg.Client({ connectionString: postgres.url('postgres') });
  await superuser.connect();
  await superuser.query(`create role owner_of_cells login createrole password 'owner'`);
  for (const name of ['one', 'two']) await superuser.query(`create database ${name} owner owner_of_cells`);
  await superuser.end();
});
afterAll(() => postgres.remove());

/** Runs a command with the variables of two cells, or with these. */
const command = (script: string, args: string[], variables: Record<string, string> = {}) =>
  run(process.execPath, ['--no-warnings', join(import.meta.dirname, '..', '..', 'dev', script), ...args], {
    env: { ...process.env, DATABASE_URL: urlOf('one'), DATABASE_URL_EU1: urlOf('two'), ...variables },
  });
const migrate = (...args: string[]) => command('postgres/migrate.ts', args);
const keys = (...args: string[]) => command('keys/main.ts', args);

test('npm run migrate migrates the named cell, or all of them, also if one fails', async () => {
  const named = await migrate('--cell', 'eu1');
  expect([named.code, named.output]).toEqual([0, expect.stringMatching(/two, the cell eu1[\s\S]*done/)]);
  expect(named.output).not.toContain('/one');
  const broken = { DATABASE_URL: `${urlOf('one')}_missing` };
  const others = await command('postgres/migrate.ts', [], broken);
  expect([others.code, others.output]).toEqual([1, expect.stringMatching(/one_missing[\s\S]*two[\s\S]*nothing to do/)]);
  const all = await migrate();
  expect([all.code, all.output]).toEqual([0, expect.stringMatching(/\/one\n[\s\S]*done\n[\s\S]*nothing to do/)]);
});

test('npm run keys works in the named cell, and its keys name that cell', async () => {
  expect((await keys('tenant', 'shop', '--cell', 'eu1')).output).toContain('created the tenant shop');
  const { output } = await keys('make', '--tenant', 'shop', '--kind', 'secret', '--cell', 'eu1');
  const [key = ''] = output.split('\n');
  expect(key).toMatch(/^sk_live_eu1_[0-9A-Za-z]{32}$/);
  expect(cellOfKey(key, new Set(['eu1']))).toBe('eu1');
  expect((await keys('list', '--cell', 'eu1')).output).toContain(`${key.slice(0, 16)}…`);
  expect((await keys('list')).output.trim()).toBe('no keys');
  expect((await keys('revoke', `${key.slice(0, 16)}…`, '--cell', 'eu1')).output).toContain('revoked');
  expect((await keys('jobs', 'make', '--cell', 'eu1')).output).toContain('secret put DATABASE_JOB_SECRET_EU1');
});

test('a tenant cannot be created with the id of a tenant of another cell', async () => {
  const twin = await keys('tenant', 'shop');
  expect([twin.code, twin.output.trim()]).toEqual([1, 'the cell eu1 has a tenant shop: choose another id']);
  expect((await keys('tenant', 'shop', '--cell', 'eu1')).output).toContain('exists already');
});

test('a cell that has no variable, or no valid name, is an error that says what to set', async () => {
  expect((await keys('list', '--cell', 'us1')).output).toContain('DATABASE_URL_US1 is not set');
  expect((await migrate('--cell', 'EU-1')).output).toContain('EU-1 is not the name of a cell');
});
