import { qualifyTenant } from '../base/cells.ts';

/** How to reach the database of one cell. */
export type DatabaseSettings = {
  DATABASE_URL: string;
  /** The job secret: proves that a call without a key comes from the Worker (a job, a consumer or a webhook). */
  DATABASE_JOB_SECRET: string;
  /** An endpoint other than Neon's own. */
  NEON_HTTP_URL?: string | undefined;
  /** The deadline of a call. */
  DATABASE_DEADLINE_MS?: number;
};

/** Every configured cell by its name. The default cell is always there. */
export type Cells = ReadonlyMap<string, DatabaseSettings>;

// The memory of this isolate.
const moveMs = 600_000;
const maxMoves = 10_000;
/** The cells of tenants that have moved, by the hash of the key or by `tenant@cell` before the move. */
const moves = new Map<string, { cell: string; until: number }>();

/** Who calls a cell's database, for the memory of moves. Undefined for a job that looks for work of all tenants. */
export function subjectOf(keyHash: string | undefined, input: unknown, cell: string): string | undefined {
  if (keyHash !== undefined) return keyHash;
  if (typeof input !== 'object' || input === null || !('tenant' in input)) return undefined;
  const { tenant } = input;
  return typeof tenant === 'string' && tenant !== '*' ? qualifyTenant(tenant, cell) : undefined;
}

/** The cell to call: the one to which the subject has moved, or `cell` if this isolate knows of no move. */
export function cellAfterMove(subject: string | undefined, cell: string): string {
  if (moves.size === 0 || subject === undefined) return cell;
  const move = moves.get(subject);
  return move !== undefined && move.until > Date.now() ? move.cell : cell;
}

/** Remembers where a subject has moved, so that its next calls go there at once. */
export function rememberMove(subject: string | undefined, cell: string): void {
  if (subject === undefined) return;
  if (moves.size >= maxMoves) moves.clear();
  moves.set(subject, { cell, until: Date.now() + moveMs });
}

/** A call that fails sooner holds up nobody. */
const slowFailureMs = 1_000;
const maxPauseMs = 10_000;
const pausedUntil = new Map<string, number>();

/**
 * Notes that a call to a cell's database got a response, or got none for `failedMs`. The consumers then leave the cell
 * out for as long, so that a database that hangs does not hold up the other cells' messages.
 */
export function noteResponse(cell: string, failedMs?: number): void {
  if (failedMs === undefined) {
    if (pausedUntil.size > 0) pausedUntil.delete(cell);
  } else if (failedMs >= slowFailureMs) pausedUntil.set(cell, Date.now() + Math.min(failedMs, maxPauseMs));
}

/** Whether a cell is left out, because its database did not respond a moment ago. */
export const isCellPaused = (cell: string): boolean => Date.now() < (pausedUntil.get(cell) ?? 0);
