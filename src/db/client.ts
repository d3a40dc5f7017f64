import { neon, neonConfig } from '@neondatabase/serverless';
import { sql } from 'drizzle-orm';
import { drizzle, type NeonHttpDatabase } from 'drizzle-orm/neon-http';
import type { RunnableQuery } from 'drizzle-orm/runnable-query';
import { ApiError } from '../base/errors.ts';
import { type Cells, cellAfterMove, type DatabaseSettings, noteResponse, rememberMove, subjectOf } from './cells.ts';
import {
  authenticationCode,
  isOutcomeUnknown,
  missingFunctionCode,
  newCellOf,
  toApiError,
  unchangedCodes,
  unwrap,
  waitCodes,
} from './failures.ts';

/** The caller of a SQL function: its argument `call`. It has the hash of the API key, never the key itself. */
export type Call = {
  keyHash?: string;
  /** The origin of the page that uses a publishable key. If the key is bound to origins, it must be one of them. */
  origin?: string;
  /** The key is the token of a customer's session. */
  session?: true;
  /** The key is one of those that may use the operation from a browser without its scope. */
  shopper?: true;
  /**
   * The Worker has checked what the database cannot, such as a signature. So the call carries the job secret too, which
   * a leaked login does not have.
   */
  vouched?: true;
  /** The SHA-256 of the request's `Cart-Token`. */
  cartHash?: string;
  /** Replaces the key for watching a campaign or team; `campaign` is its id in the path. */
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
  /** The cell that was opened or, after a call, the one to which the caller's tenant has moved. */
  readonly cell: string;
  /** The database of another cell. Its calls count in the same `usage`. */
  inCell(cell: string): Database;
  /**
   * Only checks the key and its scope, for a request that is rejected for another reason. `shoppers`: the kinds of key
   * that need no scope.
   */
  authenticate(call: Call, scope: string, shoppers?: readonly string[]): Promise<void>;
  /**
   * Runs one SQL function of a service, `service.verb(call, input)`, as one HTTP call and one transaction. An input
   * that depends on the cell, to which the tenant may have moved, is a function of it. `lines`: how many rows it locks;
   * a call with many rows may wait longer.
   */
  run<T>(name: `${string}.${string}`, call: Call, input: unknown, lines?: number): Promise<T>;
  /**
   * Runs two jobs, one after the other, in one HTTP call and one transaction of this cell.
   * @throws the database's error, if the tenant of the first job has moved to another cell
   */
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
/** A call ends if a tenant moves more often than this during it. */
const maxMoves = 3;
/**
 * Reads the whole response, so that a truncated one is a failed call and not incomplete JSON. Returns the members that
 * the driver uses: making another `Response` costs as much as reading this one. `endpoint` replaces the URL that the
 * driver makes from the connection string: the driver's own setting would hold for all cells.
 */
async function fetchWhole(url: string, init: RequestInit & { endpoint?: string | undefined }) {
  const response = await fetch(init.endpoint ?? url, init);
  const body = await response.text();
  const { ok, status } = response;
  return { ok, status, text: async () => body, json: async (): Promise<unknown> => JSON.parse(body) };
}

const authenticateStatement = (call: Call, scope: string) =>
  sql`select platform.authenticate(${JSON.stringify(call)}::jsonb, ${scope}) ->> 'tenant' as tenant, set_config('role', 'fusion_reader', true)`;

/**
 * A client without connections: each call is one HTTP request to Neon's SQL endpoint. All attempts of a call end within
 * DATABASE_DEADLINE_MS (10 s), or later for a call that locks many rows (`patienceMsOf`). Lock timeouts are retried
 * until then; deadlocks and serialization failures are retried and never reach a client. A call whose outcome is
 * unknown is retried only if it reads, is a job, or has an idempotency key: those cannot act twice.
 *
 * If the caller's tenant has moved to another cell, the call is repeated there, and the isolate remembers the cell.
 * @throws ApiError with the code that a SQL function raised, or `unavailable` with the database's error as its cause
 */
export function openDatabase(cells: Cells, cell: string, usage = { calls: 0, ms: 0 }): Database {
  neonConfig.fetchFunction = fetchWhole; // a global setting of the driver, equal for all requests of an isolate
  let tenant: string | null = null;
  let lastCell = cell;

  async function attempt<T>(
    { repeatable = true, follow = true, patienceMs = 0 },
    subject: string | undefined,
    send: (db: Reader, settings: DatabaseSettings, cell: string) => PromiseLike<T>,
  ): Promise<[T, number]> {
    let target = follow ? cellAfterMove(subject, cell) : cell; // calls may run at once, so each has its own
    const started = Date.now();
    let failures = 0;
    let moves = 0;
    for (let tries = 1; ; tries++) {
      const settings = cells.get(target);
      if (settings === undefined) throw new ApiError('unavailable', `The cell ${target} is not configured.`);
      const end = started + (settings.DATABASE_DEADLINE_MS ?? 10_000) + patienceMs;
      const triedAt = Date.now();
      usage.calls++;
      try {
        const signal = AbortSignal.timeout(Math.max(end - triedAt, 1));
        const fetchOptions = { signal, endpoint: settings.NEON_HTTP_URL };
        const result = await send(drizzle(neon(settings.DATABASE_URL, { fetchOptions })), settings, target);
        noteResponse(target);
        lastCell = target;
        return [result, tries];
      } catch (thrown) {
        const error = unwrap(thrown);
        if (!error) throw thrown;
        const newCell = newCellOf(error);
        if (newCell !== undefined) {
          rememberMove(subject, newCell);
          if (!follow) throw error;
          if (++moves > maxMoves) throw Object.assign(new ApiError('unavailable'), { cause: error });
          target = newCell;
          tries--; // the old cell has done nothing, so this was no attempt
          continue;
        }
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
          const isAway = unknown || authenticationCode.test(error.code ?? '');
          if (isAway) noteResponse(target, Date.now() - started);
          throw unchanged || isAway ? Object.assign(new ApiError('unavailable'), { cause: error }) : error;
        }
        await new Promise((resolve) =>
          setTimeout(resolve, 2 ** Math.min(tries, maxFailures) * 5 * (0.5 + Math.random())),
        );
      } finally {
        usage.ms += Date.now() - triedAt;
      }
    }
  }

  const withJobSecret = (call: Call, { DATABASE_JOB_SECRET: jobSecret }: DatabaseSettings) => ({ ...call, jobSecret });
  const noteTenant = (result: unknown) => {
    if (typeof result === 'object' && result !== null && 'tenant' in result) tenant = String(result.tenant);
  };

  return {
    usage,
    get tenant() {
      return tenant;
    },
    get cell() {
      return lastCell;
    },
    inCell: (other) => openDatabase(cells, other, usage),
    async run<T>(name: `${string}.${string}`, call: Call, input: unknown, lines = 1): Promise<T> {
      const isJob = call.keyHash === undefined;
      const patienceMs = patienceMsOf(lines);
      const sameText = typeof input === 'function' ? undefined : JSON.stringify(input);
      const statement = (settings: DatabaseSettings, target: string) => {
        const inputText = sameText ?? JSON.stringify(typeof input === 'function' ? input(target) : input);
        const caller = JSON.stringify({
          ...(isJob || call.vouched ? withJobSecret(call, settings) : call),
          ...(patienceMs > 0 ? { patienceMs: patienceMs / 4 } : {}),
        });
        return sql`select ${sql.raw(name)}(${caller}::jsonb, ${inputText}::jsonb) as result`;
      };
      const repeatable = call.idempotencyKey !== undefined || isJob;
      const execute = (db: Reader, settings: DatabaseSettings, target: string) =>
        db.execute<{ result: T }>(statement(settings, target));
      // A statement cannot set its own time limit, so one before it does, in the same HTTP call and transaction.
      const limit = sql`select set_config('statement_timeout', ${String(statementTimeoutMs + patienceMs)}, true)`;
      const executeWithLimit = async (db: Reader, settings: DatabaseSettings, target: string) =>
        (await db.batch([db.execute(limit), execute(db, settings, target)]))[1];
      const [response, tries] = await attempt(
        { repeatable, patienceMs },
        subjectOf(call.keyHash, input, cell),
        patienceMs > 0 ? executeWithLimit : execute,
      );
      const result = response.rows[0]?.result;
      if (result === undefined) throw new Error(`${name} returned no row`);
      noteTenant(result);
      // If the replay is of our own lost attempt, it is the first response that the client gets.
      if (tries > 1 && typeof result === 'object' && result !== null && 'replayed' in result) result.replayed = false;
      return result;
    },
    async runBoth<First, Second>(first: Job, second: Job): Promise<[First, Second]> {
      const subject = subjectOf(undefined, first.input, cell);
      const [response] = await attempt({ follow: false }, subject, (db, settings) => {
        const apply = ({ name, call, input }: Job) =>
          sql`${sql.raw(name)}(${JSON.stringify(withJobSecret(call, settings))}::jsonb, ${JSON.stringify(input)}::jsonb)`;
        // `offset 0` keeps the subquery apart, so that the first function has run when the second one begins.
        return db.execute<{ first: First; second: Second }>(sql`select f.result as first, ${apply(second)} as second
          from (select ${apply(first)} as result offset 0) f`);
      });
      const [row] = response.rows;
      if (!row) throw new Error(`${first.name} and ${second.name} returned no row`);
      noteTenant(row.first);
      return [row.first, row.second];
    },
    async health() {
      const statement = sql`select platform.health() as result`;
      const [response] = await attempt({}, undefined, (db) => db.execute<{ result: Health }>(statement));
      const result = response.rows[0]?.result;
      if (!result) throw new Error('platform.health returned no row');
      return result;
    },
    async authenticate(call: Call, scope: string, shoppers: readonly string[] = []) {
      const input = JSON.stringify({ scope, shoppers });
      const statement = call.shopper
        ? sql`select platform.check_key(${JSON.stringify(call)}::jsonb, ${input}::jsonb) ->> 'tenant' as tenant`
        : authenticateStatement(call, scope);
      const [response] = await attempt({}, call.keyHash, (db) => db.execute<{ tenant: string }>(statement));
      tenant = response.rows[0]?.tenant ?? null;
    },
    async read<T>(call: Call, scope: string, build: (db: Reader) => RunnableQuery<T, 'pg'>) {
      const [[authenticated, rows]] = await attempt({}, call.keyHash, (db) =>
        db.batch([db.execute<{ tenant: string }>(authenticateStatement(call, scope)), build(db)]),
      );
      const keyTenant = authenticated.rows[0]?.tenant;
      if (keyTenant === undefined) throw new Error('platform.authenticate returned no row');
      tenant = keyTenant;
      return { tenant: keyTenant, rows };
    },
  };
}
