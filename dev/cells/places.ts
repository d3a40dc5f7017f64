import type { Cell } from './session.ts';

/** A row of platform.tenant_moves. */
export type Move = {
  state: 'moving' | 'switching' | 'moved' | 'arriving' | 'clearing';
  cell: string;
  moveId: string;
  forwards: boolean;
  steps: Record<string, unknown>;
  movedAt: Date | null;
  purgedAt: Date | null;
};

/** What a cell knows of a tenant. `here`: it serves the tenant. `unknown`: it has no such tenant. */
export type Place = { cell: Cell; state: 'here' | 'unknown' | Move['state']; move: Move | null };

export async function readPlace(cell: Cell, tenant: string): Promise<Place> {
  const { rows } = await cell.client.query<Move & { state: Move['state'] | null }>(
    `select m.state, m.cell, m.move_id as "moveId", m.forwards, m.steps, m.moved_at as "movedAt",
       m.purged_at as "purgedAt"
     from platform.tenants t left join platform.tenant_moves m using (id) where t.id = $1`,
    [tenant],
  );
  const [row] = rows;
  if (row === undefined) return { cell, state: 'unknown', move: null };
  return row.state === null ? { cell, state: 'here', move: null } : { cell, state: row.state, move: row };
}

export const readPlaces = (cells: Cell[], tenant: string): Promise<Place[]> =>
  Promise.all(cells.map((cell) => readPlace(cell, tenant)));

/** Every tenant of a cell that is away or on its way, and the number of those that it serves. */
export async function listMoves({ client }: Cell): Promise<{ served: number; moves: (Move & { tenant: string })[] }> {
  const { rows } = await client.query<Move & { tenant: string; state: Move['state'] | null }>(
    `select t.id as tenant, m.state, m.cell, m.move_id as "moveId", m.forwards, m.steps, m.moved_at as "movedAt",
       m.purged_at as "purgedAt"
     from platform.tenants t left join platform.tenant_moves m using (id) order by t.id`,
  );
  const moves = rows.filter((row) => row.state !== null);
  return { served: rows.length - moves.length, moves };
}
