import type { Call, Database } from './db/client.ts';
import type { Settings } from './env.ts';

/** What an operation is given: everything that it needs from outside, the clock included. */
export type Context = {
  db: Database;
  /** What the database is told of the caller, with every write and read. */
  call: Call;
  settings: Settings;
  now: () => Date;
};
