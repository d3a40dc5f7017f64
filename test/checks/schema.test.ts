import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { describe, expect, inject, test } from 'vitest';
import { compareSchemas, readSchemaSources } from '../../dev/checks/schema.ts';
import { withClient } from '../../dev/postgres/connection.ts';
import { dumpSchema } from '../../dev/postgres/dump-schema.ts';
import { template } from '../support/global-setup.ts';

// verify.test.ts tests that docs/schema.sql is up to date.

const urlOf = (database: string): string => Object.assign(new URL(inject('postgres')), { pathname: database }).href;
const execute = (database: string, sql: string): Promise<unknown> =>
  withClient(urlOf(database), (client) => client.query(sql));

async function withDatabase<T>(source: string, work: (database: string) => Promise<T>): Promise<T> {
  const database = `schema_${randomBytes(6).toString('hex')}`;
  await execute('postgres', `create database ${database} template ${source} owner fusion_owner`);
  try {
    return await work(database);
  } finally {
    await execute('postgres', `drop database ${database}`);
  }
}

async function dump(database: string): Promise<string> {
  const sources = await readSchemaSources();
  return withClient(urlOf(database), (client) => dumpSchema(client, sources));
}

/** The differences that the check reports after `sql` has run in a migrated database. */
const differencesAfter = (sql: string): Promise<string[]> =>
  withDatabase(template, async (database) => {
    const before = await dump(database);
    await execute(database, sql);
    return compareSchemas(before, await dump(database));
  });

test('the dump creates the same schema in an empty database', async () => {
  const dumped = await withDatabase(template, dump);
  const again = await withDatabase('template0', async (database) => {
    // Roles and their memberships belong to the cluster, which has them already.
    const roles = /^((create|alter) role .*|grant \w+ to \w+ with .*)$/gm;
    await execute(database, dumped.replaceAll(roles, ''));
    return dump(database);
  });
  expect(compareSchemas(dumped, again)).toEqual([]);
  expect(again).toBe(dumped);
});

describe('a schema that differs from docs/schema.sql is reported', () => {
  test.each([
    [
      'for a new column, with its table',
      'alter table orders.orders add column note text',
      /^table: orders\.orders: differs\n {2}docs\/schema\.sql: .*\n {2}the migrated database: {3}note +text,$/,
    ],
    [
      'for a column of another type, with its table',
      'alter table shipping.shipments alter column id type text',
      /^table: shipping\.shipments: differs\n.* id +varchar .*\n.* id +text /,
    ],
    [
      'for a changed function, with its signature and the first line that differs',
      `create or replace function platform.iso(t timestamptz) returns text language sql stable
        as $$ select 'changed' $$`,
      /^function: platform\.iso\(timestamp with time zone\): differs\n[\s\S]*select 'changed'/,
    ],
    [
      'for a new function',
      'create function orders.added() returns void language sql as $$ select $$',
      /^function: orders\.added\(\): missing from docs\/schema\.sql$/,
    ],
    [
      'for a function that is gone',
      'drop function catalog.fits_currency',
      /^function: catalog\.fits_currency\([^)]*\): in docs\/schema\.sql, but not in the migrated database$/,
    ],
    [
      'for a grant',
      'grant delete on orders.orders to fusion_orders',
      /^table: orders\.orders: differs\n[\s\S]*grant delete,/,
    ],
    ['for a policy', 'drop policy tenant on orders.orders', /^policies and triggers: orders\.orders: differs\n/],
  ])('%s', async (_, sql, message) => {
    const differences = await differencesAfter(sql);
    expect(differences).toHaveLength(1);
    expect(differences[0]).toMatch(message);
  });

  test('for an object that the dump cannot print, such as a view', async () => {
    await expect(differencesAfter('create view orders.recent as select 1 as one')).rejects.toThrow(
      'cannot print orders.recent',
    );
  });

  test('but not for the line endings of a checkout on Windows', async () => {
    const committed = await readFile('docs/schema.sql', 'utf8');
    expect(compareSchemas(committed.replaceAll('\n', '\r\n'), committed)).toEqual([]);
  });
});
