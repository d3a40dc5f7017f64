import { newId } from '../base/ids.ts';
import { describeError, log } from '../base/log.ts';
import { type Database, openDatabase } from '../db/client.ts';
import {
  type DeliveryReport,
  type LeasedEvent,
  type Sink,
  sinks,
  type TurnResult,
  takeTurn,
} from '../db/platform/outbox.ts';
import { type Bindings, settingsOf } from '../env.ts';
import { deliverToKafka } from './kafka/publish/deliver.ts';
import { selectPublisher } from './kafka/publish/select.ts';
import { deliverToQueues } from './queues.ts';

/** A Worker may run for 30 s after its response. The cron delivers the rest. */
const maxRunMs = 20_000;
/** How long a turn waits for deliveries that began together, so that one call reports them all. */
const graceMs = 100;
/** How often a run that waits for a slow delivery looks for new events of the other sinks. */
const pollMs = 20;

/** How long an isolate's requests skip an unavailable sink. The cron never skips it. */
const maxPauseMs = 2_000;
const pausedUntil = new Map<Sink, number>();
const isPaused = (sink: Sink): boolean => Date.now() < (pausedUntil.get(sink) ?? 0);

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What a run did for one sink, for the log. */
type Tally = { delivered: number; failed: number; setAside: number; outcome: string; details: Record<string, string> };

/**
 * Delivers the outbox's events until it is empty, the time is up or the sinks are unavailable. One database call, a
 * turn, records what was delivered and leases the next events of all sinks, which are then delivered in parallel. A
 * sink that takes longer than the others does not delay them: it is reported in a later turn.
 *
 * Any number of runs may run at once: rows are leased, and a row waits while an earlier row of its key is undelivered.
 * If a run dies after delivering, the events are delivered again later with the same ce_id.
 */
class Run {
  /** The sinks that may have undelivered events. Requests add to it while the run waits for a delivery. */
  readonly wanted: Set<Sink>;
  readonly #env: Bindings;
  readonly #cause: string;
  readonly #db: Database;
  readonly #name = newId(new Date());
  readonly #started = Date.now();
  readonly #until = this.#started + maxRunMs;
  readonly #reports = new Map<Sink, DeliveryReport>();
  readonly #delivering = new Map<Sink, Promise<void>>();
  /** The deliveries that the last turn began. */
  #fresh: Promise<void>[] = [];
  /** The sinks of a retried call: it may have leased rows in a response that was lost. The next turn frees them. */
  readonly #lost = new Set<Sink>();
  readonly #tallies = new Map<Sink, Tally>();
  #hasEnded = false;

  constructor(env: Bindings, cause: string, wanted: readonly Sink[]) {
    this.#env = env;
    this.#cause = cause;
    this.wanted = new Set(wanted);
    this.#db = openDatabase(settingsOf(env));
  }

  /** Whether the run will still lease events for a sink that is added to `wanted`. */
  get isOpen(): boolean {
    return !this.#hasEnded && Date.now() < this.#until;
  }

