import type { Context as HonoContext } from 'hono';
import type { Context } from '../context.ts';
import type { Bindings } from '../env.ts';
import type { Operation } from './declaration.ts';

/**
 * The variables that middleware sets for a request, in the order in which it sets them. Middleware reads one with
 * `c.get`, because `c.var` copies all of them each time. After `next()` it sets headers with `c.res.headers`, because
 * `c.header` makes another response each time. Both were a tenth of the CPU of a read from the edge cache.
 */
export type Variables = {
  requestId: string;
  /** The declared operation at this method and path; undefined if there is none. */
  operation: Operation | undefined;
  /** The database, the settings and the clock. Set for every declared operation. */
  context: Context;
  /** Identifies the client in the edge cache: the hash of its key, and the calling page's origin if there is one. */
  reader: string;
  /** Whether the database accepted this key recently. If so, the body is read before the key is checked. */
  isKeyKnown: boolean;
  /**
   * Whether the database has accepted the key, though the request has failed: before its own database call, or for an
   * ID token that is not valid.
   */
  isKeyChecked: boolean;
  /** Whether the request named a discount code or a team's code that does not exist: the client may be guessing. */
  isWrongGuess: boolean;
  /** The tenant for the log. Only a route that may respond without a database call of its own sets it. */
  tenant: string;
};

export type AppEnv = { Bindings: Bindings; Variables: Variables };

/** Hono's context of a request. (`Context` in src/context.ts is an operation's.) */
export type HttpContext = HonoContext<AppEnv>;
