import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withClient } from '../postgres/connection.ts';
import { dumpSchema } from '../postgres/dump-schema.ts';
import { migrate } from '../postgres/migrate.ts';
import { startPostgres } from '../postgres/server.ts';
import { readFunctions, readMigrations, type SqlFile } from '../postgres/sql-files.ts';
import { acceptOnlyHelp } from '../support/options.ts';

const root = join(import.meta.dirname, '..', '..');
const path = 'docs/schema.sql';
const maxShown = 10;

/**
 * The migrations and the files of SQL functions, named by their path in the repository, in the order in which they run.
 */
export async function readSchemaSources(): Promise<SqlFile[]> {
  const under = (folder: string, files: SqlFile[]): SqlFile[] =>
    files.map((file) => ({ ...file, name: `${folder}/${file.name}` }));
  return [
    ...under('migrations', await readMigrations(join(root, 'migrations'))),
    ...under('src/db', await readFunctions(join(root, 'src/db'))),
  ];
}

/** Starts an empty PostgreSQL, migrates a database in it and returns its schema as SQL. */
async function dumpMigratedSchema(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-schema-'));
  try {
    const postgres = await startPostgres({ dir: join(dir, 'postgres'), port: 0, durable: false });
    try {
      // The owner is no superuser, as on Neon.
      await withClient(postgres.url('postgres'), async (client) => {
        await client.query(`create role fusion_owner login createrole password 'owner'`);
        await client.query('create database fusion owner fusion_owner');
      });
      const url = new URL(postgres.url('fusion'));
      url.username = 'fusion_owner';
      url.password = 'owner';
      await migrate({ url: url.href });
      return await withClient(url.href, async (client) => dumpSchema(client, await readSchemaSources()));
    } finally {
      await postgres.remove();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** The parts of a dump by their headings, such as `table: orders.orders`. */
function splitDump(dump: string): Map<string, string[]> {
  const heading = /^-- (?=(?:roles$|==== |(?:schema|table|function|procedure|policies and triggers): ))/m;
  const [head = '', ...parts] = dump.split(heading);
  return new Map([
    ['the first lines', head.split('\n')],
    ...parts.map((part): [string, string[]] => {
      const [title = '', ...lines] = part.trimEnd().split('\n');
      return [title, lines];
    }),
  ]);
}

function describeDifference(heading: string, committed: string[] | undefined, current: string[] | undefined): string[] {
  if (committed === undefined) return [`${heading}: missing from ${path}`];
  if (current === undefined) return [`${heading}: in ${path}, but not in the migrated database`];
  const firstDifferent = current.findIndex((text, index) => text !== committed[index]);
  if (firstDifferent === -1 && committed.length === current.length) return [];
  const line = firstDifferent === -1 ? current.length : firstDifferent;
  return [
    [
      `${heading}: differs`,
      `  ${path}: ${committed[line] ?? '(no more lines)'}`,
      `  the migrated database: ${current[line] ?? '(no more lines)'}`,
    ].join('\n'),
  ];
}

/** One entry for each table, function and so on that the committed dump does not show as it is. Empty if they match. */
export function compareSchemas(committed: string, current: string): string[] {
  const before = splitDump(committed.replaceAll('\r\n', '\n'));
  const after = splitDump(current);
  const headings = new Set([...after.keys(), ...before.keys()]);
  const differences = [...headings].flatMap((heading) =>
    describeDifference(heading, before.get(heading), after.get(heading)),
  );
  const reordered = differences.length === 0 && [...before.keys()].join('\n') !== [...after.keys()].join('\n');
  return reordered ? [`the parts of ${path} are in another order than the dump's`] : differences;
}

/** Throws if docs/schema.sql is not the schema of a migrated database. */
export async function checkSchema(): Promise<string> {
  const committed = await readFile(join(root, path), 'utf8').catch(() => '');
  const differences = compareSchemas(committed, await dumpMigratedSchema());
  if (differences.length === 0) return '';
  const notShown = differences.length - maxShown;
  throw new Error(
    [
      `${path} is out of date:`,
      ...differences.slice(0, maxShown),
      ...(notShown > 0 ? [`and ${notShown} more`] : []),
      'Run "npm run schema" to write it again.',
    ].join('\n'),
  );
}

const help = `npm run schema

Writes docs/schema.sql: the roles, tables, functions, policies and triggers of a migrated database. It starts an empty
PostgreSQL in a temporary folder and runs migrations/ and src/db/**/*.sql in it; DATABASE_URL is not used.
"npm run verify" fails if the file is out of date.`;

if (import.meta.main) {
  acceptOnlyHelp('npm run schema', help);
  const dump = await dumpMigratedSchema();
  await writeFile(join(root, path), dump);
  console.log(`${path}: ${dump.split('\n').length - 1} lines`);
}
