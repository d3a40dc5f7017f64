import { neon, neonConfig } from '@neondatabase/serverless';
import { sql } from 'drizzle-orm';
import { drizzle, type NeonHttpDatabase } from 'drizzle-orm/neon-http';
import type { RunnableQuery } from 'drizzle-orm/runnable-query';
import { ApiError, isCode } from '../base/errors.ts';

/** The caller of a SQL function: its argument `call`. It has the hash of the API key, never the key itself. */
export type Call = {
  keyHash?: string;
  /** The origin of the page that uses a publishable key. If the key is bound to origins, it must be one of them. */
  origin?: string;
  /** Replaces the key for watching a campaign; `campaign` is the id in the path. */
  liveToken?: string;
  campaign?: string;
  idempotencyKey?: string;
  requestHash?: string;
  traceparent?: string;
  /**
   * An ISO time that replaces the database's clock. Only the databases of tests and of the local platform accept it.
   */
  now?: string;
  /** How many milliseconds longer than usual the call may wait for a lock. */
  patienceMs?: number;
};

/** A call of a job, a consumer or a webhook: one without an API key. */
export type Job = { name: `${string}.${string}`; call: Call; input: unknown };

/** The result of a write. `replayed`: it is the stored answer to an earlier request with this idempotency key. */
export type WriteResult<T> = { tenant: string; answer: T; replayed: boolean };

export type Database = {
  /** HTTP calls to the database so far, and the milliseconds they took. */
  readonly usage: { calls: number; ms: number };
  /** The tenant of the last call that succeeded, for the log. */
  readonly tenant: string | null;
  /** Only checks the key and its scope, for a request that is rejected for another reason. */
  authenticate(call: Call, scope: string): Promise<void>;
  /**
   * Runs one SQL function of a service, `service.verb(call, input)`, as one HTTP call and one transaction. `lines`: how
   * many rows it locks; a call with many rows may wait longer.
   */
  run<T>(name: `${string}.${string}`, call: Call, input: unknown, lines?: number): Promise<T>;
  /** Runs two jobs, one after the other, in one HTTP call and one transaction. */
  runBoth<First, Second>(first: Job, second: Job): Promise<[First, Second]>;
  /** Authenticates and reads in one HTTP call and one transaction, as the read-only role. */
  read<T>(
    call: Call,
    scope: string,
    build: (db: Reader) => RunnableQuery<T, 'pg'>,
  ): Promise<{ tenant: string; rows: T }>;
  /** The state of the database. It needs no key; see `platform.health`. */
  health(): Promise<Health>;
};

/** The result of `platform.health`. `sealed`: whether the database rejects jobs without a job secret. */
export type Health = {
  outboxAgeSeconds: number;
  outboxCount: number;
  deadLetters: number;
  sinks: WaitingSink[];
  sealed: boolean;
};

/** A sink with undelivered events: the age of the oldest one, and how often the sink has failed in a row. */
export type WaitingSink = { sink: string; ageSeconds: number; failures: number; pausedUntil: string | null };

export type Reader = NeonHttpDatabase;

/** After this many failures other than lock waits, a call is given up. */
const maxFailures = 5;
/**
 * How much longer than usual a call that locks this many rows may take: 25 ms for each line after the 100th. On a busy
 * machine an order of 1,200 lines holds its rows for half a second, and 50 such orders may be queued for the same rows.
 * Each lock wait gets a quarter of it, so that a row that stays locked does not occupy the connections.
 */
const patienceMsOf = (lines: number): number => Math.max(lines - 100, 0) * 25;
/** `statement_timeout` of the role. */
const statementTimeoutMs = 9_000;
// Lock timeout (55P03) or statement timeout after lock waits (57014): the call only has to wait, until its deadline.
const waitCodes = new Set(['55P03', '57014']);
// Serialization failure, deadlock, lock timeout, cancelled, too many connections, starting up: nothing was changed.
const unchangedCodes = new Set(['40001', '40P01', '55P03', '57014', '53300', '57P03']);
/**
 * No such function. A migration may rename one while a call runs that needs it, and the next attempt finds the new
 * name.
 */
