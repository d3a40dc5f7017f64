import type pg from 'pg';
import { deleteRows, insertRows, MoveLost } from './copy.ts';
import { readPlace } from './places.ts';
import { asMover, type Cell } from './session.ts';
import type { Table } from './tables.ts';

// The steps of a move in the new cell, to which the tenant moves.

/** The tables that identify the tenant's calls. They are copied first, and deleted last. */
const isIdentity = ({ name }: Table): boolean => name === 'platform.tenants' || name === 'platform.api_keys';

export const copiedTables = (tables: Table[]): Table[] => tables.filter((table) => !isIdentity(table));

/**
 * Makes the tenant and its keys known, and deletes what is left of an earlier stay or an interrupted move. The keys work
 * when the tenant is served here.
 * @throws Error if the cell has a tenant of its own with this id
 */
export async function prepareArrival(
  source: Cell,
  target: Cell,
  tables: Table[],
  tenant: string,
  moveId: string,
): Promise<number> {
  const identity = tables.filter(isIdentity);
  const rows = new Map<string, string>();
  await asMover(source.client, tenant, async () => {
    for (const table of identity) rows.set(table.name, await printRows(source.client, table, tenant));
  });
  await asMover(target.client, tenant, async () => {
    const { rows: found } = await target.client.query<{ state: string | null }>(
      `select m.state from platform.tenants t left join platform.tenant_moves m using (id) where t.id = $1 for update of t`,
      [tenant],
    );
    const state = found[0]?.state;
    if (found[0] !== undefined && (state === null || state === 'moving' || state === 'switching')) {
      throw new Error(
        `the cell ${target.name} has a tenant ${tenant} of its own: tenant ids must differ before one can move there`,
      );
    }
    for (const table of identity) {
      if (table.name === 'platform.api_keys') {
        // `forwards`: the keys were known before, and stay known if the move is undone.
        await target.client.query(
          `insert into platform.tenant_moves (id, state, cell, move_id, forwards) values ($1, 'arriving', $2, $3, $4)
           on conflict (id) do update set state = 'arriving', cell = excluded.cell, move_id = excluded.move_id,
             forwards = tenant_moves.forwards or excluded.forwards, steps = '{}', started_at = now(), moved_at = null,
             purged_at = null`,
          [tenant, source.name, moveId, state === 'moved'],
        );
      }
      await target.client.query(replaceRows(table), [rows.get(table.name)]);
    }
    // Keys are revoked and never deleted, so there is none here that the other cell does not have.
  });
  return deleteRows(target, copiedTables(tables), { tenant, moveId, state: 'arriving' });
}

async function printRows(client: pg.Client, { name, tenant: column, columns }: Table, tenant: string): Promise<string> {
  const { rows } = await client.query<{ lines: string }>(
    `select coalesce(json_agg(to_json(array[${columns.map((each) => `${each.name}::text`).join()}])), '[]')::text as lines
     from ${name} where ${column} = $1`,
    [tenant],
  );
  return rows[0]?.lines ?? '[]';
}

const replaceRows = (table: Table): string =>
  `${insertRows(table)} on conflict (${table.primaryKey.join()})
    do update set ${table.columns.map(({ name }) => `${name} = excluded.${name}`).join()}`;

/**
 * Sets each sequence above the numbers of the copied rows, so that later events have higher numbers and stay in order.
 * A sequence that is above already is left alone. Otherwise altering it first makes other transactions wait a moment,
 * because it must not go back between reading and setting it.
 */
export async function raiseSequences({ client }: Cell, tables: Table[], tenant: string): Promise<number> {
  let raised = 0;
  for (const { name: table, tenant: column, sequence } of tables) {
    if (sequence === null) continue;
    await asMover(client, tenant, async () => {
      const isBehind = async (): Promise<boolean> => {
        const { rows } = await client.query<{ behind: boolean | null }>(
          `select (select max(${sequence.column}) from ${table} where ${column} = $1)
             >= (select last_value from ${sequence.name}) as behind`,
          [tenant],
        );
        return rows[0]?.behind === true;
      };
      if (!(await isBehind())) return;
      await client.query(`alter sequence ${sequence.name} no cycle`);
      if (!(await isBehind())) return;
      await client.query(
        `select setval('${sequence.name}', (select max(${sequence.column}) from ${table} where ${column} = $1))`,
        [tenant],
      );
      raised++;
    });
  }
  return raised;
}

/**
 * Serves the tenant here. If an earlier run did it, nothing changes. Stripe's events since the pause may have found the
 * tenant in no cell: this cell reads them again, and ends no hold before.
 */
export async function activateTenant(source: Cell, target: Cell, tenant: string, moveId: string): Promise<void> {
  const { rows } = await source.client.query<{ readUntil: string }>(
    `select least(r.read_until, m.started_at)::text as "readUntil"
     from payments.stripe_reading r, platform.tenant_moves m where m.id = $1`,
    [tenant],
  );
  await asMover(target.client, tenant, async () => {
    const { rowCount } = await target.client.query(
      `delete from platform.tenant_moves where id = $1 and move_id = $2 and state = 'arriving'`,
      [tenant, moveId],
    );
    if (rowCount !== 1) {
      const served = await target.client.query(
        `select from platform.tenants t where t.id = $1
           and not exists (select from platform.tenant_moves m where m.id = t.id)`,
        [tenant],
      );
      if (served.rowCount !== 1) throw new MoveLost();
      return;
    }
    await target.client.query('update platform.api_keys set away = false where tenant_id = $1', [tenant]);
    if (rows[0] !== undefined) {
      await target.client.query(
        `insert into payments.stripe_reading as r (read_until) values ($1)
         on conflict (one) do update set read_until = least(r.read_until, excluded.read_until)`,
        [rows[0].readUntil],
      );
    }
  });
}

/**
 * Takes back an arrival that was not activated, and deletes the copied rows. Can be repeated. False if the tenant is
 * served here.
 */
export async function clearArrival(target: Cell, tables: Table[], tenant: string, moveId: string): Promise<boolean> {
  const { client } = target;
  const { rowCount } = await client.query(
    `update platform.tenant_moves set state = 'clearing'
     where id = $1 and move_id = $2 and state in ('arriving', 'clearing')`,
    [tenant, moveId],
  );
  // Not begun, or cleared by an earlier run: the tenant is unknown here, or forwarded as before.
  if (rowCount !== 1) return (await readPlace(target, tenant)).state !== 'here';
  await deleteRows(target, copiedTables(tables), { tenant, moveId, state: 'clearing' });
  await asMover(client, tenant, async () => {
    const { rowCount: forwarding } = await client.query(
      `update platform.tenant_moves set state = 'moved', moved_at = now(), purged_at = now(), steps = '{}'
       where id = $1 and move_id = $2 and state = 'clearing' and forwards`,
      [tenant, moveId],
    );
    if (forwarding === 1) return;
    await client.query('delete from platform.api_keys where tenant_id = $1', [tenant]);
    await client.query('delete from platform.tenant_moves where id = $1 and move_id = $2', [tenant, moveId]);
    await client.query('delete from platform.tenants where id = $1', [tenant]);
  });
  return true;
}

/** Deletes the rows of a tenant that has moved away. Its keys stay, to be forwarded. */
export async function purgeRows(cell: Cell, tables: Table[], tenant: string, moveId: string): Promise<number> {
  const deleted = await deleteRows(cell, copiedTables(tables), { tenant, moveId, state: 'moved' });
  const statement = `update platform.tenant_moves set purged_at = now() where id = $1 and move_id = $2 and state = 'moved'`;
  await cell.client.query(statement, [tenant, moveId]);
  return deleted;
}
