import type { Database } from '../client.ts';

/** Where events go. Each has rows of its own in the outbox, so that one that is away holds up no other. */
export const sinks = ['kafka', 'queue'] as const;
export type Sink = (typeof sinks)[number];

/** An event that this relay alone may deliver to a sink, for as long as its lease lasts. */
export type Leased = {
  seq: number;
  id: string;
  topic: string;
  key: string;
  tenant: string;
  payload: unknown;
  traceparent: string | null;
  time: string;
};

/** What became of leased rows; the next turn tells the database. */
export type Delivery = {
  delivered: number[];
  /** `dead`: no repetition will help. */
  failed: { seq: number; error: string; dead: boolean }[];
  /** Leased and not tried: they go back. */
  returned: number[];
  /** Why the sink as a whole is to be left alone for a while. */
  paused?: string;
};

/** How much one turn leases, and for how long: a dead relay's rows are free again then. */
const lease = { limit: 500, bytes: 1_000_000, seconds: 60 };

/**
 * One turn of the relay that is called `name`, in one call: settles what became of the last turn's rows and, with
 * `more`, leases the next ones, oldest first. `pausedMs`: for how long the sink is still to be left alone. `aside`: rows that failed in the database and were set aside.
 * `lost`: an earlier turn's answer was lost, and its rows are to be free again.
 */
export async function takeTurn(db: Database, sink: Sink, name: string, last: Delivery, more: boolean, lost = false) {
  const { paused, ...settled } = last;
  return db.run<{ events: Leased[]; pausedMs: number; aside: number }>(
    'platform.relay',
    {},
    { sink, lease: name, ...lease, ...(more ? {} : { limit: 0 }), ...settled, paused: paused !== undefined, lost },
  );
}
