import { neon, neonConfig } from '@neondatabase/serverless';
import { sql } from 'drizzle-orm';
import { drizzle, type NeonHttpDatabase } from 'drizzle-orm/neon-http';
import type { RunnableQuery } from 'drizzle-orm/runnable-query';
import { ApiError, isCode } from '../base/errors.ts';

/** Who calls, and what the database is told of it: `call` of every SQL function. Never the key itself, only its hash. */
export type Call = {
  keyHash?: string;
  /** Of the page that asks with a publishable key; it must be one of the key's, if it is bound to pages. */
  origin?: string;
  /** In place of a key where a campaign is watched, with the campaign that the path names. */
  liveToken?: string;
  campaign?: string;
  idempotencyKey?: string;
  requestHash?: string;
  traceparent?: string;
  /** ISO time in place of the database's clock. Only a test's and the local platform's database honour it. */
  now?: string;
  /** How many milliseconds more than usual it may wait for a lock. */
  patienceMs?: number;
};

/** What a write answers. `replayed`: it is the first answer to this idempotency key, given again. */
export type Written<T> = { tenant: string; answer: T; replayed: boolean };

export type Database = {
  /** HTTP calls to the database so far, and the milliseconds spent in them. */
  readonly usage: { calls: number; ms: number };
  /** The tenant of the last call that the database answered, for the log. */
  readonly tenant: string | null;
  /** Says who calls and whether the key has this scope, and nothing else: for a request that is refused already. */
  authenticate(call: Call, scope: string): Promise<void>;
  /**
   * Runs one SQL function of a service as one call and one transaction: `service.verb(call, input)`. `lines`: as many rows
   * it locks, so it may have to wait for longer.
   */
  run<T>(name: `${string}.${string}`, call: Call, input: unknown, lines?: number): Promise<T>;
  /** Authenticates and reads, as one call and one transaction, as the role that can only read. */
  read<T>(
    call: Call,
    scope: string,
    build: (db: Reader) => RunnableQuery<T, 'pg'>,
  ): Promise<{ tenant: string; rows: T }>;
  /** What the database says of itself, without a key: see `platform.health`. */
  health(): Promise<Health>;
};

/** `sealed`: whether the database refuses jobs that show no secret. */
export type Health = {
  outboxAgeSeconds: number;
  outboxCount: number;
  deadLetters: number;
  sinks: Waiting[];
  sealed: boolean;
};

/** What events wait for: the age of the oldest, and how often in a row the sink has failed. */
export type Waiting = { sink: string; ageSeconds: number; failures: number; pausedUntil: string | null };

export type Reader = NeonHttpDatabase;

const attempts = 5;
/**
 * How much longer than usual a call may take that locks this many rows. On a busy machine an order of 1,200 lines holds its
 * rows for half a second, and one that needs the same rows may have 50 such orders before it: 25 ms for each line after the
 * 100th. A quarter of it goes to each wait for a lock, so that a row that stays locked does not keep the connections.
 */
const patienceOf = (lines: number): number => Math.max(lines - 100, 0) * 25;
/** `statement_timeout` of the role. */
const statementMs = 9_000;
// No lock in time (55P03), no time left after waits (57014): nothing is wrong with the call, it queues until its deadline.
const queued = new Set(['55P03', '57014']);
// Deadlock, serialization failure, lock not available, cancelled, no connection to be had: it is known to have changed
// nothing.
const undone = new Set(['40001', '40P01', '55P03', '57014', '53300', '57P03']);
const away = /^(08|53|57P|58|XX)/;
// Wrong password or job secret: nothing is done until an operator changes it, so it is no fault of the message.
const shut = /^28/;

type DatabaseError = Error & { code?: string; detail?: string };

/** Reads an answer to its end, so that one that is cut off is a failed call like any other, and not half a JSON. */
async function fetchWhole(url: string, init: RequestInit): Promise<Response> {
  const answer = await fetch(url, init);
  return new Response(await answer.arrayBuffer(), answer);
}

/** Whether the database may or may not have done it: no SQLSTATE, or one that says that the connection is gone. */
function isUnknown({ code, name }: DatabaseError): boolean {
  return code === undefined ? name === 'NeonDbError' || name === 'SyntaxError' : away.test(code);
}

/** The driver's own error, however Drizzle has wrapped it. */
function unwrap(error: unknown): DatabaseError | undefined {
  const inner = error instanceof Error && error.name !== 'NeonDbError' && error.cause ? error.cause : error;
  return inner instanceof Error ? inner : undefined;
}

function refusal(error: DatabaseError): ApiError | undefined {
  if (error.code !== 'FC000' || !isCode(error.message)) return undefined;
  const detail: { reason?: string; tenant?: string } = error.detail ? JSON.parse(error.detail) : {};
  return new ApiError(error.message, detail.reason, { tenant: detail.tenant });
}

const entering = (call: Call, scope: string) =>
  sql`select platform.authenticate(${JSON.stringify(call)}::jsonb, ${scope}) ->> 'tenant' as tenant, set_config('role', 'fusion_reader', true)`;

/** Where the database is: the driver's connection string, an endpoint that is not Neon's own, and a call's deadline. */
export type DatabaseSettings = {
  DATABASE_URL: string;
  /** Proves to the database that a call without a key is the Worker's own: a job, a consumer or a webhook. */
  DATABASE_JOB_SECRET: string;
  NEON_HTTP_URL?: string | undefined;
  DATABASE_DEADLINE_MS?: number;
};

