import type { Call, Database, Job } from './db/client.ts';
import type { MadeIntent } from './db/payments/queries.ts';
import type { Settings } from './env.ts';

/** The dependencies of an operation, including the clock. */
export type Context = {
  /** The database of one cell. `db.cell` is that cell: a tenant's id and a row's id are unique only there. */
  db: Database;
  /** The caller's identity, passed to the database with every write and read. */
  call: Call;
  settings: Settings;
  now: () => Date;
  /** PaymentIntents that the operation has made. The relay records them with its next database call. */
  madeIntents?: TenantIntent[];
  /** Set by the relay: see `runLast` below. It takes the context, because the one of another cell has it too. */
  runLast?: <T>(context: Context, job: Job) => Promise<T>;
  /** How many database calls had been made when the relay leased the operation's events. */
  leasedCalls?: number;
};

/**
 * Runs a job that is the last of its operation. Where the relay can, it leases the job's events in the same database
 * call.
 */
export const runLast = <T>(context: Context, name: Job['name'], call: Call, input: unknown): Promise<T> =>
  context.runLast ? context.runLast<T>(context, { name, call, input }) : context.db.run<T>(name, call, input);

export type TenantIntent = { tenant: string; intent: MadeIntent };

/** The same operation in another cell. Both count their database calls together. */
export const inCell = (context: Context, cell: string): Context =>
  cell === context.db.cell ? context : { ...context, db: context.db.inCell(cell) };
