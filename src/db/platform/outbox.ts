import type { Database } from '../client.ts';

/** Where the relay delivers events. Each sink has its own outbox rows, so one that is unavailable delays no other. */
export const sinks = ['kafka', 'queue'] as const;
export type Sink = (typeof sinks)[number];

/** An event that only this relay may deliver to a sink while its lease lasts. */
export type LeasedEvent = {
  seq: number;
  id: string;
  topic: string;
  key: string;
  tenant: string;
  payload: unknown;
  traceparent: string | null;
  time: string;
};

/** The result of delivering leased rows. The next turn reports it to the database. */
export type DeliveryReport = {
  delivered: number[];
  /** `dead`: a retry cannot succeed. */
  failed: { seq: number; error: string; dead: boolean }[];
  /** LeasedEvent and not tried: another relay may lease them. */
  returned: number[];
  /** Why the whole sink is paused for a while. */
  paused?: string;
};

/** How much one turn leases, and for how long. If a relay dies, other relays can lease its rows after that time. */
const lease = { limit: 500, bytes: 1_000_000, seconds: 60 };

/**
 * One turn of the relay `name`, in one call: reports the last turn's deliveries and, with `leaseNext`, leases the next
 * rows, oldest first. `lost`: the response of an earlier turn was lost, so its rows are freed. Resolves with the
 * events, how long the sink stays paused (`pausedMs`), and how many rows failed in the database and were set aside
 * (`aside`).
 */
export async function takeTurn(
  db: Database,
  sink: Sink,
  name: string,
  last: DeliveryReport,
  leaseNext: boolean,
  lost = false,
) {
  const { paused, ...settled } = last;
  return db.run<{ events: LeasedEvent[]; pausedMs: number; aside: number }>(
    'platform.relay',
    {},
    { sink, lease: name, ...lease, ...(leaseNext ? {} : { limit: 0 }), ...settled, paused: paused !== undefined, lost },
  );
}
