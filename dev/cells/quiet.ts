import { setTimeout as sleep } from 'node:timers/promises';
import type { Cell } from './session.ts';

type Transaction = { id: string; pid: number; role: string };

/** Something that a move waits for did not happen in time. Nothing was copied, and the tenant is served again. */
export class WaitedTooLong extends Error {}

export type WaitOptions = { waitMs: number; signal?: AbortSignal | undefined };

const pollMs = 100;

/**
 * Waits until every transaction that has begun before has ended. One that begins later sees what was committed before
 * this call. Each transaction holds a lock on its virtual id; a snapshot would miss those that have not written yet.
 * @throws WaitedTooLong
 */
export async function awaitRunningTransactions({ client }: Cell, { waitMs, signal }: WaitOptions): Promise<number> {
  const running = async (): Promise<Transaction[]> => {
    const { rows } = await client.query<Transaction>(
      `select l.virtualtransaction as id, l.pid, coalesce(a.usename, '') as role
       from pg_locks l join pg_stat_activity a on a.pid = l.pid
       where l.locktype = 'virtualxid' and l.granted and l.pid <> pg_backend_pid()
         and a.datname = current_database() and a.usesysid is not null`, // autovacuum has no user
    );
    return rows;
  };
  let waiting = await running();
  const ids = new Set(waiting.map(({ id }) => id));
  for (const end = Date.now() + waitMs; waiting.length > 0; await sleep(pollMs)) {
    signal?.throwIfAborted();
    waiting = (await running()).filter(({ id }) => ids.has(id));
    const [first] = waiting;
    if (first !== undefined && Date.now() > end) {
      throw new WaitedTooLong(
        `a transaction of ${first.role} (process ${first.pid}) does not end. If it was left open, end it: select pg_terminate_backend(${first.pid})`,
      );
    }
  }
  return ids.size;
}

/**
 * Waits until the relay has delivered the tenant's events. They stay in order, because none is delivered after the move.
 * @throws WaitedTooLong
 */
export async function awaitDeliveries(
  { client }: Cell,
  countWaiting: () => Promise<number>,
  { waitMs, signal }: WaitOptions,
): Promise<number> {
  const first = await countWaiting();
  let left = first;
  for (const end = Date.now() + waitMs; left > 0; await sleep(pollMs * 5)) {
    signal?.throwIfAborted();
    left = await countWaiting();
    if (left > 0 && Date.now() > end) {
      const { rows } = await client.query<{ sink: string }>('select sink from platform.sinks where failures > 0');
      const failing = rows.length === 0 ? '' : ` (${rows.map(({ sink }) => sink).join(', ')} does not accept them)`;
      throw new WaitedTooLong(
        `${left === 1 ? '1 event of the tenant is' : `${left} events of the tenant are`} not delivered yet${failing}: see /readyz`,
      );
    }
  }
  return first;
}
