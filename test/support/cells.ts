import pg from 'pg';
import { inject } from 'vitest';
import type { Database, Store } from './harness.ts';

/** The store as a tenant of another cell uses it: its keys, and its database. */
export function inCell(store: Store, name: string): Store {
  const cell = store.cells[name];
  if (cell === undefined) throw new Error(`the store has no cell ${name}`);
  return {
    ...store,
    ...cell,
    send: (method, path, body, more = {}) => store.send(method, path, body, { key: cell.key, ...more }),
    settled: () => store.settled(cell.database),
  };
}

async function asSuperuser(database: Database, ...statements: ((name: string) => string)[]): Promise<void> {
  const name = new URL(database.url).pathname.slice(1);
  const client = new pg.Client(inject('postgres'));
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement(name));
  } finally {
    await client.end();
  }
}

/** Ends every connection to a database and allows no new one, until `revive`. */
export const kill = (database: Database): Promise<void> =>
  asSuperuser(
    database,
    (name) => `alter database ${name} allow_connections false`,
    (name) => `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`,
  );

export const revive = (database: Database): Promise<void> =>
  asSuperuser(database, (name) => `alter database ${name} allow_connections true`);