const missingFunctionCode = '42883';
const connectionLostCode = /^(08|53|57P|58|XX)/;
// Wrong password or job secret. An operator must correct it: the request or message is not at fault.
const authenticationCode = /^28/;

type DatabaseError = Error & { code?: string; detail?: string };

/**
 * Reads the whole response, so that a truncated one is a failed call and not incomplete JSON. Returns the members that
 * the driver uses: making another `Response` costs as much as reading this one.
 */
async function fetchWhole(url: string, init: RequestInit) {
  const response = await fetch(url, init);
  const body = await response.text();
  const { ok, status } = response;
  return { ok, status, text: async () => body, json: async (): Promise<unknown> => JSON.parse(body) };
}

/** Whether the call may have taken effect: it has no SQLSTATE, or one that means that the connection was lost. */
function isOutcomeUnknown({ code, name }: DatabaseError): boolean {
  return code === undefined ? name === 'NeonDbError' || name === 'SyntaxError' : connectionLostCode.test(code);
}

/** The driver's error, which Drizzle wraps. */
function unwrap(error: unknown): DatabaseError | undefined {
  const inner = error instanceof Error && error.name !== 'NeonDbError' && error.cause ? error.cause : error;
  return inner instanceof Error ? inner : undefined;
}

/** The error that a SQL function raised with `platform.fail`, if it is one. */
function toApiError(error: DatabaseError): ApiError | undefined {
  if (error.code !== 'FC000' || !isCode(error.message)) return undefined;
  const detail: { reason?: string; tenant?: string } = error.detail ? JSON.parse(error.detail) : {};
  return new ApiError(error.message, detail.reason, { tenant: detail.tenant });
}

const authenticateStatement = (call: Call, scope: string) =>
  sql`select platform.authenticate(${JSON.stringify(call)}::jsonb, ${scope}) ->> 'tenant' as tenant, set_config('role', 'fusion_reader', true)`;

/** How to reach the database: the connection string, an endpoint other than Neon's own, and the deadline of a call. */
export type DatabaseSettings = {
  DATABASE_URL: string;
  /** The job secret: proves that a call without a key comes from the Worker (a job, a consumer or a webhook). */
  DATABASE_JOB_SECRET: string;
  NEON_HTTP_URL?: string | undefined;
  DATABASE_DEADLINE_MS?: number;
};

/**
 * A client without connections: each call is one HTTP request to Neon's SQL endpoint. All attempts of a call end within
 * DATABASE_DEADLINE_MS (10 s), or later for a call that locks many rows (`patienceMsOf`). Lock timeouts are retried
 * until then; deadlocks and serialization failures are retried and never reach a client. A call whose outcome is
 * unknown is retried only if it reads, is a job, or has an idempotency key: those cannot act twice.
 * @throws ApiError with the code that a SQL function raised, or `unavailable` with the database's error as its cause
 */
