import { neon, neonConfig } from '@neondatabase/serverless';
import { sql } from 'drizzle-orm';
import { drizzle, type NeonHttpDatabase } from 'drizzle-orm/neon-http';
import type { RunnableQuery } from 'drizzle-orm/runnable-query';
import { ApiError, isCode } from '../errors.ts';

/** Who calls, and what the database is told of it: `call` of every SQL function. Never the key itself, only its hash. */
export type Call = {
  keyHash?: string;
  idempotencyKey?: string;
  requestHash?: string;
  traceparent?: string;
  /** ISO time that takes the place of the database's clock: a cron's scheduled time, a test's. */
  now?: string;
};

/** What a write answers. `replayed`: it is the first answer to this idempotency key, given again. */
export type Written<T> = { tenant: string; answer: T; replayed: boolean };

export type Database = {
  /** HTTP calls to the database so far, and the milliseconds spent in them. */
  readonly spent: { calls: number; ms: number };
  /** The tenant of the last call that the database answered, for the log. */
  readonly tenant: string | null;
  /** Runs one SQL function of a service as one call and one transaction: `service.verb(call, input)`. */
  run<T>(name: `${string}.${string}`, call: Call, input: unknown): Promise<T>;
  /** Authenticates and reads, as one call and one transaction, as the role that can only read. */
  read<T>(
    call: Call,
    scope: string,
    build: (db: Reader) => RunnableQuery<T, 'pg'>,
  ): Promise<{ tenant: string; rows: T }>;
  /** What the database says of itself, without a key: see `platform.health`. */
  health(): Promise<{ outboxAgeSeconds: number; outboxCount: number; deadLetters: number }>;
};

export type Reader = NeonHttpDatabase;

const deadlineMs = 10_000;
const attempts = 5;
// Deadlock, serialization failure, lock not available: the transaction is known to have changed nothing.
const undone = new Set(['40001', '40P01', '55P03']);
const away = /^(08|53|57P|58|XX)/;

type DatabaseError = Error & { code?: string; detail?: string };

/** The driver's own error, however Drizzle has wrapped it. */
function unwrap(error: unknown): DatabaseError | undefined {
  const inner = error instanceof Error && error.name !== 'NeonDbError' && error.cause ? error.cause : error;
  return inner instanceof Error ? inner : undefined;
}

function refusal(error: DatabaseError): ApiError | undefined {
  if (error.code !== 'FC000' || !isCode(error.message)) return undefined;
  const detail: unknown = error.detail ? JSON.parse(error.detail) : {};
  const reason =
    typeof detail === 'object' && detail !== null && 'reason' in detail ? String(detail.reason) : undefined;
  return new ApiError(error.message, reason);
}

/**
 * A connection-less client: each call is one HTTP request to Neon's SQL endpoint, with a deadline of 10 s.
 * Deadlocks and serialization failures are repeated here and never reach a client. A call whose fate is unknown is
 * repeated only if it reads or carries an idempotency key, since then it cannot act twice.
 * @throws ApiError with the code that a SQL function raised, or `unavailable`
 */
export function openDatabase(settings: { DATABASE_URL: string; NEON_HTTP_URL?: string | undefined }): Database {
  // The endpoint is the driver's global; it is the same for every request of an isolate.
  if (settings.NEON_HTTP_URL) neonConfig.fetchEndpoint = settings.NEON_HTTP_URL;
  const spent = { calls: 0, ms: 0 };
  let tenant: string | null = null;

  async function attempt<T>(repeatable: boolean, send: (db: Reader) => PromiseLike<T>): Promise<[T, number]> {
    for (let tried = 1; ; tried++) {
      const started = Date.now();
      spent.calls++;
      try {
        const client = neon(settings.DATABASE_URL, { fetchOptions: { signal: AbortSignal.timeout(deadlineMs) } });
        return [await send(drizzle(client)), tried];
      } catch (thrown) {
        const error = unwrap(thrown);
        if (!error) throw thrown;
        const refused = refusal(error);
        // Our own first attempt may still be running when the second asks for the same idempotency key.
        const overtaken = tried > 1 && refused?.code === 'idempotency_in_progress';
        if (refused && !overtaken) throw refused;
        const unknown = error.code === undefined ? error.name === 'NeonDbError' : away.test(error.code);
        const again = overtaken || undone.has(error.code ?? '') || (unknown && repeatable && tried < 3);
        if (!again || tried === attempts) {
          if (unknown || overtaken || undone.has(error.code ?? '')) throw new ApiError('unavailable');
          throw thrown;
        }
        await new Promise((resolve) => setTimeout(resolve, 2 ** tried * 5 * (0.5 + Math.random())));
      } finally {
        spent.ms += Date.now() - started;
      }
    }
  }

  return {
    spent,
    get tenant() {
      return tenant;
    },
    async run<T>(name: `${string}.${string}`, call: Call, input: unknown): Promise<T> {
      const statement = sql`select ${sql.raw(name)}(${JSON.stringify(call)}::jsonb, ${JSON.stringify(input)}::jsonb) as result`;
      const repeatable = call.idempotencyKey !== undefined || call.keyHash === undefined;
      const [answer, tried] = await attempt(repeatable, (db) => db.execute<{ result: T }>(statement));
      const result = answer.rows[0]?.result;
      if (result === undefined) throw new Error(`${name} answered no row`);
      if (typeof result === 'object' && result !== null && 'tenant' in result) tenant = String(result.tenant);
      // A replay after our own lost attempt is, to the client, the first answer.
      if (tried > 1 && typeof result === 'object' && result !== null && 'replayed' in result) result.replayed = false;
      return result;
    },
    async health() {
      const statement = sql`select platform.health() as result`;
      const [answer] = await attempt(true, (db) =>
        db.execute<{ result: Awaited<ReturnType<Database['health']>> }>(statement),
      );
      const result = answer.rows[0]?.result;
      if (!result) throw new Error('platform.health answered no row');
      return result;
    },
    async read<T>(call: Call, scope: string, build: (db: Reader) => RunnableQuery<T, 'pg'>) {
      const enter = sql`select platform.authenticate(${JSON.stringify(call)}::jsonb, ${scope}) ->> 'tenant' as tenant, set_config('role', 'fusion_reader', true)`;
      const [[entered, rows]] = await attempt(true, (db) =>
        db.batch([db.execute<{ tenant: string }>(enter), build(db)]),
      );
      const of = entered.rows[0]?.tenant;
      if (of === undefined) throw new Error('platform.authenticate answered no row');
      tenant = of;
      return { tenant: of, rows };
    },
  };
}
