import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { onTestFinished } from 'vitest';
import type { DeliveryReport, LeasedEvent, Sink } from '../../src/db/platform/outbox.ts';
import type { Event } from '../../src/domain/events.ts';
import type { Database, Store } from './harness.ts';
import { jobSecret } from './secrets.ts';

/** Emits `count` events of one key in one transaction. Returns their sequence numbers. */
export async function emit(
  database: Database,
  key: string,
  { count = 1, topic = 'order.confirmed', queue = false, payload = { orderId: key } as object } = {},
): Promise<number[]> {
  const rows = await database.query<{ seq: string }>(
    `with entered as materialized (select platform.act_as('default')),
       emitted as materialized (
         select platform.emit($1, $2, $3, $4) from entered, generate_series(1, $5::int)
       )
     select count(*) from emitted`,
    [topic, key, JSON.stringify(payload), queue, count],
  );
  if (rows.length !== 1) throw new Error('no event was emitted');
  const seqs = await database.query<{ seq: string }>(
    'select seq from platform.events where key = $1 order by seq desc limit $2',
    [key, count],
  );
  return seqs.map(({ seq }) => Number(seq)).reverse();
}

export type Turn = Partial<DeliveryReport> & {
  lost?: boolean;
  limit?: number;
  bytes?: number;
  seconds?: number;
  now?: string;
};

/**
 * Connects with the Worker's role and runs single turns of a relay: `turn` returns the events, `result` everything.
 * `query` can wrap turns in a transaction.
 */
export async function relayConnection(database: Database, name: string, sink: Sink = 'kafka') {
  const client = new pg.Client(database.workerUrl);
  await client.connect();
  onTestFinished(() => client.end());
  type Result = { events: LeasedEvent[]; areHeld: boolean };
  const result = async ({ paused, now, ...overrides }: Turn = {}): Promise<Result> => {
    const settled = { delivered: [], failed: [], returned: [], paused: paused !== undefined };
    const input = { sink, lease: name, limit: 500, bytes: 1_000_000, seconds: 60, ...settled, ...overrides };
    const { rows } = await client.query('select platform.relay($1, $2) as result', [
      JSON.stringify({ jobSecret, ...(now === undefined ? {} : { now }) }),
      JSON.stringify(input),
    ]);
    return rows[0].result;
  };
  const turn = async (options?: Turn): Promise<LeasedEvent[]> => (await result(options)).events;
  return { turn, result, query: client.query.bind(client) };
}

export const seqsOf = (events: { seq: number }[]) => events.map(({ seq }) => seq);

/** The time in `seconds` from now, for the `now` of a turn. */
export const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString();

/** Pauses the queue sink, so that its events stay in the outbox. */
export const stopQueues = (database: Database) =>
  database.query(`update platform.sinks set paused_until = 'infinity' where sink = 'queue'`);

/** Resumes the queue sink, and waits until the Worker no longer treats the queues as unavailable. */
export async function startQueues(database: Database): Promise<void> {
  const stopped = await database.query(
    `update platform.sinks set paused_until = '-infinity' where sink = 'queue' and paused_until > now() returning sink`,
  );
  if (stopped.length > 0) await sleep(3_000);
}

/** Reads an event in the format in which a queue delivers it. */
export async function eventOf(database: Database, key: string, topic: string): Promise<Event> {
  const [row] = await database.query<{ event: Event }>(
    'select platform.envelope(e) as event from platform.events e where e.key = $1 and e.topic = $2 order by e.seq',
    [key, topic],
  );
  if (!row) throw new Error(`there is no event ${topic} with key ${key}`);
  return row.event;
}

export type Delivered = {
  outcome: string;
  acknowledged: string[];
  /** The delay in seconds until each retry, by message id. */
  retried: Record<string, number>;
};

/** Delivers a batch to the Worker's queue consumer. Returns the result of each message. */
export async function deliver(
  store: Store,
  queue: string,
  messages: { id: string; body: unknown; attempts?: number }[],
): Promise<Delivered> {
  const worker = (await store.miniflare.getWorker()) as unknown as {
    queue: (
      name: string,
      batch: object[],
    ) => Promise<{
      outcome: string;
      explicitAcks: string[];
      retryMessages: { msgId: string; delaySeconds?: number }[];
    }>;
  };
  const batch = messages.map((message) => ({ timestamp: new Date(), attempts: 1, ...message }));
  const result = await worker.queue(queue, batch);
  return {
    outcome: result.outcome,
    acknowledged: [...result.explicitAcks].sort(),
    retried: Object.fromEntries(result.retryMessages.map(({ msgId, delaySeconds }) => [msgId, delaySeconds ?? 0])),
  };
}