/**
 * A connection-less client: each call is one HTTP request to Neon's SQL endpoint, and all its attempts end within
 * DATABASE_DEADLINE_MS (10 s), or later for one that locks many rows (`patienceOf`).
 * Lock waits that ended are repeated until then. Deadlocks and serialization failures are repeated here and never reach a client. A call whose fate is unknown is
 * repeated only if it reads or carries an idempotency key, since then it cannot act twice.
 * @throws ApiError with the code that a SQL function raised, or `unavailable`, its cause the database's error
 */
export function openDatabase(settings: DatabaseSettings): Database {
  // Both are the driver's globals; they are the same for every request of an isolate.
  neonConfig.fetchFunction = fetchWhole;
  if (settings.NEON_HTTP_URL) neonConfig.fetchEndpoint = settings.NEON_HTTP_URL;
  const deadlineMs = settings.DATABASE_DEADLINE_MS ?? 10_000;
  const usage = { calls: 0, ms: 0 };
  let tenant: string | null = null;

  async function attempt<T>(
    repeatable: boolean,
    send: (db: Reader) => PromiseLike<T>,
    patienceMs = 0,
  ): Promise<[T, number]> {
    const end = Date.now() + deadlineMs + patienceMs;
    let failed = 0;
    for (let tried = 1; ; tried++) {
      const started = Date.now();
      usage.calls++;
      try {
        const signal = AbortSignal.timeout(Math.max(end - started, 1));
        return [await send(drizzle(neon(settings.DATABASE_URL, { fetchOptions: { signal } }))), tried];
      } catch (thrown) {
        const error = unwrap(thrown);
        if (!error) throw thrown;
        const refused = refusal(error);
        // Our own first attempt may still be running when the second asks for the same idempotency key.
        const overtaken = tried > 1 && refused?.code === 'idempotency_in_progress';
        if (refused && !overtaken) throw refused;
        const harmless = overtaken || undone.has(error.code ?? '');
        const unknown = isUnknown(error);
        const again = harmless || (unknown && repeatable && tried < 3);
        if (!queued.has(error.code ?? '')) failed++;
        if (!again || failed === attempts || Date.now() >= end) {
          // Never what Drizzle has made of it: that holds the statement and its parameters.
          const unavailable = harmless || unknown || shut.test(error.code ?? '');
          throw unavailable ? Object.assign(new ApiError('unavailable'), { cause: error }) : error;
        }
        await new Promise((resolve) => setTimeout(resolve, 2 ** Math.min(tried, attempts) * 5 * (0.5 + Math.random())));
      } finally {
        usage.ms += Date.now() - started;
      }
    }
  }

  return {
    usage,
    get tenant() {
      return tenant;
    },
    async run<T>(name: `${string}.${string}`, call: Call, input: unknown, lines = 1): Promise<T> {
      const isJob = call.keyHash === undefined;
      const patienceMs = patienceOf(lines);
      const caller = JSON.stringify({
        ...call,
        ...(isJob ? { jobSecret: settings.DATABASE_JOB_SECRET } : {}),
        ...(patienceMs > 0 ? { patienceMs: patienceMs / 4 } : {}),
      });
      const statement = sql`select ${sql.raw(name)}(${caller}::jsonb, ${JSON.stringify(input)}::jsonb) as result`;
      const repeatable = call.idempotencyKey !== undefined || isJob;
      const execute = (db: Reader) => db.execute<{ result: T }>(statement);
      // A statement cannot set its own time limit, so one before it does, in the same HTTP call and transaction.
      const limit = sql`select set_config('statement_timeout', ${String(statementMs + patienceMs)}, true)`;
      const patient = async (db: Reader) => (await db.batch([db.execute(limit), execute(db)]))[1];
      const [answer, tried] = await attempt(repeatable, patienceMs > 0 ? patient : execute, patienceMs);
      const result = answer.rows[0]?.result;
      if (result === undefined) throw new Error(`${name} answered no row`);
      if (typeof result === 'object' && result !== null && 'tenant' in result) tenant = String(result.tenant);
      // A replay after our own lost attempt is, to the client, the first answer.
      if (tried > 1 && typeof result === 'object' && result !== null && 'replayed' in result) result.replayed = false;
      return result;
    },
    async health() {
      const statement = sql`select platform.health() as result`;
      const [answer] = await attempt(true, (db) => db.execute<{ result: Health }>(statement));
      const result = answer.rows[0]?.result;
      if (!result) throw new Error('platform.health answered no row');
      return result;
    },
    async authenticate(call: Call, scope: string) {
      const [answer] = await attempt(true, (db) => db.execute<{ tenant: string }>(entering(call, scope)));
      tenant = answer.rows[0]?.tenant ?? null;
    },
    async read<T>(call: Call, scope: string, build: (db: Reader) => RunnableQuery<T, 'pg'>) {
      const [[entered, rows]] = await attempt(true, (db) =>
        db.batch([db.execute<{ tenant: string }>(entering(call, scope)), build(db)]),
      );
      const of = entered.rows[0]?.tenant;
      if (of === undefined) throw new Error('platform.authenticate answered no row');
      tenant = of;
      return { tenant: of, rows };
    },
  };
}