  /** Failures are logged, never thrown. @returns the number of deliveries */
  async run(): Promise<number> {
    try {
      while (!this.#hasEnded) {
        if (this.#needsTurn()) {
          if (this.#fresh.length > 0) await Promise.race([Promise.all(this.#fresh), sleep(graceMs)]);
          await this.#takeTurn();
        } else if (this.#delivering.size > 0) {
          await Promise.race([...this.#delivering.values(), sleep(pollMs)]);
        } else this.#hasEnded = true;
      }
    } catch (error) {
      this.#hasEnded = true;
      for (const sink of sinks) this.#fail(sink, error);
      await Promise.all(this.#delivering.values());
    }
    return this.#logAll();
  }

  #mayLease(sink: Sink): boolean {
    return this.wanted.has(sink) && !this.#delivering.has(sink) && Date.now() < this.#until;
  }

  #needsTurn(): boolean {
    return this.#reports.size > 0 || sinks.some((sink) => this.#mayLease(sink));
  }

  async #takeTurn(): Promise<void> {
    this.#fresh = [];
    const turns = sinks
      .filter((sink) => this.#reports.has(sink) || this.#mayLease(sink))
      .map((sink) => ({
        ...{ sink, name: this.#name, last: this.#reports.get(sink) },
        ...{ leaseNext: Date.now() < this.#until, lost: this.#lost.delete(sink) },
      }));
    if (turns.length === 0) return;
    this.#reports.clear();
    // Before the call: events that are stored during it may need another turn.
    for (const { sink } of turns) this.wanted.delete(sink);
    const callsBefore = this.#db.usage.calls;
    const result = await takeTurn(this.#db, turns);
    const isRetried = this.#db.usage.calls - callsBefore > 1;
    for (const { sink, leaseNext } of turns) {
      if (isRetried && leaseNext) {
        this.#lost.add(sink);
        this.wanted.add(sink);
      }
      this.#deliver(sink, result);
    }
  }

  #deliver(sink: Sink, result: TurnResult): void {
    const { events, pausedMs, aside } = result[sink] ?? { events: [], pausedMs: 0, aside: 0 };
    pausedUntil.set(sink, Date.now() + Math.min(pausedMs, maxPauseMs));
    if (aside > 0) this.#tally(sink).setAside += aside;
    if (events.length === 0) return;
    const delivery = this.#send(sink, events).then(
      (report) => {
        this.#delivering.delete(sink);
        this.#reports.set(sink, report);
        this.wanted.add(sink);
        const tally = this.#tally(sink);
        tally.delivered += report.delivered.length;
        tally.failed += report.failed.length;
        if (report.paused !== undefined)
          Object.assign(tally, { outcome: 'paused', details: { reason: report.paused } });
      },
      (error: unknown) => {
        this.#delivering.delete(sink);
        this.#fail(sink, error);
      },
    );
    this.#delivering.set(sink, delivery);
    this.#fresh.push(delivery);
  }

  async #send(sink: Sink, events: LeasedEvent[]): Promise<DeliveryReport> {
    if (sink === 'queue') return deliverToQueues(this.#env, events);
    return deliverToKafka(selectPublisher(settingsOf(this.#env)), events, this.#until);
  }

  #tally(sink: Sink): Tally {
    const tally = this.#tallies.get(sink) ?? { delivered: 0, failed: 0, setAside: 0, outcome: 'ok', details: {} };
    this.#tallies.set(sink, tally);
    return tally;
  }

  #fail(sink: Sink, error: unknown): void {
    Object.assign(this.#tally(sink), { outcome: 'failed', details: describeError(error) });
  }

  /** One line for each sink with events or a failure. `dbCalls` counts the calls of the whole run. */
  #logAll(): number {
    const durationMs = Date.now() - this.#started;
    const line = { kind: 'relay' as const, id: this.#cause, tenant: null, durationMs, dbCalls: this.#db.usage.calls };
    let total = 0;
    for (const [sink, { delivered, failed, setAside, outcome, details }] of this.#tallies) {
      total += delivered;
      log({ ...line, outcome, sink, delivered, failed, ...(setAside > 0 && { setAside }), ...details });
    }
    return total;
  }
}

/** Delivers to every sink, also to one that was unavailable a moment ago. @returns the number of deliveries */
export const relayAll = (env: Bindings, cause: string): Promise<number> => new Run(env, cause, sinks).run();

/** The run that this isolate's requests leave their events to. */
let current: Run | undefined;

/**
 * Relays after a response, with one run for each isolate. A request that finds one leaves its events to it.
 */
export async function relaySoon(env: Bindings, cause: string): Promise<void> {
  const available = sinks.filter((sink) => !isPaused(sink));
  if (available.length === 0) return;
  if (current?.isOpen) {
    for (const sink of available) current.wanted.add(sink);
    return;
  }
  const run = new Run(env, cause, available);
  current = run;
  await run.run();
  if (current === run) current = undefined;
}
