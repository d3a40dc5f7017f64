import type { Statement } from './session.ts';

export type Request = { method: 'GET' | 'POST'; path: string; body?: unknown; key: string };

/**
 * One operation: the HTTP request of a client, and the SQL statement that the Worker sends for it. `i` numbers the
 * calls.
 */
export type Case = {
  name: string;
  /** Missing for operations that a cron or a queue runs. Some of these are measured from the Worker's log instead. */
  request?: (i: number) => Request;
  /** `last` is the result of the previous call. */
  statement: (i: number, last: unknown) => Statement;
  /**
   * Rows that are added for the calls: expired holds (`holds`), unpaid orders (`unpaid`), undelivered events
   * (`backlog`), or old idempotency keys (`stale`).
   */
  needs?: 'holds' | 'unpaid' | 'backlog' | 'stale';
  /** At most this many calls are measured. */
  calls?: number;
};

/** A secret key of each tenant that has cases. */
export type Keys = { default: string; corner: string; trade: string };
