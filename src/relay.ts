import { openDatabase } from './db/client.ts';
import { type Bindings, settingsOf } from './env.ts';
import type { Event } from './events.ts';
import { newId } from './ids.ts';
import { KafkaAway, type KafkaRecord, type Published, type Publisher } from './kafka/publisher.ts';
import { upstashPublisher } from './kafka/upstash.ts';
import { describe, log } from './log.ts';
import { sendToQueues } from './queues.ts';

/** How many undelivered rows of each sink one turn leases, and for how long: a dead relay's rows are free again then. */
const leaseRows = 500;
const leaseSeconds = 60;
/** A Worker may go on for 30 s after its answer; what is left then, the cron takes. */
const longestMs = 20_000;

type Sink = 'kafka' | 'queue';
type Leased = {
  seq: number;
  id: string;
  topic: string;
  key: string;
  tenant: string;
  payload: unknown;
  traceparent: string | null;
  time: string;
  sinks: Sink[];
};

/** What the next turn tells the database of this one. */
type Settled = {
  delivered: { sink: Sink; seqs: number[] }[];
  failed: { sink: Sink; seq: number; error: string; dead: boolean }[];
  paused: { sink: Sink }[];
  leased: { sink: Sink; seq: number }[];
};

const nothing = (): Settled => ({ delivered: [], failed: [], paused: [], leased: [] });

const toRecord = (event: Leased): KafkaRecord => ({
  topic: event.topic,
  key: event.key,
  value: JSON.stringify(event.payload),
  headers: {
    ce_specversion: '1.0',
    ce_id: event.id,
    ce_type: event.topic,
    ce_source: '/fusioncommerce',
    ce_time: event.time,
    ce_tenantid: event.tenant,
    ...(event.traceparent === null ? {} : { ce_traceparent: event.traceparent }),
    'content-type': 'application/json',
  },
});

const toEvent = (event: Leased): Event => ({
  specversion: '1.0',
  id: event.id,
  type: event.topic,
  source: '/fusioncommerce',
  time: event.time,
  tenantid: event.tenant,
  subject: event.key,
  sequence: String(event.seq),
  ...(event.traceparent === null ? {} : { traceparent: event.traceparent }),
  data: event.payload,
});

/**
 * Splits events, in order, so that no part has two of one key: a broker may refuse one record of a request and take the
 * others, and then the later one of a key must not have been among them.
 */
export function inWaves<T extends { key: string }>(events: T[]): T[][] {
  const waves: T[][] = [];
  const depth = new Map<string, number>();
  for (const event of events) {
    const wave = depth.get(event.key) ?? 0;
    depth.set(event.key, wave + 1);
    waves[wave] = [...(waves[wave] ?? []), event];
  }
  return waves;
}

async function toKafka(publisher: Publisher, events: Leased[], settled: Settled): Promise<void> {
  const stopped = new Set<string>();
  const seqs: number[] = [];
  settled.delivered.push({ sink: 'kafka', seqs });
  for (const wave of inWaves(events)) {
    const free = wave.filter((event) => !stopped.has(event.key));
    if (free.length === 0) continue;
    let answers: Published[];
    try {
      answers = await publisher.publish(free.map(toRecord));
    } catch (error) {
      if (!(error instanceof KafkaAway)) throw error;
      settled.paused.push({ sink: 'kafka' });
      return;
    }
    for (const [index, event] of free.entries()) {
      const answer = answers[index];
      if (answer?.ok) seqs.push(event.seq);
      else {
        const { permanent = false, reason = 'no answer for this record' } = answer ?? {};
        // Dead for good, it goes to the dead letters and its key goes on without it; else the key waits with it.
        if (!permanent) stopped.add(event.key);
        settled.failed.push({ sink: 'kafka', seq: event.seq, error: reason, dead: permanent });
      }
    }
  }
}

async function toQueues(env: Bindings, events: Leased[], settled: Settled): Promise<void> {
  const failures = await sendToQueues(env, events.map(toEvent));
  const seqs = events.filter((event) => !failures.has(event.id)).map((event) => event.seq);
  settled.delivered.push({ sink: 'queue', seqs });
  for (const event of events) {
    const error = failures.get(event.id);
    if (error !== undefined) settled.failed.push({ sink: 'queue', seq: event.seq, error, dead: false });
  }
}

/**
 * Delivers what the outbox holds, to Kafka and to our own queues, until it is empty or time is up. Any number of relays
 * may run at once: rows are leased, and a row waits while an earlier one of its key is undelivered. One database call a
 * batch: it settles the last batch and leases the next. A relay that dies after publishing publishes again later, with
 * the same ce_id.
 * @returns how many deliveries were made
 */
export async function relay(env: Bindings, cause: string, publisher?: Publisher): Promise<number> {
  const started = Date.now();
  const settings = settingsOf(env);
  const db = openDatabase(settings);
  const lease = newId(new Date());
  const kafka =
    publisher ??
    upstashPublisher({
      url: settings.KAFKA_REST_URL,
      username: settings.KAFKA_REST_USERNAME,
      password: settings.KAFKA_REST_PASSWORD,
    });
  let delivered = 0;
  let failed = 0;
  let settled = nothing();
  let outcome = 'ok';
  const more: Record<string, string> = {};
  try {
    for (;;) {
      const limit = Date.now() - started < longestMs ? leaseRows : 0;
      const turn = { lease, seconds: leaseSeconds, limit, ...settled };
      const { events } = await db.run<{ events: Leased[] }>('platform.relay', {}, turn);
      if (events.length === 0) break;
      settled = nothing();
      settled.leased = events.flatMap(({ sinks, seq }) => sinks.map((sink) => ({ sink, seq })));
      const of = (sink: Sink) => events.filter((event) => event.sinks.includes(sink));
      await Promise.all([toKafka(kafka, of('kafka'), settled), toQueues(env, of('queue'), settled)]);
      delivered += settled.delivered.reduce((sum, { seqs }) => sum + seqs.length, 0);
      failed += settled.failed.length;
    }
  } catch (error) {
    outcome = 'failed';
    Object.assign(more, describe(error));
  }
  if (delivered + failed > 0 || outcome !== 'ok') {
    const durationMs = Date.now() - started;
    log({
      kind: 'relay',
      id: cause,
      tenant: null,
      outcome,
      durationMs,
      dbCalls: db.spent.calls,
      delivered,
      failed,
      ...more,
    });
  }
  return delivered;
}

let running: { until: number; again: boolean } | undefined;

/**
 * Relays after an answer, one relay an isolate: a request that finds one running leaves its events to that one, which
 * looks once more before it ends.
 */
export async function relaySoon(env: Bindings, cause: string): Promise<void> {
  if (running && Date.now() < running.until) {
    running.again = true;
    return;
  }
  const mine = { until: Date.now() + longestMs + 5_000, again: true };
  running = mine;
  while (mine.again && Date.now() < mine.until - 5_000) {
    mine.again = false;
    await relay(env, cause);
  }
  if (running === mine) running = undefined;
}
