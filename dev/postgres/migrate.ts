import { join } from 'node:path';
import pg from 'pg';
import { connectTo, describeFailure, inTransaction, readDatabaseUrl } from './connection.ts';
import { readJobState } from './job-secrets.ts';
import { closeLargeObjects } from './large-objects.ts';
import { readFunctions, readMigrations, type SqlFile } from './sql-files.ts';

export type MigrateOptions = {
  /** The database's owner, who may make roles; a superuser is not needed. */
  url: string;
  /** The timestamped migrations; the repository's own if not given. */
  dir?: string;
  /** The files of SQL functions; the repository's own if not given. */
  functions?: string;
  /** Lets `fusion_worker` log in with it. */
  workerPassword?: string;
  log?: (line: string) => void;
};

const own = (path: string): string => join(import.meta.dirname, '..', '..', path);

/**
 * Brings a database up to date: the migrations that it does not have yet, each in a transaction of its own, then, if
 * any of their files changed, all SQL functions in one. Safe to repeat, and for several at once, also on several
 * databases of one cluster. Resolves with the names of what ran; throws with the name of the file that failed.
 */
export async function migrate(options: MigrateOptions): Promise<string[]> {
  const log = options.log ?? (() => undefined);
  const migrations = await readMigrations(options.dir ?? own('migrations'));
  const functions = await readFunctions(options.functions ?? own('src/db'));
  const client = await connectTo(options.url);
  // The code of `raise warning` in a migration; Postgres's own warnings have others.
  client.on('notice', ({ code, message }) => {
    if (code === '01000') log(`WARNING: ${message}`);
  });
  try {
    await inTransaction(client, () => prepare(client));
    const ran: string[] = [];
    let applied = await readApplied(client);
    for (const migration of migrations) {
      if (isApplied(migration, applied)) continue;
      const start = performance.now();
      const done = await inTransaction(client, async () => {
        await lock(client);
        applied = await readApplied(client);
        if (isApplied(migration, applied)) return false; // another run was faster
        await install(client, migration);
        return true;
      });
      if (!done) continue;
      ran.push(migration.name);
      log(`${migration.name}  ${Math.round(performance.now() - start)} ms`);
    }
    ran.push(...(await installFunctions(client, functions, log)));
    await warnOfOpenDoors(client, log);
    const { workerPassword } = options;
    if (workerPassword !== undefined && workerPassword !== '') {
      const statement = `alter role fusion_worker login password ${pg.escapeLiteral(workerPassword)}`;
      await inTransaction(client, () => client.query(statement));
      log('fusion_worker may log in with WORKER_DATABASE_PASSWORD');
    }
    return ran;
  } finally {
    await client.end();
  }
}

async function prepare(client: pg.Client): Promise<void> {
  await lock(client);
  const { rowCount } = await client.query(`select where to_regclass('platform.migrations') is not null`);
  if (rowCount === 1) return;
  await client.query(`
    create schema if not exists platform;
    create table platform.migrations (
      name varchar primary key, sha256 varchar not null, applied_at timestamptz not null default now()
    )`);
}

async function installFunctions(
  client: pg.Client,
  functions: SqlFile[],
  log: (line: string) => void,
): Promise<string[]> {
  const isCurrent = (applied: Map<string, string>): boolean =>
    functions.every(({ name, sha256 }) => applied.get(name) === sha256);
  if (isCurrent(await readApplied(client))) return [];
  const start = performance.now();
  const installed = await inTransaction(client, async () => {
    await lock(client);
    if (isCurrent(await readApplied(client))) return false;
    for (const file of functions) await install(client, file);
    return true;
  });
  if (!installed) return [];
  const names = functions.map(({ name }) => name);
  log(`functions of ${names.join(', ')}  ${Math.round(performance.now() - start)} ms`);
  return names;
}

/** Says what lets somebody with only the Worker's connection string do more than docs/security.md says. */
async function warnOfOpenDoors(client: pg.Client, log: (line: string) => void): Promise<void> {
  const { rowCount } = await client.query(`select where to_regclass('platform.security') is not null`);
  if (rowCount === 0) return; // other migrations than the repository's own
  const { sealed, secrets } = await readJobState(client);
  if (!sealed) {
    log('WARNING: jobs need no secret here. Make one, give it to the Worker, and seal: docs/deploy.md, "Job secret"');
  } else if (secrets === 0) {
    log('no job runs yet: make a job secret with "npm run keys -- jobs make"');
  }
  const open = await inTransaction(client, async () => {
    await lock(client);
    return closeLargeObjects(client);
  });
  if (open.length > 0) {
    log('note: every role may make large objects here; only a superuser can end that (docs/security.md)');
  }
}

/** One run at a time in this database, until the transaction ends; unlike a session's lock it works through a pooler. */
async function lock(client: pg.Client): Promise<void> {
  await client.query(`select pg_advisory_xact_lock(hashtext('fusioncommerce.migrate'))`);
}

async function readApplied(client: pg.Client): Promise<Map<string, string>> {
  const { rows } = await client.query<{ name: string; sha256: string }>('select name, sha256 from platform.migrations');
  return new Map(rows.map(({ name, sha256 }) => [name, sha256]));
}

function isApplied({ name, sha256 }: SqlFile, applied: Map<string, string>): boolean {
  const before = applied.get(name);
  if (before !== undefined && before !== sha256) {
    throw new Error(`${name} was changed after it was applied here: write a new migration instead`);
  }
  return before !== undefined;
}

async function install(client: pg.Client, { name, text, sha256 }: SqlFile): Promise<void> {
  try {
    await client.query(text);
  } catch (error) {
    if (error instanceof pg.DatabaseError) {
      const line = text.slice(0, Number(error.position ?? 0)).split('\n').length;
      error.message = `${name}, line ${line}: ${error.message}`;
    }
    throw error;
  }
  await client.query(
    `insert into platform.migrations (name, sha256) values ($1, $2)
     on conflict (name) do update set sha256 = excluded.sha256, applied_at = now()`,
    [name, sha256],
  );
}

const help = `npm run migrate

Brings the database up to date: runs the migrations that it does not have yet, then installs the SQL functions of
src/db if any of them changed. Safe to run twice, and by two at once.

  DATABASE_URL              the database, as its owner (a role that may create roles), e.g.
                            postgres://owner:password@host/fusion?sslmode=require
  WORKER_DATABASE_PASSWORD  optional: lets the Worker's role fusion_worker log in with this password`;

if (import.meta.main) {
  if (process.argv.includes('--help')) {
    console.log(help);
  } else {
    try {
      const url = readDatabaseUrl();
      const { host, pathname } = new URL(url);
      console.log(`migrating ${host}${pathname}`);
      const workerPassword = process.env.WORKER_DATABASE_PASSWORD;
      const log = (line: string): void => console.log(`  ${line}`);
      const ran = await migrate({ url, log, ...(workerPassword === undefined ? {} : { workerPassword }) });
      console.log(ran.length === 0 ? 'nothing to do' : 'done');
    } catch (error) {
      console.error(describeFailure(error));
      process.exitCode = 1;
    }
  }
}
