import { ApiError } from '../base/errors.ts';
import type { Context, TenantIntent } from '../context.ts';
import type { Job } from '../db/client.ts';
import { type Sink, sinks } from '../db/platform/outbox.ts';
import type { Bindings } from '../env.ts';
import { isPaused, RelayRun, sleep } from './relay-run.ts';

/** Delivers one cell's events to every sink, also to one that was unavailable a moment ago. @returns the number of deliveries */
export const relayAll = (env: Bindings, cell: string, cause: string): Promise<number> =>
  new RelayRun(env, cell, cause, sinks).run();

/** The run of each cell that this isolate's requests leave their events to. */
const current = new Map<string, RelayRun>();

/** The run of each cell that waits until another relay has delivered the events before its own, and when it begins. */
const waiting = new Map<string, { run: RelayRun; beginsAt: number }>();

const availableSinks = (cell: string): Sink[] => sinks.filter((sink) => !isPaused(cell, sink));

/**
 * Relays after a response, with one run for each isolate and cell, and records the PaymentIntents that the request has
 * made. A request that finds a run leaves both to it.
 */
export async function relaySoon(
  env: Bindings,
  cell: string,
  cause: string,
  madeIntents: TenantIntent[] = [],
): Promise<void> {
  const available = availableSinks(cell);
  if (available.length === 0 && madeIntents.length === 0) return;
  const open = current.get(cell);
  if (open?.isOpen) {
    for (const sink of available) open.wanted.add(sink);
    open.madeIntents.push(...madeIntents);
    return;
  }
  const run = new RelayRun(env, cell, cause, available);
  run.madeIntents.push(...madeIntents);
  await runToEnd(cell, run);
}

/** Waits as long as the run has to wait. @returns false if another run of this isolate has taken over its sinks */
async function waitForTurn(cell: string, run: RelayRun): Promise<boolean> {
  if (run.waitMs === 0) return true;
  const own = { run, beginsAt: Date.now() + run.waitMs };
  const leaveTo = (other: RelayRun): false => {
    for (const sink of run.wanted) other.wanted.add(sink);
    return false;
  };
  const other = waiting.get(cell);
  // A run whose time has passed belongs to a request that has ended.
  if (other && other.beginsAt >= Date.now() && other.beginsAt <= own.beginsAt) return leaveTo(other.run);
  for (const sink of other?.run.wanted ?? []) run.wanted.add(sink);
  waiting.set(cell, own);
  await sleep(run.waitMs);
  if (waiting.get(cell) !== own) return false;
  waiting.delete(cell);
  const open = current.get(cell);
  return open?.isOpen ? leaveTo(open) : true;
}

async function runToEnd(cell: string, first: RelayRun): Promise<void> {
  for (let run: RelayRun | undefined = first; run; run = run.successor) {
    if (!(await waitForTurn(cell, run))) return;
    if (!current.get(cell)?.isOpen) current.set(cell, run);
    await run.run();
    if (current.get(cell) === run) current.delete(cell);
  }
}

/**
 * Lets the last job of an operation lease events in its own database call, unless a run of this isolate will lease them
 * soon. What it leases is delivered after the response.
 */
export function leaseWithLastJob(
  first: Context,
  env: Bindings,
  cause: string,
  waitUntil: (task: Promise<void>) => void,
): void {
  first.runLast = async <T>(context: Context, { name, call, input }: Job): Promise<T> => {
    const { db } = context;
    const { cell } = db;
    const available = availableSinks(cell);
    if (current.get(cell)?.isOpen || available.length === 0) return db.run<T>(name, call, input);
    const run = new RelayRun(env, cell, cause, available);
    try {
      const result = await run.begin<T>(db, { name, call, input });
      context.leasedCalls = db.usage.calls;
      waitUntil(runToEnd(cell, run));
      return result;
    } catch (error) {
      // Alone, because the relay may be at fault, or the tenant has moved to a cell with another relay.
      if (error instanceof ApiError) throw error;
      return db.run<T>(name, call, input);
    }
  };
}

/** Whether the operation may have stored events that it has not leased. */
export const hasUnleasedEvents = ({ db, leasedCalls = 0 }: Context): boolean => db.usage.calls > leasedCalls;
