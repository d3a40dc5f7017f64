import type pg from 'pg';
import {
  byName,
  policySql,
  roleSql,
  routineSql,
  schemaSql,
  tableSql,
  triggerSql,
  unsupportedSql,
} from './schema-queries.ts';
import type { SqlFile } from './sql-files.ts';

type Queryable = Pick<pg.Client, 'query'>;
/** One object of the dump: its heading without `-- `, such as `table: orders.orders`, and the SQL that creates it. */
type Block = { heading: string; sql: string[] };
type Grants = { to: string; privileges: string }[] | null;
type Column = { name: string; type: string; rest: string | null; comment: string | null };
type Table = {
  name: string;
  schema: string;
  comment: string | null;
  options: string | null;
  columns: Column[];
  constraints: string[] | null;
  references: string[] | null;
  indexes: string[] | null;
  /** Row-level security. */
  rlsEnabled: boolean;
  rlsForced: boolean;
  grants: Grants;
};
type Routine = {
  schema: string;
  name: string;
  kind: 'function' | 'procedure';
  signature: string;
  definition: string;
  comment: string | null;
  owner: string | null;
  revokedFromPublic: boolean;
  grants: Grants;
};

const head = `-- The schema of a migrated database: roles, tables, functions, row-level security and triggers.
-- Generated from migrations/ and src/db/**/*.sql by "npm run schema". Do not edit it: change those files, then run that
-- command. "npm run verify" fails if this file is out of date.
--
-- The database's owner owns the schemas, the tables and every function that names no owner here.
-- fusion_worker logs in once "npm run migrate" has set its password; no other role can log in.
-- The file has no rows: those that migrations insert, such as the sinks in platform.sinks, are not included.

set check_function_bodies = off;`;

const quote = (text: string): string => `'${text.replaceAll("'", "''")}'`;
const comment = (object: string, text: string | null): string[] =>
  text === null ? [] : [`comment on ${object} is ${quote(text)};`];
const grant = (object: string, grants: Grants): string[] =>
  (grants ?? []).map(({ to, privileges }) => `grant ${privileges} on ${object} to ${to};`);
