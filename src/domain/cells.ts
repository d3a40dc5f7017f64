import { type Context, inCell } from '../context.ts';

/** What one cell did with an update, and the context of that cell. */
export type Applied<T> = { context: Context; result: T };

/** Ends the search in a cell that does not know the update's subject. */
class NotHere<T> extends Error {
  readonly applied: Applied<T>;
  constructor(applied: Applied<T>) {
    super();
    this.applied = applied;
  }
}

/**
 * Applies an update from outside in the cell that knows its subject. A named cell is tried first. If it does not know
 * the subject (its tenant has moved), or if no cell is named, the others are tried at once. A cell that does not know
 * the subject changes nothing. A cell that is unavailable does not delay the one that knows it.
 * @returns the result of the cell that knows the subject, or of one that does not if none does
 * @throws ApiError unavailable, if no cell knows the subject and one did not respond
 */
export async function applyInItsCell<T extends { outcome: string }>(
  context: Context,
  named: string | undefined,
  apply: (context: Context) => Promise<T>,
): Promise<Applied<T>> {
  const cells = [...context.settings.cells.keys()];
  const applyIn = async (cell: string): Promise<Applied<T>> => {
    const inside = inCell(context, cell);
    return { context: inside, result: await apply(inside) };
  };
  const first = cells.length === 1 ? cells[0] : cells.find((cell) => cell === named);
  const applied = first === undefined ? undefined : await applyIn(first);
  const others = cells.filter((cell) => cell !== first);
  if (applied !== undefined && (applied.result.outcome !== 'unknown' || others.length === 0)) return applied;
  try {
    return await Promise.any(
      others.map(async (cell) => {
        const other = await applyIn(cell);
        if (other.result.outcome === 'unknown') throw new NotHere(other);
        return other;
      }),
    );
  } catch (thrown) {
    const errors: unknown[] = thrown instanceof AggregateError ? thrown.errors : [thrown];
    const failure = errors.find((error) => !(error instanceof NotHere));
    if (failure !== undefined) throw failure;
    return applied ?? (errors[0] as NotHere<T>).applied;
  }
}
