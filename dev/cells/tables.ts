import type pg from 'pg';

/** A column that is copied. Postgres computes generated columns again. */
export type Column = { name: string; type: string; isNumber: boolean };

export type Table = {
  name: string;
  /** The column with the tenant's id. */
  tenant: string;
  columns: Column[];
  primaryKey: string[];
  /** The primary key without the tenant's id. Rows are copied in this order. */
  key: string[];
  /** The sequence that numbers the rows, and the column that it fills. */
  sequence: { name: string; column: string } | null;
  /** The tables that its foreign keys reference. */
  references: string[];
};

/** The tables whose rows belong to the cell and not to a tenant. They stay. */
export const cellTables: Record<string, string> = {
  'platform.migrations': 'what is installed in this database',
  'platform.security': 'the keys that sign the proofs of this database',
  'platform.job_secrets': 'the secrets that this database accepts from jobs',
  'platform.sinks': 'whether a sink of this database is paused',
  'platform.tenant_moves': 'the moves themselves',
  'payments.stripe_reading': "how far this cell has read Stripe's list of events",
};

const tablesSql = `
  select format('%I.%I', n.nspname, c.relname) as name,
    (select a.attname from pg_attribute a
     where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped) as tenant,
    (select jsonb_agg(jsonb_build_object('name', quote_ident(a.attname), 'type', format_type(a.atttypid, a.atttypmod),
        'isNumber', a.atttypid = any('{int2,int4,int8,numeric}'::regtype[])) order by a.attnum)
     from pg_attribute a
     where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '') as columns,
    (select jsonb_agg(quote_ident(a.attname) order by k.place)
     from pg_index i, unnest(i.indkey) with ordinality k(attnum, place), pg_attribute a
     where i.indrelid = c.oid and i.indisprimary and a.attrelid = c.oid and a.attnum = k.attnum) as "primaryKey",
    (select jsonb_build_object('name', s.name, 'column', quote_ident(a.attname))
     from pg_attribute a, pg_get_serial_sequence(c.oid::regclass::text, a.attname) s(name)
     where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and s.name is not null limit 1) as sequence,
    (select coalesce(jsonb_agg(distinct f.confrelid::regclass::text), '[]') from pg_constraint f
     where f.conrelid = c.oid and f.contype = 'f' and f.confrelid <> c.oid) as references
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^(pg_|information_schema$)'
  order by 1`;

/**
 * Every table that has rows of tenants, each after the tables that it references. Taken from the catalog of Postgres, so
 * that a new table is part of a move without a change here.
 * @throws Error on a table that has neither a tenant_id nor a place in `cellTables`, or has no primary key
 */
export async function findTenantTables(client: pg.ClientBase): Promise<Table[]> {
  type Row = Omit<Table, 'tenant' | 'primaryKey' | 'key'> & { tenant: string | null; primaryKey: string[] | null };
  const { rows } = await client.query<Row>(tablesSql);
  const tables: Table[] = [];
  for (const row of rows) {
    if (Object.hasOwn(cellTables, row.name)) continue;
    const tenant = row.name === 'platform.tenants' ? 'id' : row.tenant;
    if (tenant === null) {
      throw new Error(`${row.name} has no tenant_id: if its rows belong to the cell, add it to dev/cells/tables.ts`);
    }
    const { primaryKey } = row;
    if (primaryKey === null) throw new Error(`${row.name} has no primary key, so its rows cannot be copied`);
    tables.push({ ...row, tenant, primaryKey, key: primaryKey.filter((column) => column !== tenant) });
  }
  return sortByReferences(tables);
}

function sortByReferences(tables: Table[]): Table[] {
  const sorted = new Set<Table>();
  const visit = (table: Table, path: Table[]): void => {
    if (sorted.has(table)) return;
    if (path.includes(table))
      throw new Error(`foreign keys form a circle: ${path.map(({ name }) => name).join(' → ')}`);
    for (const name of table.references) {
      const referenced = tables.find((other) => other.name === name);
      if (referenced) visit(referenced, [...path, table]);
    }
    sorted.add(table);
  };
  for (const table of tables) visit(table, []);
  return [...sorted];
}
