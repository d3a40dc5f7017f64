import type { Database } from '../support/harness.ts';
import { parseExactly } from './exact.ts';
import type { Input, Totals } from './model.ts';

/** The totals of many inputs by one query, each number as PostgreSQL writes it. */
export async function totalsInSql(database: Database, inputs: Input[]): Promise<Totals[]> {
  const rows = await database.query<{ totals: string }>(
    'select orders.totals(i)::text as totals from unnest($1::jsonb[]) with ordinality e(i, n) order by n',
    [inputs.map((one) => JSON.stringify(one))],
  );
  return rows.map(({ totals }) => parseExactly(totals) as Totals);
}
