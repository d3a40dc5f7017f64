import type { Budget } from '../../base/budget.ts';
import type { Context } from '../../context.ts';

export type ChangedStock = { tenant: string; skus: string[] }[];

type Batch = { done: number; more: boolean; tenant?: string; skus?: string[] };

export type SqlFunction = `group_commerce.${string}`;

/** A consumer works on its campaign or teams until they are finished. */
export const noLimit: Pick<Budget, 'spend'> = { spend: () => true };

/** Consecutive batches without progress before it stops: the remaining rows are locked or set aside. */
const maxIdleBatches = 10;

/**
 * Runs a function that processes a batch, until it has no more work, makes no progress, or the budget is spent.
 * @returns how many rows it processed, and the SKUs by tenant whose stock has changed
 */
export async function runBatches(
  context: Context,
  name: SqlFunction,
  input: Record<string, unknown>,
  budget: Pick<Budget, 'spend'>,
) {
  let total = 0;
  const changed: ChangedStock = [];
  for (let idle = 0; idle < maxIdleBatches && budget.spend(); ) {
    const { done, more, tenant, skus = [] } = await context.db.run<Batch>(name, context.call, input);
    total += done;
    if (tenant !== undefined && skus.length > 0) changed.push({ tenant, skus });
    idle = done === 0 ? idle + 1 : 0;
    if (!more) break;
  }
  return { total, changed };
}

/**
 * Runs a function of the cron until it finds no more rows or the budget is spent. `field`: where its result has the
 * number of rows.
 * @returns how many rows it processed
 */
export async function runUntilNone<Field extends string>(
  context: Context,
  name: SqlFunction,
  field: Field,
  limit: number,
  budget: Budget,
): Promise<number> {
  let total = 0;
  while (budget.spend()) {
    const { [field]: count } = await context.db.run<Record<Field, number>>(name, context.call, { limit });
    total += count;
    if (count === 0) break;
  }
  return total;
}