export function openDatabase(settings: DatabaseSettings): Database {
  // Both are global settings of the driver, and equal for all requests of an isolate.
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
    let failures = 0;
    for (let tries = 1; ; tries++) {
      const started = Date.now();
      usage.calls++;
      try {
        const signal = AbortSignal.timeout(Math.max(end - started, 1));
        return [await send(drizzle(neon(settings.DATABASE_URL, { fetchOptions: { signal } }))), tries];
      } catch (thrown) {
        const error = unwrap(thrown);
        if (!error) throw thrown;
        const raised = toApiError(error);
        // Our own first attempt may still be running when the second one uses the same idempotency key.
        const isOwnAttempt = tries > 1 && raised?.code === 'idempotency_in_progress';
        if (raised && !isOwnAttempt) throw raised;
        const unchanged = isOwnAttempt || unchangedCodes.has(error.code ?? '');
        const unknown = isOutcomeUnknown(error);
        const isRenamed = error.code === missingFunctionCode;
        const retry = unchanged || isRenamed || (unknown && repeatable && tries < 3);
        if (!waitCodes.has(error.code ?? '')) failures++;
        if (!retry || failures === maxFailures || Date.now() >= end) {
          // The driver's error, never Drizzle's: that one contains the statement and its parameters.
          const unavailable = unchanged || unknown || authenticationCode.test(error.code ?? '');
          throw unavailable ? Object.assign(new ApiError('unavailable'), { cause: error }) : error;
        }
        await new Promise((resolve) =>
          setTimeout(resolve, 2 ** Math.min(tries, maxFailures) * 5 * (0.5 + Math.random())),
        );
      } finally {
        usage.ms += Date.now() - started;
      }
    }
  }

  const withJobSecret = (call: Call) => ({ ...call, jobSecret: settings.DATABASE_JOB_SECRET });
  const noteTenant = (result: unknown) => {
    if (typeof result === 'object' && result !== null && 'tenant' in result) tenant = String(result.tenant);
  };

  return {
    usage,
    get tenant() {
      return tenant;
    },
    async run<T>(name: `${string}.${string}`, call: Call, input: unknown, lines = 1): Promise<T> {
      const isJob = call.keyHash === undefined;
      const patienceMs = patienceMsOf(lines);
      const caller = JSON.stringify({
        ...(isJob ? withJobSecret(call) : call),
        ...(patienceMs > 0 ? { patienceMs: patienceMs / 4 } : {}),
      });
      const statement = sql`select ${sql.raw(name)}(${caller}::jsonb, ${JSON.stringify(input)}::jsonb) as result`;
      const repeatable = call.idempotencyKey !== undefined || isJob;
      const execute = (db: Reader) => db.execute<{ result: T }>(statement);
      // A statement cannot set its own time limit, so one before it does, in the same HTTP call and transaction.
      const limit = sql`select set_config('statement_timeout', ${String(statementTimeoutMs + patienceMs)}, true)`;
      const executeWithLimit = async (db: Reader) => (await db.batch([db.execute(limit), execute(db)]))[1];
      const [response, tries] = await attempt(repeatable, patienceMs > 0 ? executeWithLimit : execute, patienceMs);
      const result = response.rows[0]?.result;
      if (result === undefined) throw new Error(`${name} returned no row`);
      noteTenant(result);
      // If the replay is of our own lost attempt, it is the first response that the client gets.
      if (tries > 1 && typeof result === 'object' && result !== null && 'replayed' in result) result.replayed = false;
      return result;
    },
    async runBoth<First, Second>(first: Job, second: Job): Promise<[First, Second]> {
      const apply = ({ name, call, input }: Job) =>
        sql`${sql.raw(name)}(${JSON.stringify(withJobSecret(call))}::jsonb, ${JSON.stringify(input)}::jsonb)`;
      // `offset 0` keeps the subquery apart, so that the first function has run when the second one begins.
      const statement = sql`select f.result as first, ${apply(second)} as second
        from (select ${apply(first)} as result offset 0) f`;
      const [response] = await attempt(true, (db) => db.execute<{ first: First; second: Second }>(statement));
      const [row] = response.rows;
      if (!row) throw new Error(`${first.name} and ${second.name} returned no row`);
      noteTenant(row.first);
      return [row.first, row.second];
    },
    async health() {
      const statement = sql`select platform.health() as result`;
      const [response] = await attempt(true, (db) => db.execute<{ result: Health }>(statement));
      const result = response.rows[0]?.result;
      if (!result) throw new Error('platform.health returned no row');
      return result;
    },
    async authenticate(call: Call, scope: string) {
      const [response] = await attempt(true, (db) =>
        db.execute<{ tenant: string }>(authenticateStatement(call, scope)),
      );
      tenant = response.rows[0]?.tenant ?? null;
    },
    async read<T>(call: Call, scope: string, build: (db: Reader) => RunnableQuery<T, 'pg'>) {
      const [[authenticated, rows]] = await attempt(true, (db) =>
        db.batch([db.execute<{ tenant: string }>(authenticateStatement(call, scope)), build(db)]),
      );
      const keyTenant = authenticated.rows[0]?.tenant;
      if (keyTenant === undefined) throw new Error('platform.authenticate returned no row');
      tenant = keyTenant;
      return { tenant: keyTenant, rows };
    },
  };
}
