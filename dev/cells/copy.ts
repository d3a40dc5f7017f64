import pg from 'pg';
import { asMover, type Cell } from './session.ts';
import type { Table } from './tables.ts';

/** How far a table is copied: the key of the last row, as text, and the number of rows so far. */
type Position = { after: string[] | null; rows: number; done: boolean };

export type CopyOptions = { tenant: string; moveId: string; signal?: AbortSignal | undefined };

/** The size of a batch, in characters. It bounds the memory, however many rows the tenant has. */
const batchCharacters = 2_000_000;
const firstBatchRows = 200;
const maxBatchRows = 10_000;

/** The move was undone, or taken over by another run, while this run was copying. */
export class MoveLost extends Error {
  constructor() {
    super('this move was undone, or another run has finished it');
  }
}

/**
 * Copies the rows of one tenant in batches. Each is a transaction in the target, which also records how far the table is
 * copied, so that a later run continues there. Every value is sent as Postgres prints it. COPY would be no help: it
 * cannot write a table with row-level security, not even as its owner.
 * @throws MoveLost
 */
export async function copyTable(source: Cell, target: Cell, table: Table, options: CopyOptions): Promise<number> {
  const { tenant, moveId, signal } = options;
  let position = await readPosition(target, table, options);
  if (position.done) return position.rows;
  const record = async (next: Position): Promise<void> => {
    const { rowCount } = await target.client.query(
      `update platform.tenant_moves set steps = jsonb_set(steps, array[$3::text], $4::jsonb)
       where id = $1 and move_id = $2 and state = 'arriving'`,
      [tenant, moveId, table.name, JSON.stringify(next)],
    );
    if (rowCount !== 1) throw new MoveLost();
  };
  await asMover(source.client, tenant, async () => {
    await source.client.query(`declare copied no scroll cursor for ${selectRows(table, tenant, position.after)}`);
    for (let limit = firstBatchRows; ; ) {
      signal?.throwIfAborted();
      const { rows } = await source.client.query<{ line: string; key: string[] }>(`fetch ${limit} from copied`);
      const last = rows.at(-1);
      const next = { after: last?.key ?? null, rows: position.rows + rows.length, done: last === undefined };
      const lines = `[${rows.map(({ line }) => line).join()}]`;
      await asMover(target.client, tenant, async () => {
        await record(next); // first: its lock on the record keeps an undo out until the batch is committed
        if (!next.done) await target.client.query(insertRows(table), [lines]);
      });
      position = next;
      if (next.done) break;
      const rowCharacters = Math.max(lines.length / rows.length, 1);
      limit = Math.min(Math.max(Math.floor(batchCharacters / rowCharacters), 1), maxBatchRows, limit * 10);
    }
  });
  return position.rows;
}

async function readPosition(target: Cell, table: Table, { tenant, moveId }: CopyOptions): Promise<Position> {
  const { rows } = await target.client.query<{ position: Position | null }>(
    `select steps->$3::text as position from platform.tenant_moves
     where id = $1 and move_id = $2 and state = 'arriving'`,
    [tenant, moveId, table.name],
  );
  if (rows[0] === undefined) throw new MoveLost();
  return rows[0].position ?? { after: null, rows: 0, done: false };
}

const textArray = (columns: string[]): string => `array[${columns.map((column) => `${column}::text`).join()}]::text[]`;

function selectRows(
  { name, tenant: tenantColumn, columns, key }: Table,
  tenant: string,
  after: string[] | null,
): string {
  const typeOf = (column: string): string => columns.find((each) => each.name === column)?.type ?? 'text';
  const start = (after ?? []).map((value, place) => `${pg.escapeLiteral(value)}::${typeOf(key[place] ?? '')}`);
  const isAfter = start.length === 0 ? '' : `and (${key.join()}) > (${start.join()})`;
  const order = key.length === 0 ? '' : `order by ${key.join()}`;
  return `select to_json(${textArray(columns.map((column) => column.name))})::text as line, ${textArray(key)} as key
    from ${name} where ${tenantColumn} = ${pg.escapeLiteral(tenant)} ${isAfter} ${order}`;
}

/** Inserts rows that were printed by `selectRows`; $1 is a JSON array of arrays of texts. */
export function insertRows({ name, columns }: Table): string {
  const values = columns.map(({ type }, place) => `(line->>${place})::${type}`);
  return `insert into ${name} (${columns.map((column) => column.name).join()}) overriding system value
    select ${values.join()} from jsonb_array_elements($1::jsonb) line`;
}

/**
 * Deletes every row of the tenant in these tables, as long as the cell's record of the move is in this state: nothing
 * else may delete rows of a tenant that is served.
 * @throws MoveLost
 */
export async function deleteRows(
  { client }: Cell,
  tables: Table[],
  { tenant, moveId, state }: { tenant: string; moveId: string; state: 'arriving' | 'clearing' | 'moved' },
): Promise<number> {
  let deleted = 0;
  for (const table of [...tables].reverse()) {
    const { rowCount } = await asMover(client, tenant, async () => {
      const record = await client.query(
        'select from platform.tenant_moves where id = $1 and move_id = $2 and state = $3 for share',
        [tenant, moveId, state],
      );
      if (record.rowCount !== 1) throw new MoveLost();
      // The audit log is append-only, so a trigger prevents this. Only the owner can disable the trigger.
      if (table.name === 'audit.log') await client.query('alter table audit.log disable trigger log_is_append_only');
      const result = await client.query(`delete from ${table.name} where ${table.tenant} = $1`, [tenant]);
      if (table.name === 'audit.log') await client.query('alter table audit.log enable trigger log_is_append_only');
      return result;
    });
    deleted += rowCount ?? 0;
  }
  return deleted;
}
