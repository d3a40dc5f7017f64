import type { Call, Database, Job } from './db/client.ts';
import type { MadeIntent } from './db/payments/queries.ts';
import type { Settings } from './env.ts';

/** The dependencies of an operation, including the clock. */
export type Context = {
  db: Database;
  /** The caller's identity, passed to the database with every write and read. */
  call: Call;
  settings: Settings;
  now: () => Date;
  /** PaymentIntents that the operation has made. The relay records them with its next database call. */
  madeIntents?: TenantIntent[];
  /** Set by the relay: see `runLast` below. */
  runLast?: <T>(name: Job['name'], call: Call, input: unknown) => Promise<T>;
  /** How many database calls had been made when the relay leased the operation's events. */
  leasedCalls?: number;
};

/**
 * Runs a job that is the last of its operation. Where the relay can, it leases the job's events in the same database
 * call.
 */
export const runLast = <T>(context: Context, name: Job['name'], call: Call, input: unknown): Promise<T> =>
  (context.runLast ?? context.db.run)<T>(name, call, input);

export type TenantIntent = { tenant: string; intent: MadeIntent };
