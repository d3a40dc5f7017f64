import { purgeRows } from './arrival.ts';
import { count, type MoveOptions } from './move.ts';
import { readPlaces } from './places.ts';
import type { Cell } from './session.ts';
import { findTenantTables } from './tables.ts';

/**
 * Deletes the rows that a tenant has left behind in other cells. They are kept for a week, since they are the proof of
 * what was copied.
 */
export async function purgeTenant(
  cells: Cell[],
  tenant: string,
  { steps, keepDays = 7 }: Pick<MoveOptions, 'steps'> & { keepDays?: number },
): Promise<void> {
  const places = await readPlaces(cells, tenant);
  const left = places.filter(({ state, move }) => state === 'moved' && move?.purgedAt === null);
  if (left.length === 0) throw new Error(`${tenant} left no rows behind in any cell`);
  for (const { cell, move } of left) {
    if (move === null) continue;
    const home = places.find((place) => place.cell.name === move.cell);
    if (home?.state !== 'here')
      throw new Error(`${move.cell} does not serve ${tenant} now: ${cell.name} keeps its rows`);
    const movedAt = move.movedAt?.getTime() ?? Date.now();
    if (Date.now() - movedAt < keepDays * 86_400_000) {
      throw new Error(
        `${tenant} left ${cell.name} less than ${keepDays} days ago: add --now to delete its rows anyway`,
      );
    }
    const tables = await findTenantTables(cell.client);
    const describe = (n: number): string => `${count(n, 'row')} deleted in ${cell.name}`;
    await steps.step('purge', () => purgeRows(cell, tables, tenant, move.moveId), describe);
  }
}
