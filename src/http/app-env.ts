import type { Context as HonoContext } from 'hono';
import type { Context } from '../context.ts';
import type { Bindings } from '../env.ts';
import type { Operation } from './declaration.ts';

/** What the middleware keep for a request, in the order in which they set it. */
export type Variables = {
  requestId: string;
  /** The declared operation at this method and path; undefined if there is none. */
  operation: Operation | undefined;
  /** The database, the settings and the clock. Set for every declared operation. */
  context: Context;
  /** The hash of the key, and the page's origin if a page asks: a client that was let in once by this is let in again. */
  reader: string;
  /** Whether the database accepted this key lately, so that a request need not be checked before it is read. */
  isKeyKnown: boolean;
  /** Whether the database accepted the key of a request that failed before it reached the database. */
  isKeyChecked: boolean;
  /** The tenant, where no database call tells it: an answer from the edge cache. */
  tenant: string;
};

export type AppEnv = { Bindings: Bindings; Variables: Variables };

export type Http = HonoContext<AppEnv>;
