import { ApiError } from '../base/errors.ts';
import type { Context, TenantIntent } from '../context.ts';
import type { Call, Job } from '../db/client.ts';
import { sinks } from '../db/platform/outbox.ts';
import type { Bindings } from '../env.ts';
import { isPaused, RelayRun } from './relay-run.ts';

/** Delivers to every sink, also to one that was unavailable a moment ago. @returns the number of deliveries */
export const relayAll = (env: Bindings, cause: string): Promise<number> => new RelayRun(env, cause, sinks).run();

/** The run that this isolate's requests leave their events to. */
let current: RelayRun | undefined;

/**
 * Relays after a response, with one run for each isolate, and records the PaymentIntents that the request has made. A
 * request that finds a run leaves both to it.
 */
export async function relaySoon(env: Bindings, cause: string, madeIntents: TenantIntent[] = []): Promise<void> {
  const available = sinks.filter((sink) => !isPaused(sink));
  if (available.length === 0 && madeIntents.length === 0) return;
  if (current?.isOpen) {
    for (const sink of available) current.wanted.add(sink);
    current.madeIntents.push(...madeIntents);
    return;
  }
  const run = new RelayRun(env, cause, available);
  run.madeIntents.push(...madeIntents);
  await runToEnd(run);
}

async function runToEnd(first: RelayRun): Promise<void> {
  for (let run: RelayRun | undefined = first; run; run = run.successor) {
    if (!current?.isOpen) current = run;
    await run.run();
    if (current === run) current = undefined;
  }
}

/**
 * Lets the last job of an operation lease events in its own database call, unless a run of this isolate will lease them
 * soon. What it leases is delivered after the response.
 */
export function leaseWithLastJob(
  context: Context,
  env: Bindings,
  cause: string,
  waitUntil: (task: Promise<void>) => void,
): void {
  context.runLast = async <T>(name: Job['name'], call: Call, input: unknown): Promise<T> => {
    const available = sinks.filter((sink) => !isPaused(sink));
    if (current?.isOpen || available.length === 0) return context.db.run<T>(name, call, input);
    const run = new RelayRun(env, cause, available);
    try {
      const result = await run.begin<T>(context.db, { name, call, input });
      context.leasedCalls = context.db.usage.calls;
      waitUntil(runToEnd(run));
      return result;
    } catch (error) {
      // Alone, because the relay may be at fault.
      if (error instanceof ApiError) throw error;
      return context.db.run<T>(name, call, input);
    }
  };
}

/** Whether the operation may have stored events that it has not leased. */
export const hasUnleasedEvents = ({ db, leasedCalls = 0 }: Context): boolean => db.usage.calls > leasedCalls;
