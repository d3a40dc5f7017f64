import { cellAttribute } from '../base/cells.ts';
import { ApiError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { describeError, log } from '../base/log.ts';
import type { TenantIntent } from '../context.ts';
import { type Database, type Job, openDatabase } from '../db/client.ts';
import {
  type DeliveryReport,
  type LeasedEvent,
  type Sink,
  type SinkTurn,
  sinks,
  type TurnResult,
  takeTurn,
  takeTurnAfter,
} from '../db/platform/outbox.ts';
import { recordMadeIntents } from '../domain/intents.ts';
import { type Bindings, settingsOf } from '../env.ts';
import { deliverToKafka } from './kafka/publish/deliver.ts';
import { selectPublisher } from './kafka/publish/select.ts';
import { deliverToQueues } from './queues.ts';

/** A Worker may run for 30 s after its response. The cron delivers the rest. */
const maxRunMs = 20_000;
/** How long a turn waits for deliveries that began together, so that one call reports them all. */
const graceMs = 200;
/** How often a run that waits for a slow delivery looks for new events of the other sinks. */
const pollMs = 20;

/** How long to wait before looking again for events that another run holds up. It doubles with each look. */
const firstWaitMs = 50;

/** How long an isolate's requests skip an unavailable sink. The cron never skips it. */
const maxPauseMs = 2_000;
/** By cell and sink, because a sink is paused in a cell's database. */
const pausedUntil = new Map<string, number>();
export const isPaused = (cell: string, sink: Sink): boolean => Date.now() < (pausedUntil.get(`${cell} ${sink}`) ?? 0);

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What a run did for one sink, for the log. */
type Tally = { delivered: number; failed: number; setAside: number; outcome: string; details: Record<string, string> };

/**
 * Delivers the events of one cell's outbox until it is empty, the time is up or the sinks are unavailable. One database call, a
 * turn, records what was delivered and leases the next events of all sinks, which are then delivered in parallel. A
 * sink that takes longer than the others does not delay them: it is reported in a later turn.
 *
 * Any number of runs may run at once: rows are leased, and a row waits while an earlier row of its key is undelivered.
 * If a run dies after delivering, the events are delivered again later with the same ce_id.
 */
export class RelayRun {
  /** The sinks that may have undelivered events. Requests add to it while the run waits for a delivery. */
  readonly wanted: Set<Sink>;
  /** PaymentIntents that requests to the cell have made. The next turn records those of one tenant. */
  readonly madeIntents: TenantIntent[] = [];
  /** How long to wait before the run. */
  readonly waitMs: number;
  readonly #env: Bindings;
  readonly #cell: string;
  readonly #cause: string;
  readonly #db: Database;
  readonly #name = newId(new Date());
  readonly #started = Date.now();
  readonly #until: number;
  readonly #reports = new Map<Sink, DeliveryReport>();
  readonly #delivering = new Map<Sink, Promise<void>>();
  /** The deliveries that the last turn began. */
  #fresh: Promise<void>[] = [];
  /** The sinks with events that wait for events of their key, which another run delivers. */
  readonly #held = new Set<Sink>();
  /** The sinks of a retried call: it may have leased rows in a response that was lost. The next turn frees them. */
  readonly #lost = new Set<Sink>();
  readonly #tallies = new Map<Sink, Tally>();
  #hasEnded = false;
  #hasFailed = false;

  constructor(
    env: Bindings,
    cell: string,
    cause: string,
    wanted: Iterable<Sink>,
    { until = Date.now() + maxRunMs, waitMs = 0 } = {},
  ) {
    this.#env = env;
    this.#cell = cell;
    this.#cause = cause;
    this.wanted = new Set(wanted);
    this.#until = until;
    this.waitMs = waitMs;
    this.#db = openDatabase(settingsOf(env).cells, cell);
  }

  /** Whether the run will still lease events for a sink that is added to `wanted`. */
  get isOpen(): boolean {
    return !this.#hasEnded && Date.now() < this.#until;
  }

  /**
   * If there is time: after a run that failed, a run for what requests have left to it in the meantime. After a run that
   * left events to another one, a run that looks whether they are free now.
   */
  get successor(): RelayRun | undefined {
    const waitMs = this.#hasFailed ? 0 : this.waitMs * 2 || firstWaitMs;
    const wanted = this.#hasFailed ? this.wanted : this.#held;
    const made = this.#hasFailed ? this.madeIntents : [];
    if (wanted.size + made.length === 0 || Date.now() + waitMs >= this.#until) return undefined;
    const next = new RelayRun(this.#env, this.#cell, this.#cause, wanted, { until: this.#until, waitMs });
    next.madeIntents.push(...made);
    return next;
  }

  /**
   * Runs a job in the run's cell, and the run's first turn in the same database call. `run` then delivers the events.
   * @throws what `db` throws
   */
  async begin<T>(db: Database, job: Job): Promise<T> {
    const turns = this.#beginTurn();
    const callsBefore = db.usage.calls;
    const [result, leased] = await takeTurnAfter<T>(db, job, turns);
    this.#endTurn(turns, leased, db.usage.calls - callsBefore > 1);
    return result;
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
      // Deliveries that still run are not awaited: their results cannot be recorded, so they are repeated in any case.
      this.#hasEnded = true;
      this.#hasFailed = true;
      for (const sink of sinks) this.#fail(sink, error);
    }
    return this.#logAll();
  }

  #mayLease(sink: Sink): boolean {
    return this.wanted.has(sink) && !this.#delivering.has(sink) && Date.now() < this.#until;
  }

  #needsTurn(): boolean {
    return this.#reports.size > 0 || this.madeIntents.length > 0 || sinks.some((sink) => this.#mayLease(sink));
  }

  #nextJob(): Job | undefined {
    const [first] = this.madeIntents;
    if (!first) return undefined;
    const { tenant } = first;
    const intents = this.madeIntents.filter((made) => made.tenant === tenant).map(({ intent }) => intent);
    const others = this.madeIntents.filter((made) => made.tenant !== tenant);
    this.madeIntents.splice(0, Infinity, ...others);
    return recordMadeIntents(tenant, intents);
  }

  async #takeTurn(): Promise<void> {
    const turns = this.#beginTurn();
    const job = this.#nextJob();
    if (turns.length === 0 && !job) return;
    const callsBefore = this.#db.usage.calls;
    const result = await this.#call(turns, job);
    this.#endTurn(turns, result, this.#db.usage.calls - callsBefore > 1);
  }

  #beginTurn(): SinkTurn[] {
    this.#fresh = [];
    const turns = sinks
      .filter((sink) => this.#reports.has(sink) || this.#mayLease(sink))
      .map((sink) => ({
        ...{ sink, name: this.#name, last: this.#reports.get(sink) },
        ...{ leaseNext: Date.now() < this.#until, lost: this.#lost.delete(sink) },
      }));
    this.#reports.clear();
    // Before the call: events that are stored during it may need another turn.
    for (const { sink } of turns) this.wanted.delete(sink);
    return turns;
  }

  #endTurn(turns: SinkTurn[], result: TurnResult, isRetried: boolean): void {
    for (const { sink, leaseNext } of turns) {
      if (isRetried && leaseNext) {
        this.#lost.add(sink);
        this.wanted.add(sink);
      }
      this.#deliver(sink, result);
    }
  }

  async #call(turns: SinkTurn[], job: Job | undefined): Promise<TurnResult> {
    if (job && turns.length > 0) {
      try {
        const [, result] = await takeTurnAfter(this.#db, job, turns);
        return result;
      } catch (error) {
        if (error instanceof ApiError) throw error;
      }
    }
    // Alone: intents that cannot be recorded must not stop the events. The cron finds their payments.
    if (job) {
      await this.#db.run(job.name, job.call, job.input).catch((error: unknown) => {
        if (error instanceof ApiError) throw error;
        log({ ...this.#line(), outcome: 'failed', job: job.name, ...describeError(error) });
      });
    }
    return turns.length > 0 ? takeTurn(this.#db, turns) : {};
  }

  #deliver(sink: Sink, result: TurnResult): void {
    const { events, pausedMs, aside, areHeld } = result[sink] ?? { events: [], pausedMs: 0, aside: 0 };
    if (areHeld) this.#held.add(sink);
    else this.#held.delete(sink);
    pausedUntil.set(`${this.#cell} ${sink}`, Date.now() + Math.min(pausedMs, maxPauseMs));
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

  /** `dbCalls` counts the calls of the whole run. */
  #line() {
    const durationMs = Date.now() - this.#started;
    const line = { kind: 'relay' as const, id: this.#cause, tenant: null, cell: cellAttribute(this.#cell) };
    return { ...line, durationMs, dbCalls: this.#db.usage.calls };
  }

  /** One line for each sink with events or a failure. */
  #logAll(): number {
    const line = this.#line();
    let total = 0;
    for (const [sink, { delivered, failed, setAside, outcome, details }] of this.#tallies) {
      total += delivered;
      log({ ...line, outcome, sink, delivered, failed, ...(setAside > 0 && { setAside }), ...details });
    }
    return total;
  }
}
