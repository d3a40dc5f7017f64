import { connectTo } from './connection.ts';
import { closeLargeObjects } from './large-objects.ts';
import type { Postgres } from './server.ts';

/** The database's owner and name. Not a superuser, as at Neon, so that what works here works there. */
const owner = 'fusion_owner';
const name = 'fusion';

/** Makes the local platform's database and its owner, if they are not there; resolves with the owner's URL. */
export async function createDatabase(postgres: Postgres): Promise<string> {
  const superuser = await connectTo(postgres.url('postgres'));
  try {
    const exists = async (statement: string): Promise<boolean> => (await superuser.query(statement)).rowCount === 1;
    if (!(await exists(`select from pg_roles where rolname = '${owner}'`))) {
      await superuser.query(`create role ${owner} login createrole password '${owner}'`);
    }
    if (!(await exists(`select from pg_database where datname = '${name}'`))) {
      await superuser.query(`create database ${name} owner ${owner}`);
    }
  } finally {
    await superuser.end();
  }
  const extender = await connectTo(postgres.url(name));
  try {
    await extender.query('create extension if not exists pg_stat_statements');
    await closeLargeObjects(extender);
  } finally {
    await extender.end();
  }
  return `postgres://${owner}:${owner}@127.0.0.1:${postgres.port}/${name}`;
}

/** Whether upper and lower case of letters beyond ASCII are the same to a search in this database: not with locale C. */
export async function foldsCase(url: string): Promise<boolean> {
  const client = await connectTo(url);
  const { rows } = await client.query(`select lower('Ш') = 'ш' as folds`).finally(() => client.end());
  return rows[0]?.folds === true;
}

/** The connection string of the Worker's role for the database of another connection string. */
export function asWorker(url: string, password: string): string {
  const worker = new URL(url);
  worker.username = 'fusion_worker';
  worker.password = encodeURIComponent(password);
  return worker.href;
}
