import { asMover, type Cell } from './session.ts';
import type { Table } from './tables.ts';

/** What a cell has of a tenant in one table: the number of rows, a checksum of them, and the sum of each number. */
export type Figures = { rows: string; checksum: string; sums: Record<string, string> };

// MD5 gives the same number in every version of Postgres, which its own hash functions do not promise.
const checksumOf = (row: string): string =>
  `coalesce(sum(('x' || left(md5(${row}), 16))::bit(64)::bigint::numeric), 0)::text`;

/** Reads the figures of one tenant and table. The order of the rows does not matter. */
export async function readFigures({ client }: Cell, table: Table, tenant: string): Promise<Figures> {
  const row = `row(${table.columns.map(({ name }) => name).join()})::text`;
  const sums = table.columns
    .filter(({ isNumber, name }) => isNumber && name !== table.sequence?.column)
    .map(({ name }) => `'${name}', coalesce(sum(${name}), 0)::text`);
  const statement = `select count(*)::text as rows, ${checksumOf(row)} as checksum, json_build_object(${sums.join()}) as sums
    from ${table.name} where ${table.tenant} = $1`;
  const { rows } = await asMover(client, tenant, () => client.query<Figures>(statement, [tenant]));
  const [figures] = rows;
  if (figures === undefined) throw new Error(`${table.name} could not be counted`);
  return figures;
}

/** Compares two cells' figures of a table, and describes each difference. */
export function describeDifferences(table: string, source: Figures, target: Figures): string[] {
  const difference = (what: string, a: string | undefined, b: string | undefined): string[] =>
    a === b ? [] : [`${table}: ${what} ${a ?? 'none'} in the old cell, ${b ?? 'none'} in the new cell`];
  const found = [
    ...difference('rows', source.rows, target.rows),
    ...Object.keys(source.sums).flatMap((name) => difference(`sum of ${name}`, source.sums[name], target.sums[name])),
  ];
  return found.length > 0 || source.checksum === target.checksum
    ? found
    : [`${table}: a row differs, although counts and sums are equal`];
}
