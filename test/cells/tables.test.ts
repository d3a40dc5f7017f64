import { afterAll, beforeAll, expect, test } from 'vitest';
import { moveTenant } from '../../dev/cells/move.ts';
import { cellTables, findTenantTables } from '../../dev/cells/tables.ts';
import { withClient } from '../../dev/postgres/connection.ts';
import { createCells, quietSteps, type TestCell } from '../support/moves.ts';
import { fillTables } from '../support/tenant-rows.ts';

let cells: TestCell[];
let old: TestCell;
let eu1: TestCell;
let close: () => Promise<void>;

beforeAll(async () => {
  ({ cells, close } = await createCells('default', 'eu1'));
  [old, eu1] = cells as [TestCell, TestCell];
});
afterAll(() => close());

/** Every row that a cell has of a tenant, as text, by table. */
async function rowsOf(cell: TestCell, tenant: string): Promise<Record<string, string[]>> {
  const tables = await findTenantTables(cell.client);
  const rows = await Promise.all(
    tables.map(async ({ name, tenant: column }) => {
      const statement = `select t::text as row from ${name} t where ${column} = $1 order by 1`;
      return [name, (await cell.database.query<{ row: string }>(statement, [tenant])).map(({ row }) => row)] as const;
    }),
  );
  return Object.fromEntries(rows);
}

test('a move copies every row of every table that has rows of tenants, and no row of another tenant', async () => {
  for (const { database } of cells) {
    const rows = database === old.database ? { mover: 3, acme: 2 } : { acme: 4 };
    await withClient(database.url, (client) => fillTables(client, rows, database === old.database ? 0 : 500));
    await database.query('delete from platform.outbox');
  }
  await old.database.query(`insert into platform.tenants (id, name) values ('mover', 'The one that moves')`);
  // Values that a copy by text could lose.
  await old.database.query(`update platform.events set payload = 'null', traceparent = null where tenant_id = 'mover'`);
  await old.database.query(
    `update orders.orders set items = '[{"sku": "\\"é\\\\u00e9\\n,{}", "price": 1.10}]', total = 12345678.90,
       failure_reason = '', purchase_order_number = 'null', created_at = '2026-01-31 12:00:00.123456+00'
     where tenant_id = 'mover'`,
  );
  await old.database.query(
    `update inventory.reservations set skus = array['a,b', '"', '', null], quantities = '{1,2,null,4}', expires_at = 'infinity'
     where tenant_id = 'mover'`,
  );
  const [before, neighbour] = [await rowsOf(old, 'mover'), await rowsOf(eu1, 'acme')];
  const tables = Object.keys(before);
  expect(tables.length).toBeGreaterThan(20);
  for (const table of tables) {
    // The tenant itself is one row, and one more in the audit log.
    const filled = { 'platform.outbox': 0, 'platform.tenants': 1, 'audit.log': 4 }[table] ?? 3;
    expect(before[table], table).toHaveLength(filled);
  }

  await moveTenant(cells, 'mover', 'eu1', { steps: quietSteps });
  const after = await rowsOf(eu1, 'mover');
  // The move itself is in the audit log.
  expect(after['audit.log']).toHaveLength(5);
  expect({ ...after, 'audit.log': after['audit.log']?.filter((row) => !row.includes('tenant move')) }).toEqual(before);
  expect(await rowsOf(eu1, 'acme')).toEqual(neighbour);
});

test('every sequence of the new cell is above the copied numbers', async () => {
  for (const { name, sequence, tenant } of await findTenantTables(eu1.client)) {
    if (sequence === null) continue;
    const [row] = await eu1.database.query<{ above: boolean }>(
      `select nextval('${sequence.name}') > (select max(${sequence.column}) from ${name} where ${tenant} = 'mover') as above`,
    );
    expect(row?.above, name).toBe(true);
  }
});

test('every table has rows of tenants, which a move copies, or rows of the cell, which stay', async () => {
  const all = await old.database.query<{ name: string }>(
    `select table_schema || '.' || table_name as name from information_schema.tables
     where table_type = 'BASE TABLE' and table_schema !~ '^(pg_|information_schema)' order by 1`,
  );
  const copied = (await findTenantTables(old.client)).map(({ name }) => name);
  expect([...copied, ...Object.keys(cellTables)].sort()).toEqual(all.map(({ name }) => name));
});

test('a new table with tenants is copied, and one without a tenant_id stops a move', async () => {
  await old.client.query('begin');
  await old.client.query('create table orders.notes (id bigint primary key, tenant_id varchar not null)');
  expect((await findTenantTables(old.client)).map(({ name }) => name)).toContain('orders.notes');
  await old.client.query('create table orders.lines (id bigint primary key, order_id varchar not null)');
  await expect(findTenantTables(old.client)).rejects.toThrow('orders.lines has no tenant_id');
  await old.client.query('rollback');
});