const statement = (definition: string): string => `${definition.trimEnd()};`;
/** Drops the casts that PostgreSQL adds to string literals, and prints a list of values as the migrations do. */
const simplify = (sql: string): string =>
  sql
    .replaceAll(/('(?:[^']|'')*')(?:::(?:character varying|text)(?!\[))+/g, '$1')
    .replaceAll(/(\w+)::text = ANY \(ARRAY\[((?:'(?:[^']|'')*'(?:, )?)+)\](?:::text\[\])?\)/g, '$1 in ($2)');
/** The short names that the migrations use. */
const shortType = (type: string): string =>
  type.replace('character varying', 'varchar').replace('timestamp with time zone', 'timestamptz');

async function dumpRoles(client: Queryable): Promise<Block> {
  type Role = { name: string; inherits: boolean; settings: string[] | null; memberships: string[] };
  const { rows } = await client.query<Role>(roleSql);
  const settings = rows.flatMap(({ name, settings: set }) =>
    (set ?? []).map((setting) => {
      const [variable, ...value] = setting.split('=');
      return `alter role ${name} set ${variable} = ${quote(value.join('='))};`;
    }),
  );
  return {
    heading: 'roles',
    sql: [
      ...rows.map(({ name, inherits }) => `create role ${name}${inherits ? '' : ' noinherit'};`),
      ...settings,
      ...rows.flatMap(({ memberships }) => memberships.map((membership) => `grant ${membership};`)),
    ],
  };
}

async function dumpSchemas(client: Queryable): Promise<Block[]> {
  type Schema = { name: string; comment: string | null; revokedFromPublic: boolean; grants: Grants };
  const { rows } = await client.query<Schema>(schemaSql);
  const { rows: extensions } = await client.query<{ name: string; schema: string }>(`
    select e.extname as name, e.extnamespace::regnamespace::text as schema from pg_extension e
    where e.extname <> 'plpgsql' and e.extnamespace::regnamespace::text !~ '^pg_' ${byName('e.extname::text')}`);
  return rows.map(({ name, comment: text, revokedFromPublic, grants }) => ({
    heading: `schema: ${name}`,
    sql: [
      ...(name === 'public' ? [] : [`create schema ${name};`]),
      ...(name === 'public' && revokedFromPublic ? ['revoke all on schema public from public;'] : []),
      ...(name === 'public' ? [] : comment(`schema ${name}`, text)),
      ...grant(`schema ${name}`, grants),
      ...extensions
        .filter(({ schema }) => schema === name)
        .map((extension) => `create extension if not exists ${extension.name} with schema ${name};`),
    ],
  }));
}

/** Every table after those that its foreign keys reference, otherwise by name. */
function sortByReferences(tables: Table[]): Table[] {
  const sorted = new Set<Table>();
  const visit = (table: Table, path: Table[]): void => {
    if (sorted.has(table) || path.includes(table)) return;
    for (const name of table.references ?? []) {
      const referenced = tables.find((other) => other.name === name);
      if (referenced) visit(referenced, [...path, table]);
    }
    sorted.add(table);
  };
  for (const table of tables) visit(table, []);
  return [...sorted];
}

function printTable(table: Table): Block {
  const { name, columns } = table;
  const types = columns.map(({ type }) => shortType(type));
  const nameWidth = Math.max(...columns.map((column) => column.name.length));
  const typeWidth = Math.max(...types.map((type) => type.length));
  const lines = [
    ...columns.map((column, index) =>
      `${column.name.padEnd(nameWidth)} ${(types[index] ?? '').padEnd(typeWidth)} ${simplify(column.rest ?? '')}`.trimEnd(),
    ),
    ...(table.constraints ?? []).map(simplify),
  ];
  const security = [
    ...(table.rlsEnabled ? [`alter table ${name} enable row level security;`] : []),
    ...(table.rlsForced ? [`alter table ${name} force row level security;`] : []),
  ];
  return {
    heading: `table: ${name}`,
    sql: [
      `create table ${name} (\n  ${lines.join(',\n  ')}\n)${table.options ? ` with (${table.options})` : ''};`,
      ...comment(`table ${name}`, table.comment),
      ...columns.flatMap((column) => comment(`column ${name}.${column.name}`, column.comment)),
      ...(table.indexes ?? []).map((index) => statement(simplify(index))),
      ...security,
      ...grant(name, table.grants),
    ],
  };
}

/** The file that creates a function or procedure, to be read with the comment above it. */
function findSource({ schema, name, kind }: Routine, sources: SqlFile[]): string {
  const creation = new RegExp(`create (or replace )?${kind} ${schema}\\.${name}\\(`, 'i');
  return sources.findLast(({ text }) => creation.test(text))?.name ?? '';
}

function printRoutine(routine: Routine, sources: SqlFile[]): Block {
  const { kind, signature } = routine;
  const source = findSource(routine, sources);
  return {
    heading: `${kind}: ${signature}`,
    sql: [
      ...(source === '' ? [] : [`-- ${source}`]),
      statement(routine.definition),
      ...comment(`${kind} ${signature}`, routine.comment),
      ...(routine.owner === null ? [] : [`alter ${kind} ${signature} owner to ${routine.owner};`]),
      ...(routine.revokedFromPublic ? [`revoke all on ${kind} ${signature} from public;`] : []),
      ...grant(`${kind} ${signature}`, routine.grants),
    ],
  };
}

async function dumpPolicies(client: Queryable): Promise<Block[]> {
  type Policy = { table: string; head: string; using: string | null; check: string | null };
  const { rows: policies } = await client.query<Policy>(policySql);
  const { rows: triggers } = await client.query<{ table: string; definition: string }>(triggerSql);
  const tables = [...new Set([...policies, ...triggers].map(({ table }) => table))].sort();
  return tables.map((table) => ({
    heading: `policies and triggers: ${table}`,
    sql: [
      ...policies
        .filter((policy) => policy.table === table)
        .map(({ head: start, using, check }) => {
          const conditions = [using && `using (${using})`, check && `with check (${check})`].filter(Boolean);
          return `${simplify([start, ...conditions].join('\n  '))};`;
        }),
      ...triggers.filter((trigger) => trigger.table === table).map(({ definition }) => statement(simplify(definition))),
    ],
  }));
}

const print = (blocks: Block[]): string =>
  blocks.map(({ heading, sql }) => `-- ${heading}\n${sql.join('\n')}\n`).join('\n');
const rule = (title: string): string => `-- ==== ${title} ${'='.repeat(110 - title.length)}`;

/**
 * The schema of a migrated database as SQL that creates it in an empty one. The text is the same for every database
 * with the same schema. `sources` are the files that create the functions; each function is printed with its file's
 * name. Leaves the connection with an empty search path.
 * @throws on an object of a kind that it cannot print, such as a view
 */
export async function dumpSchema(client: Queryable, sources: SqlFile[]): Promise<string> {
  // Without a search path PostgreSQL prints every name with its schema.
  await client.query(`select set_config('search_path', '', false)`);
  const { rows: unsupported } = await client.query<{ name: string }>(unsupportedSql);
  if (unsupported.length > 0) {
    const names = unsupported.map(({ name }) => name).join(', ');
    throw new Error(`dev/postgres/dump-schema.ts cannot print ${names}: add this kind of object to it`);
  }
  const { rows: tables } = await client.query<Table>(tableSql);
  const { rows: routines } = await client.query<Routine>(routineSql);
  const sections: [string, Block[]][] = [
    ['Roles and schemas', [await dumpRoles(client), ...(await dumpSchemas(client))]],
    ['Tables', sortByReferences(tables).map(printTable)],
    ['Functions', routines.map((routine) => printRoutine(routine, sources))],
    ['Row-level security policies, triggers, and checks that call functions', await dumpPolicies(client)],
  ];
  return [head, ...sections.map(([title, blocks]) => `${rule(title)}\n\n${print(blocks)}`.trimEnd())]
    .join('\n\n')
    .concat('\n');
}
