import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { onTestFinished } from 'vitest';
import type { Delivery, Leased, Sink } from '../../src/db/platform/outbox.ts';
import type { Event } from '../../src/domain/events.ts';
import type { Database, Store } from './harness.ts';
import { jobSecret } from './secrets.ts';

/** Emits `count` events of one key in one transaction, as a service would; answers their sequence numbers. */
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
  if (rows.length !== 1) throw new Error('nothing was emitted');
  const seqs = await database.query<{ seq: string }>(
    'select seq from platform.events where key = $1 order by seq desc limit $2',
    [key, count],
  );
  return seqs.map(({ seq }) => Number(seq)).reverse();
}

export type Turn = Partial<Delivery> & {
  lost?: boolean;
  limit?: number;
  bytes?: number;
  seconds?: number;
  now?: string;
};

/** A connection as the Worker's role, for turns of a relay in its own hands; `begin` and `commit` bracket them. */
export async function relayConnection(database: Database, name: string, sink: Sink = 'kafka') {
  const client = new pg.Client(database.workerUrl);
  await client.connect();
  onTestFinished(() => client.end());
  const turn = async ({ paused, now, ...more }: Turn = {}): Promise<Leased[]> => {
    const settled = { delivered: [], failed: [], returned: [], paused: paused !== undefined };
    const input = { sink, lease: name, limit: 500, bytes: 1_000_000, seconds: 60, ...settled, ...more };
    const { rows } = await client.query('select platform.relay($1, $2) as result', [
      JSON.stringify({ jobSecret, ...(now === undefined ? {} : { now }) }),
      JSON.stringify(input),
    ]);
    return rows[0].result.events;
  };
  return { turn, query: client.query.bind(client) };
}

export const seqsOf = (events: { seq: number }[]) => events.map(({ seq }) => seq);

/** Seconds from now, as a turn's `now`. */
export const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString();

/** Leaves events in the outbox: nothing goes to the queues. */
export const stopQueues = (database: Database) =>
  database.query(`update platform.sinks set paused_until = 'infinity' where sink = 'queue'`);

/** Lets what waits go to the queues again, and waits for as long as the Worker may still believe them to be away. */
export async function startQueues(database: Database): Promise<void> {
  const stopped = await database.query(
    `update platform.sinks set paused_until = '-infinity' where sink = 'queue' and paused_until > now() returning sink`,
  );
  if (stopped.length > 0) await sleep(3_000);
}

/** An event as a queue would bring it. */
export async function eventOf(database: Database, key: string, topic: string): Promise<Event> {
  const [row] = await database.query<{ event: Event }>(
    'select platform.envelope(e) as event from platform.events e where e.key = $1 and e.topic = $2 order by e.seq',
    [key, topic],
  );
  if (!row) throw new Error(`no ${topic} of ${key}`);
  return row.event;
}

export type Delivered = {
  outcome: string;
  acknowledged: string[];
  /** The seconds until each comes again. */
  retried: Record<string, number>;
};

/** Has the Worker consume a batch as if its queue had brought it, and tells what became of each message. */
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
