import { join } from 'node:path';
import pg from 'pg';
import { defaultCell, readCellUrl, readCellUrls, variableOf } from '../cells/urls.ts';
import { parseOptions } from '../support/options.ts';
import { connectTo, describeFailure, inTransaction } from './connection.ts';
import { readJobState } from './job-secrets.ts';
import { revokeLargeObjects } from './large-objects.ts';
import { readFunctions, readMigrations, type SqlFile } from './sql-files.ts';

export type MigrateOptions = {
  /** The database, as its owner. The owner needs CREATEROLE and need not be a superuser. */
  url: string;
  /** The folder of timestamped migrations. Default: the repository's `migrations`. */
  dir?: string;
  /** The folder of SQL functions. Default: the repository's `src/db`. */
  functions?: string;
  /** Sets the password of `fusion_worker` and allows it to log in. */
  workerPassword?: string;
  log?: (line: string) => void;
};

const repositoryPath = (path: string): string => join(import.meta.dirname, '..', '..', path);

/**
 * Migrates a database: runs each missing migration in its own transaction. Then, if a file of SQL functions changed,
 * installs all of them in one transaction. Safe to repeat and to run concurrently, also on several databases of a
 * cluster. Resolves with the names of the files that ran. An error names the file that failed.
 */
export async function migrate(options: MigrateOptions): Promise<string[]> {
  const log = options.log ?? (() => undefined);
  const migrations = await readMigrations(options.dir ?? repositoryPath('migrations'));
  const functions = await readFunctions(options.functions ?? repositoryPath('src/db'));
  const client = await connectTo(options.url);
  // 01000 is the code of `raise warning` in a migration. PostgreSQL's own warnings have other codes.
  client.on('notice', ({ code, message }) => {
    if (code === '01000') log(`WARNING: ${message}`);
  });
  try {
    await inTransaction(client, () => createMigrationsTable(client));
    const ran: string[] = [];
    let applied = await readApplied(client);
    for (const migration of migrations) {
      if (isApplied(migration, applied)) continue;
      const start = performance.now();
      const done = await inTransaction(client, async () => {
        await lock(client);
        applied = await readApplied(client);
        if (isApplied(migration, applied)) return false; // a concurrent run has applied it
        await install(client, migration);
        return true;
      });
      if (!done) continue;
      ran.push(migration.name);
      log(`${migration.name}  ${Math.round(performance.now() - start)} ms`);
    }
    ran.push(...(await installFunctions(client, functions, log)));
    await warnAboutSecurity(client, log);
    const { workerPassword } = options;
    if (workerPassword !== undefined && workerPassword !== '') {
      const statement = `alter role fusion_worker login password ${pg.escapeLiteral(workerPassword)}`;
      await inTransaction(client, () => client.query(statement));
      log('fusion_worker can log in with WORKER_DATABASE_PASSWORD');
    }
    return ran;
  } finally {
    await client.end();
  }
}

async function createMigrationsTable(client: pg.Client): Promise<void> {
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

/** Logs the settings that give the Worker's connection string more rights than docs/security.md describes. */
async function warnAboutSecurity(client: pg.Client, log: (line: string) => void): Promise<void> {
  const { rowCount } = await client.query(`select where to_regclass('platform.security') is not null`);
  if (rowCount === 0) return; // a test uses its own migrations
  const { sealed, secrets } = await readJobState(client);
  if (!sealed) {
    log('WARNING: this database runs jobs without a secret. Create and seal one: docs/deploy.md, "Job secret"');
  } else if (secrets === 0) {
    log('no job can run yet: create a job secret with "npm run keys -- jobs make"');
  }
  const stillPublic = await inTransaction(client, async () => {
    await lock(client);
    return revokeLargeObjects(client);
  });
  if (stillPublic.length > 0) {
    log('note: every role can create large objects; only a superuser can revoke that (docs/security.md)');
  }
}

/** Allows one migration at a time, until the transaction ends. A session lock would not work through a pooler. */
async function lock(client: pg.Client): Promise<void> {
  await client.query(`select pg_advisory_xact_lock(hashtext('fusioncommerce.migrate'))`);
}

async function readApplied(client: pg.Client): Promise<Map<string, string>> {
  const { rows } = await client.query<{ name: string; sha256: string }>('select name, sha256 from platform.migrations');
  return new Map(rows.map(({ name, sha256 }) => [name, sha256]));
}

function isApplied({ name, sha256 }: SqlFile, applied: Map<string, string>): boolean {
  const appliedSha256 = applied.get(name);
  if (appliedSha256 !== undefined && appliedSha256 !== sha256) {
    throw new Error(`${name} was changed after it was applied: restore it and write a new migration instead`);
  }
  return appliedSha256 !== undefined;
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

const help = `npm run migrate [-- --cell <name>]

Migrates the databases of all cells, or of one: runs the missing migrations, then installs the SQL functions of src/db if
any of them changed. Safe to repeat and to run concurrently. If one cell fails, the others are migrated all the same.

  DATABASE_URL                the database of the default cell, as its owner (a role with CREATEROLE), e.g.
                              postgres://owner:password@host/fusion?sslmode=require
  DATABASE_URL_EU1            the database of the cell eu1, and so on
  WORKER_DATABASE_PASSWORD    optional: the password with which the Worker's role fusion_worker logs in
  WORKER_DATABASE_PASSWORD_EU1  optional: another one for the cell eu1

  --cell <name>               migrate this cell only; default is the cell of DATABASE_URL`;

async function migrateCell(cell: string, url: string): Promise<void> {
  const { host, pathname } = new URL(url);
  console.log(`migrating ${host}${pathname}${cell === defaultCell ? '' : `, the cell ${cell}`}`);
  const variable = variableOf('WORKER_DATABASE_PASSWORD', cell);
  const workerPassword = process.env[variable] || process.env.WORKER_DATABASE_PASSWORD;
  const log = (line: string): void => console.log(`  ${line}`);
  const ran = await migrate({ url, log, ...(workerPassword === undefined ? {} : { workerPassword }) });
  console.log(ran.length === 0 ? 'nothing to do' : 'done');
}

if (import.meta.main) {
  try {
    const { values } = parseOptions('npm run migrate', {
      options: { cell: { type: 'string' }, help: { type: 'boolean' } },
    });
    if (values.help) console.log(help);
    else {
      const { cell } = values;
      const urls = cell === undefined ? readCellUrls() : new Map([[cell, readCellUrl(cell)]]);
      for (const [name, url] of urls) {
        await migrateCell(name, url).catch((error: unknown) => {
          console.error(describeFailure(error));
          process.exitCode = 1;
        });
      }
    }
  } catch (error) {
    console.error(describeFailure(error));
    process.exitCode = 1;
  }
}
