import type { Call, Database } from './db/client.ts';
import type { Settings } from './env.ts';

/** The dependencies of an operation, including the clock. */
export type Context = {
  db: Database;
  /** The caller's identity, passed to the database with every write and read. */
  call: Call;
  settings: Settings;
  now: () => Date;
};
