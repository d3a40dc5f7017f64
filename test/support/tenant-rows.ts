import type pg from 'pg';

export type Table = { table: string; schema: string };

export const services = [
  'platform',
  'catalog',
  'inventory',
  'orders',
  'group_commerce',
  'payments',
  'shipping',
  'audit',
];

/** Every table that has a tenant_id. */
export async function findTables(client: pg.Client): Promise<Table[]> {
  const { rows } = await client.query<Table>(
    `select c.table_schema || '.' || c.table_name as table, c.table_schema as schema
     from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
     where c.column_name = 'tenant_id' and t.table_type = 'BASE TABLE' order by 1`,
  );
  return rows;
}

/**
 * Inserts rows of each tenant into every table, after dropping the checks and foreign keys of this database. Their ids
 * are numbers above `start`.
 */
export async function fillTables(client: pg.Client, rowsOf: Record<string, number>, start = 0): Promise<void> {
  const all = async <T extends pg.QueryResultRow>(sql: string, values?: unknown[]): Promise<T[]> =>
    (await client.query<T>(sql, values)).rows;
  const checks = await all<{ drop: string }>(
    `select format('alter table %s drop constraint %I', conrelid::regclass, conname) as drop from pg_constraint
     where contype in ('c', 'f') and conrelid <> 0 and connamespace::regnamespace::text = any($1)`,
    [services],
  );
  for (const { drop } of checks) await client.query(drop);
  await client.query(`set session_replication_role = replica`); // run no triggers
  await client.query('delete from audit.log'); // rows about the creation of the tenants
  const values: Record<string, (n: number) => string> = {
    int2: String,
    int4: String,
    int8: String,
    numeric: String,
    bool: () => 'true',
    jsonb: () => '{}',
    date: () => '2026-01-31',
    timestamptz: () => '2026-01-31T12:00:00Z',
    uuid: (n) => `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`,
    bytea: (n) => `\\x${String(n).padStart(2, '0')}`,
  };
  let n = start;
  for (const { table } of await findTables(client)) {
    const columns = await all<{ name: string; type: string; length: number | null }>(
      `select column_name as name, udt_name as type, character_maximum_length::int as length from information_schema.columns
       where table_schema || '.' || table_name = $1 and column_name <> 'tenant_id'
         and is_nullable = 'NO' and column_default is null and is_identity = 'NO' and is_generated = 'NEVER'`,
      [table],
    );
    const names = ['tenant_id', ...columns.map((column) => column.name)];
    for (const [tenant, count] of Object.entries(rowsOf)) {
      for (let row = 0; row < count; row++) {
        n++;
        const list = columns.map(({ type, length }) =>
          type.startsWith('_')
            ? '{}'
            : (values[type]?.(n) ??
              String(n)
                .padStart(3, '0')
                .slice(-(length ?? 9))),
        );
        const places = names.map((_, at) => `$${at + 1}`).join();
        await client.query(`insert into ${table} (${names.join()}) values (${places})`, [tenant, ...list]);
      }
    }
  }
  await client.query('reset session_replication_role');
}
