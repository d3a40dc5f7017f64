import { newId } from '../base/ids.ts';
import { describeError, log } from '../base/log.ts';
import { openDatabase } from '../db/client.ts';
import { type Delivery, type Sink, sinks, takeTurn } from '../db/platform/outbox.ts';
import { type Bindings, settingsOf } from '../env.ts';
import { deliverToKafka } from './kafka/publish/deliver.ts';
import { selectPublisher } from './kafka/publish/select.ts';
import { deliverToQueues } from './queues.ts';

/** A Worker may go on for 30 s after its answer; what is left then, the cron takes. */
const longestMs = 20_000;

/**
 * Delivers what the outbox holds for one sink until it is empty, time is up, or the sink is away. Any number of relays
 * may run at once: rows are leased, and a row waits while an earlier one of its key is undelivered. One database call a
 * batch: it settles the last batch and leases the next. A relay that dies after delivering delivers again later, with
 * the same ce_id. Failures are logged, never thrown.
 * @returns how many deliveries were made
 */
export async function relay(env: Bindings, sink: Sink, cause: string): Promise<number> {
  const started = Date.now();
  const until = started + longestMs;
  const settings = settingsOf(env);
  const db = openDatabase(settings);
  const name = newId(new Date());
  const publisher = selectPublisher(settings);
  let last: Delivery = { delivered: [], failed: [], returned: [] };
  let delivered = 0;
  let failed = 0;
  let setAside = 0;
  let lost = false;
  let outcome = 'ok';
  const more: Record<string, string> = {};
  try {
    for (;;) {
      const [before, inTime] = [db.usage.calls, Date.now() < until];
      const { events, pausedMs, aside } = await takeTurn(db, sink, name, last, inTime, lost);
      setAside += aside;
      restUntil.set(sink, Date.now() + Math.min(pausedMs, longestRestMs));
      // A call that was repeated may have leased rows by an answer that nobody heard: another turn frees them.
      lost = db.usage.calls - before > 1;
      if (events.length === 0 && !(lost && inTime)) break;
      last = sink === 'kafka' ? await deliverToKafka(publisher, events, until) : await deliverToQueues(env, events);
      delivered += last.delivered.length;
      failed += last.failed.length;
      if (last.paused !== undefined) {
        outcome = 'paused';
        more.reason = last.paused;
      }
    }
  } catch (error) {
    outcome = 'failed';
    Object.assign(more, describeError(error));
  }
  if (delivered + failed + setAside > 0 || outcome !== 'ok') {
    const durationMs = Date.now() - started;
    const line = { kind: 'relay' as const, id: cause, tenant: null, outcome, durationMs, dbCalls: db.usage.calls };
    log({ ...line, sink, delivered, failed, ...(setAside > 0 && { setAside }), ...more });
  }
  return delivered;
}

/** Delivers to every sink, none of which waits for another. */
export async function relayAll(env: Bindings, cause: string): Promise<number> {
  const delivered = await Promise.all(sinks.map((sink) => relay(env, sink, cause)));
  return delivered.reduce((sum, count) => sum + count, 0);
}

/** How long the writes of an isolate do not ask again about a sink that is away; the cron always does. */
const longestRestMs = 2_000;
const restUntil = new Map<Sink, number>();
const rests = (sink: Sink): boolean => Date.now() < (restUntil.get(sink) ?? 0);

const running = new Map<Sink, { until: number; again: boolean }>();

async function relayOneSoon(env: Bindings, sink: Sink, cause: string): Promise<void> {
  if (rests(sink)) return;
  const other = running.get(sink);
  if (other && Date.now() < other.until) {
    other.again = true;
    return;
  }
  const mine = { until: Date.now() + longestMs + 5_000, again: true };
  running.set(sink, mine);
  try {
    while (mine.again && Date.now() < mine.until - 5_000 && !rests(sink)) {
      mine.again = false;
      await relay(env, sink, cause);
    }
  } finally {
    if (running.get(sink) === mine) running.delete(sink);
  }
}

/**
 * Relays after an answer, one relay an isolate and sink: a request that finds one running leaves its events to that one,
 * which looks once more before it ends.
 */
export async function relaySoon(env: Bindings, cause: string): Promise<void> {
  await Promise.all(sinks.map((sink) => relayOneSoon(env, sink, cause)));
}
