import type { Database, Job } from '../client.ts';

/** Where the relay delivers events. Each sink has its own outbox rows, so one that is unavailable delays no other. */
export const sinks = ['kafka', 'queue'] as const;
export type Sink = (typeof sinks)[number];

/** An event that only this relay may deliver to a sink while its lease lasts. */
export type LeasedEvent = {
  /** The cell whose outbox it comes from. */
  cell: string;
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

/** How much one turn leases of each sink, and for how long. If a relay dies, its rows can be leased after that time. */
const lease = { limit: 500, bytes: 1_000_000, seconds: 60 };

/**
 * One sink's part in a turn of the relay `name`. `last`: what became of its events of an earlier turn. `lost`: the
 * response of an earlier turn was lost, so the rows that it leased are freed.
 */
export type SinkTurn = {
  sink: Sink;
  name: string;
  last?: DeliveryReport | undefined;
  leaseNext: boolean;
  lost: boolean;
};

/**
 * The events of a sink, oldest first, how long the sink stays paused (`pausedMs`), how many rows failed in the database
 * and were set aside (`aside`), and whether other events wait for events of their key that another relay delivers
 * (`areHeld`; a database of the previous release does not say).
 */
type SinkResult<Event> = { events: Event[]; pausedMs: number; aside: number; areHeld?: boolean };
export type TurnResult = Partial<Record<Sink, SinkResult<LeasedEvent>>>;

/** A turn as the database returns it. It does not know its own cell. */
type StoredTurn = Partial<Record<Sink, SinkResult<Omit<LeasedEvent, 'cell'>>>>;

const nameCell = ({ cell }: Database, turn: StoredTurn): TurnResult =>
  Object.fromEntries(
    Object.entries(turn).map(([sink, { events, ...rest }]) => [
      sink,
      { ...rest, events: events.map((event): LeasedEvent => ({ ...event, cell })) },
    ]),
  );

const nothing: DeliveryReport = { delivered: [], failed: [], returned: [] };

function toInput({ sink, name, last = nothing, leaseNext, lost }: SinkTurn) {
  const { paused, ...settled } = last;
  const limit = leaseNext ? lease.limit : 0;
  return { sink, lease: name, ...lease, limit, ...settled, paused: paused !== undefined, lost };
}

/**
 * One turn of a relay, in one call: reports the deliveries of these sinks and, with `leaseNext`, leases their next rows.
 */
export const takeTurn = async (db: Database, turns: SinkTurn[]): Promise<TurnResult> =>
  nameCell(db, await db.run<StoredTurn>('platform.relay', {}, { sinks: turns.map(toInput) }));

/** Runs a job, and a turn after it in the same call, so that the turn leases the job's events too. */
export async function takeTurnAfter<T>(db: Database, job: Job, turns: SinkTurn[]): Promise<[T, TurnResult]> {
  const [result, turn] = await db.runBoth<T, StoredTurn>(job, {
    ...{ name: 'platform.relay', call: {} },
    input: { sinks: turns.map(toInput), durable: true },
  });
  return [result, nameCell(db, turn)];
}
