import { newId } from '../base/ids.ts';
import { describeError, log } from '../base/log.ts';
import { openDatabase } from '../db/client.ts';
import { type DeliveryReport, type Sink, sinks, takeTurn } from '../db/platform/outbox.ts';
import { type Bindings, settingsOf } from '../env.ts';
import { deliverToKafka } from './kafka/publish/deliver.ts';
import { selectPublisher } from './kafka/publish/select.ts';
import { deliverToQueues } from './queues.ts';

/** A Worker may run for 30 s after its response. The cron delivers the rest. */
const maxRunMs = 20_000;

/**
 * Delivers the outbox's events for one sink until it is empty, the time is up or the sink is unavailable. Any number of
 * relays may run at once: rows are leased, and a row waits while an earlier row of its key is undelivered. One database
 * call a batch records the last batch and leases the next. If a relay dies after delivering, the events are delivered
 * again later with the same ce_id. Failures are logged, never thrown.
 * @returns the number of deliveries
 */
export async function relay(env: Bindings, sink: Sink, cause: string): Promise<number> {
  const started = Date.now();
  const until = started + maxRunMs;
  const settings = settingsOf(env);
  const db = openDatabase(settings);
  const name = newId(new Date());
  const publisher = selectPublisher(settings);
  let report: DeliveryReport = { delivered: [], failed: [], returned: [] };
  let delivered = 0;
  let failed = 0;
  let setAside = 0;
  let leaseUnknown = false;
  let outcome = 'ok';
  const details: Record<string, string> = {};
  try {
    for (;;) {
      const [callsBefore, hasTimeLeft] = [db.usage.calls, Date.now() < until];
      const {
        events,
        pausedMs,
        aside: newlySetAside,
      } = await takeTurn(db, sink, name, report, hasTimeLeft, leaseUnknown);
      setAside += newlySetAside;
      pausedUntil.set(sink, Date.now() + Math.min(pausedMs, maxPauseMs));
      // A retried call may have leased rows in a response that was lost. The next call releases them.
      leaseUnknown = db.usage.calls - callsBefore > 1;
      if (events.length === 0 && !(leaseUnknown && hasTimeLeft)) break;
      report = sink === 'kafka' ? await deliverToKafka(publisher, events, until) : await deliverToQueues(env, events);
      delivered += report.delivered.length;
      failed += report.failed.length;
      if (report.paused !== undefined) {
        outcome = 'paused';
        details.reason = report.paused;
      }
    }
  } catch (error) {
    outcome = 'failed';
    Object.assign(details, describeError(error));
  }
  if (delivered + failed + setAside > 0 || outcome !== 'ok') {
    const durationMs = Date.now() - started;
    const line = { kind: 'relay' as const, id: cause, tenant: null, outcome, durationMs, dbCalls: db.usage.calls };
    log({ ...line, sink, delivered, failed, ...(setAside > 0 && { setAside }), ...details });
  }
  return delivered;
}

/** Delivers to every sink in parallel. */
export async function relayAll(env: Bindings, cause: string): Promise<number> {
  const delivered = await Promise.all(sinks.map((sink) => relay(env, sink, cause)));
  return delivered.reduce((sum, count) => sum + count, 0);
}

/** How long an isolate's requests skip an unavailable sink. The cron never skips it. */
const maxPauseMs = 2_000;
const pausedUntil = new Map<Sink, number>();
const isPaused = (sink: Sink): boolean => Date.now() < (pausedUntil.get(sink) ?? 0);

const running = new Map<Sink, { until: number; runAgain: boolean }>();

async function relayOneSoon(env: Bindings, sink: Sink, cause: string): Promise<void> {
  if (isPaused(sink)) return;
  const current = running.get(sink);
  if (current && Date.now() < current.until) {
    current.runAgain = true;
    return;
  }
  const thisRun = { until: Date.now() + maxRunMs + 5_000, runAgain: true };
  running.set(sink, thisRun);
  try {
    while (thisRun.runAgain && Date.now() < thisRun.until - 5_000 && !isPaused(sink)) {
      thisRun.runAgain = false;
      await relay(env, sink, cause);
    }
  } finally {
    if (running.get(sink) === thisRun) running.delete(sink);
  }
}

/**
 * Relays after a response, with one relay for each isolate and sink. A request that finds one running leaves its events
 * to it; that relay checks once more before it ends.
 */
export async function relaySoon(env: Bindings, cause: string): Promise<void> {
  await Promise.all(sinks.map((sink) => relayOneSoon(env, sink, cause)));
}
