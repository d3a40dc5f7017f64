import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { products, type Race, type Round, type Statement, type System } from './system.ts';

export type Observer = {
  /** As a superuser of the server on which all databases are. */
  pool: pg.Pool;
  /** CPU of all of PostgreSQL's processes, in ms since its start. */
  postgresCpu: () => Promise<number>;
  signal: AbortSignal;
};

export function quantile(values: number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

export const median = (values: number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = Number.NaN, high = Number.NaN] = [sorted[Math.ceil(sorted.length / 2) - 1], sorted[middle]];
  return (low + high) / 2;
};

type Load = { latencies: number[]; failures: Record<string, number>; seconds: number };

/** Ids differ from one refusal to the next; what is refused and why does not. */
const kindOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error))
    .replaceAll(/\b[a-z_]+_[0-9A-HJKMNP-TV-Z]{26}\b|[0-9a-f]{8}-[0-9a-f-]{27}|\b\d{3,}\b/g, '…')
    .slice(0, 140);

/** So many clients at once, each beginning its next checkout when its last has ended, while `more` says so. */
export async function runClients(clients: number, more: () => number | null, buy: System['checkout']): Promise<Load> {
  const latencies: number[] = [];
  const failures: Record<string, number> = {};
  const start = performance.now();
  const client = async (): Promise<void> => {
    for (let product = more(); product !== null; product = more()) {
      const began = performance.now();
      try {
        await buy(product);
        latencies.push(performance.now() - began);
      } catch (error) {
        const kind = kindOf(error);
        failures[kind] = (failures[kind] ?? 0) + 1;
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { latencies, failures, seconds: (performance.now() - start) / 1000 };
}

type Counts = { statements: number; transactions: number };

/** What a shop has sent since the last reset: statements as PostgreSQL got them, not those within functions. */
async function countStatements(pool: pg.Pool, database: string): Promise<Counts> {
  // The superuser is the observer.
  const { rows } = await pool.query<Counts>(
    `select coalesce(sum(calls), 0)::int as statements,
       coalesce(sum(calls) filter (where query ~* '^\\s*(begin|commit|rollback|start transaction|savepoint|release)'), 0)
         ::int as transactions
     from pg_stat_statements s join pg_database d on d.oid = s.dbid join pg_roles r on r.oid = s.userid
     where d.datname = $1 and not r.rolsuper`,
    [database],
  );
  return rows[0] ?? { statements: 0, transactions: 0 };
}

async function findSlowest(pool: pg.Pool, database: string): Promise<Statement[]> {
  const { rows } = await pool.query<Statement>(
    `select left(regexp_replace(query, '\\s+', ' ', 'g'), 100) as query, calls::int as calls, total_exec_time as ms
     from pg_stat_statements s join pg_database d on d.oid = s.dbid join pg_roles r on r.oid = s.userid
     where d.datname = $1 and not r.rolsuper order by total_exec_time desc limit 8`,
    [database],
  );
  return rows;
}

async function resetStatements(pool: pg.Pool, database: string): Promise<void> {
  await pool.query('select pg_stat_statements_reset(0, oid, 0) from pg_database where datname = $1', [database]);
}

async function sizeOf(pool: pg.Pool, database: string): Promise<number> {
  const { rows } = await pool.query<{ bytes: string }>('select pg_database_size($1) as bytes', [database]);
  return Number(rows[0]?.bytes);
}

/** Draws among all products but that of the race; seeded, so that every system and every run has the same. */
function drawProducts(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 1 + Math.floor((state / 2 ** 32) * (products - 1));
  };
}

/**
 * One round: at least so many seconds, and at least `least` checkouts a client, since the slowest need seconds for one.
 * The rate is all checkouts over all of the time, that of the last ones included.
 */
export async function runRound(
  system: System,
  observer: Observer,
  options: { clients: number; seconds: number; least: number; seed: number },
): Promise<Round> {
  const { pool } = observer;
  const draw = drawProducts(options.seed);
  await resetStatements(pool, system.database);
  const [bytes, cpu, postgresCpu] = [
    await sizeOf(pool, system.database),
    await system.cpu(),
    await observer.postgresCpu(),
  ];
  const parts = (await system.parts?.()) ?? {};
  const waits = system.waits?.() ?? {};
  const requests = system.requests();
  const end = performance.now() + options.seconds * 1000;
  let begun = 0;
  const more = (): number | null => {
    if (observer.signal.aborted || (performance.now() > end && begun >= options.least * options.clients)) return null;
    begun += 1;
    return draw();
  };
  const { latencies, failures, seconds } = await runClients(options.clients, more, system.checkout);
  const answered = performance.now();
  await system.settle();
  const settleSeconds = (performance.now() - answered) / 1000;
  const counts = await countStatements(pool, system.database);
  const now = (await system.parts?.()) ?? {};
  const checkouts = latencies.length;
  const each = (total: number): number => total / Math.max(1, checkouts);
  const grownBy = (after: Record<string, number>, before: Record<string, number>) =>
    Object.fromEntries(Object.entries(after).map(([name, ms]) => [name, each(ms - (before[name] ?? 0))]));
  return {
    checkouts,
    seconds,
    perSecond: checkouts / seconds,
    p50Ms: quantile(latencies, 0.5),
    p95Ms: quantile(latencies, 0.95),
    settleSeconds,
    requests: each(system.requests() - requests),
    statements: each(counts.statements),
    transactionStatements: each(counts.transactions),
    serverCpuMs: each((await system.cpu()) - cpu),
    postgresCpuMs: each((await observer.postgresCpu()) - postgresCpu),
    databaseBytes: each((await sizeOf(pool, system.database)) - bytes),
    parts: grownBy(now, parts),
    waits: grownBy(system.waits?.() ?? {}, waits),
    slowest: (await findSlowest(pool, system.database)).map((one) => ({
      ...one,
      calls: each(one.calls),
      ms: each(one.ms),
    })),
    failures,
  };
}

/** Every buyer wants one unit of the same product, of which there are fewer. */
export async function runRace(
  system: System,
  observer: Observer,
  options: { clients: number; buyers: number; units: number },
): Promise<Race> {
  await system.stock(options.units);
  const before = await system.sold();
  let begun = 0;
  const more = (): number | null => (observer.signal.aborted || ++begun > options.buyers ? null : products);
  const { latencies, failures, seconds } = await runClients(options.clients, more, system.checkout);
  await system.settle();
  const sold = (await system.sold()) - before;
  return {
    buyers: options.buyers,
    units: options.units,
    sold,
    seconds,
    answers: { sold: latencies.length, ...failures },
  };
}

/** Resolves when a database has had no statement for a second. */
export async function untilIdle(pool: pg.Pool, database: string): Promise<void> {
  for (let last = -1; ; await sleep(1000)) {
    const { statements } = await countStatements(pool, database);
    if (statements === last) return;
    last = statements;
  }
}
