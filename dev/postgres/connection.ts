import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** Reads and validates a connection string. Throws an error that says how to set it. */
export function readDatabaseUrl(variable = 'DATABASE_URL', env: NodeJS.ProcessEnv = process.env): string {
  const url = env[variable];
  if (url === undefined || url === '') {
    throw new Error(
      `${variable} is not set. Set it to the connection string of the database, e.g. postgres://owner:password@host/fusion`,
    );
  }
  if (!URL.canParse(url) || !/^postgres(ql)?:$/.test(new URL(url).protocol)) {
    throw new Error(`${variable} must have the form postgres://user:password@host:port/database`);
  }
  return url;
}

/** Opens a connection, which the caller must end. Its errors contain no password. */
export async function connectTo(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined); // the running statement fails with this error
  try {
    await client.connect();
  } catch (error) {
    const { host, pathname } = new URL(url);
    // A host with several addresses fails with an AggregateError, which has one error per address and no message.
    const first = error instanceof AggregateError ? (error.errors[0] as Error) : (error as Error);
    throw new Error(`cannot connect to ${host}${pathname}: ${first.message}`);
  }
  return client;
}

/** Runs `work` on a new connection and closes it afterwards. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await connectTo(url);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/**
 * Runs `work` in a transaction and retries it after a transient error. Roles belong to the cluster, so migrations of
 * two databases can change the same catalog row at once. PostgreSQL then reports an error instead of waiting.
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
      if (attempt >= 20 || !isTransient(error)) throw error;
      await sleep(attempt * 10 + Math.random() * 50);
    }
  }
}

function isTransient(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return false;
  if (error.code === '40P01' || error.code === '40001') return true;
  if (error.code === 'XX000') return error.message.includes('tuple concurrently');
  return error.code === '23505' && error.schema === 'pg_catalog';
}

/** Formats an error for a terminal. A PostgreSQL error includes its detail, context and hint. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof pg.DatabaseError)) return error instanceof Error ? error.message : String(error);
  if (error.code === '42P01' || error.code === '3F000') return `${error.message}: run "npm run migrate" first`;
  const where = / at RAISE$/.test(error.where ?? '') ? undefined : error.where; // our own message says enough
  return [error.message, error.detail, where, error.hint].filter(Boolean).join('\n  ');
}
