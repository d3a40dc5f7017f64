import pg from 'pg';
import { onTestFinished } from 'vitest';
import type { Delivery, Leased, Sink } from '../src/db/outbox.ts';
import type { Database } from './harness.ts';

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

export type Turn = Partial<Delivery> & { limit?: number; bytes?: number; seconds?: number; now?: string };

/** A connection as the Worker's role, for turns of a relay in its own hands; `begin` and `commit` bracket them. */
export async function relayConnection(database: Database, name: string, sink: Sink = 'kafka') {
  const client = new pg.Client(database.workerUrl);
  await client.connect();
  onTestFinished(() => client.end());
  const turn = async ({ paused, now, ...more }: Turn = {}): Promise<Leased[]> => {
    const settled = { delivered: [], failed: [], returned: [], paused: paused !== undefined };
    const input = { sink, lease: name, limit: 500, bytes: 1_000_000, seconds: 60, ...settled, ...more };
    const { rows } = await client.query('select platform.relay($1, $2) as result', [
      JSON.stringify(now === undefined ? {} : { now }),
      JSON.stringify(input),
    ]);
    return rows[0].result.events;
  };
  return { turn, query: client.query.bind(client) };
}

export const seqsOf = (events: { seq: number }[]) => events.map(({ seq }) => seq);

/** Seconds from now, as a turn's `now`. */
export const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString();
