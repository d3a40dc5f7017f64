import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** DATABASE_URL, checked. Throws with what to do about it. */
export function readDatabaseUrl(): string {
  const url = process.env.DATABASE_URL;
  if (url === undefined || url === '') {
    throw new Error('DATABASE_URL is not set: it names the database, e.g. postgres://owner:password@host/fusion');
  }
  if (!URL.canParse(url) || !/^postgres(ql)?:$/.test(new URL(url).protocol)) {
    throw new Error('DATABASE_URL is not of the form postgres://user:password@host:port/database');
  }
  return url;
}

/** A connection of its own, which the caller ends. A password is in no error. */
export async function connectTo(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined); // the statement that runs reports it
  try {
    await client.connect();
  } catch (error) {
    const { host, pathname } = new URL(url);
    // A host of several addresses fails with one error for each and no message of its own.
    const first = error instanceof AggregateError ? (error.errors[0] as Error) : (error as Error);
    throw new Error(`cannot connect to ${host}${pathname}: ${first.message}`);
  }
  return client;
}

/** Runs `work` on a connection of its own, which is closed afterwards. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await connectTo(url);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/**
 * Runs `work` in a transaction, again where that helps: roles belong to the cluster, so migrations of two of its
 * databases can meet in the same row of its catalog, which PostgreSQL reports as an error instead of waiting.
 */
export async function inTransaction<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    await client.query('begin');
    try {
      const result = await work();
      await client.query('commit');
      return result;
    } catch (error) {
      await client.query('rollback').catch(() => undefined);
      if (attempt >= 20 || !isPassing(error)) throw error;
      await sleep(attempt * 10 + Math.random() * 50);
    }
  }
}

function isPassing(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return false;
  if (error.code === '40P01' || error.code === '40001') return true;
  if (error.code === 'XX000') return error.message.includes('tuple concurrently');
  return error.code === '23505' && error.schema === 'pg_catalog';
}

/** An error for a terminal: of PostgreSQL's, all that it had to say. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof pg.DatabaseError)) return error instanceof Error ? error.message : String(error);
  if (error.code === '42P01' || error.code === '3F000') return `${error.message}: run "npm run migrate" first`;
  return [error.message, error.detail, error.where, error.hint].filter(Boolean).join('\n  ');
}
