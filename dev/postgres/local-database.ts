import { connectTo } from './connection.ts';
import { revokeLargeObjects } from './large-objects.ts';
import type { Postgres } from './server.ts';

/** The owner is not a superuser, as on Neon, so that the same statements work there. */
const owner = 'fusion_owner';

/** Creates a database of the local platform and its owner, if they do not exist. Resolves with the owner's URL. */
export async function createDatabase(postgres: Postgres, name = 'fusion'): Promise<string> {
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
  const databaseSuperuser = await connectTo(postgres.url(name));
  try {
    await databaseSuperuser.query('create extension if not exists pg_stat_statements');
    await revokeLargeObjects(databaseSuperuser);
  } finally {
    await databaseSuperuser.end();
  }
  return `postgres://${owner}:${owner}@127.0.0.1:${postgres.port}/${name}`;
}

/** Whether a case-insensitive search works for non-ASCII letters in this database. With locale C it does not. */
export async function foldsCase(url: string): Promise<boolean> {
  const client = await connectTo(url);
  const { rows } = await client.query(`select lower('Ш') = 'ш' as folds`).finally(() => client.end());
  return rows[0]?.folds === true;
}

/** Returns the connection string with the Worker's role instead of the owner. */
export function toWorkerUrl(url: string, password: string): string {
  const worker = new URL(url);
  worker.username = 'fusion_worker';
  worker.password = encodeURIComponent(password);
  return worker.href;
}
