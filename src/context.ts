import type { Call, Database } from './db/client.ts';
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
};

export type TenantIntent = { tenant: string; intent: MadeIntent };
