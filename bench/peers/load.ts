import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { products, type Race, type Round, type Statement, type System } from './system.ts';

export type Observer = {
  /** Connections as a superuser of the server with all databases. */
  pool: pg.Pool;
  /** CPU time of all PostgreSQL processes since the start, in ms. */
  postgresCpu: () => Promise<number>;
  signal: AbortSignal;
};

export function quantile(values: number[], fraction: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? Number.NaN;
}

export const median = (values: number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = Number.NaN, high = Number.NaN] = [sorted[Math.ceil(sorted.length / 2) - 1], sorted[middle]];
  return (low + high) / 2;
};

type Load = { latencies: number[]; failures: Record<string, number>; seconds: number };

/** The error message without ids and numbers, so that equal errors are counted together. */
const errorKind = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error))
    .replaceAll(/\b[a-z_]+_[0-9A-HJKMNP-TV-Z]{26}\b|[0-9a-f]{8}-[0-9a-f-]{27}|\b\d{3,}\b/g, '…')
    .slice(0, 140);

/** Runs clients concurrently. Each buys one product after another, until `nextProduct` returns null. */
export async function runClients(
  clients: number,
  nextProduct: () => number | null,
  buy: System['checkout'],
): Promise<Load> {
  const latencies: number[] = [];
  const failures: Record<string, number> = {};
  const start = performance.now();
  const client = async (): Promise<void> => {
    for (let product = nextProduct(); product !== null; product = nextProduct()) {
      const began = performance.now();
      try {
        await buy(product);
        latencies.push(performance.now() - began);
      } catch (error) {
        const kind = errorKind(error);
        failures[kind] = (failures[kind] ?? 0) + 1;
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { latencies, failures, seconds: (performance.now() - start) / 1000 };
}

type Counts = { statements: number; transactions: number };

/** Counts the statements of a shop since the last reset, without those inside functions. */
async function countStatements(pool: pg.Pool, database: string): Promise<Counts> {
  // Statements of the superuser are this benchmark's own.
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

/**
 * A seeded generator of product numbers, without the product of the race. Every system and run gets the same sequence.
 */
function drawProducts(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 1 + Math.floor((state / 2 ** 32) * (products - 1));
  };
}

/**
 * Runs one round: at least `seconds`, and at least `minCheckouts` checkouts per client, because one checkout takes
 * seconds in a slow shop. The rate is all checkouts divided by the time until the last one ends.
 */
export async function runRound(
  system: System,
  observer: Observer,
  options: { clients: number; seconds: number; minCheckouts: number; seed: number },
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
  const nextProduct = (): number | null => {
    if (observer.signal.aborted || (performance.now() > end && begun >= options.minCheckouts * options.clients))
      return null;
    begun += 1;
    return draw();
  };
  const { latencies, failures, seconds } = await runClients(options.clients, nextProduct, system.checkout);
  const lastResponse = performance.now();
  await system.settle();
  const settleSeconds = (performance.now() - lastResponse) / 1000;
  const counts = await countStatements(pool, system.database);
  const partsAfter = (await system.parts?.()) ?? {};
  const checkouts = latencies.length;
  const perCheckout = (total: number): number => total / Math.max(1, checkouts);
  const differencePerCheckout = (after: Record<string, number>, before: Record<string, number>) =>
    Object.fromEntries(Object.entries(after).map(([name, ms]) => [name, perCheckout(ms - (before[name] ?? 0))]));
  return {
    checkouts,
    seconds,
    perSecond: checkouts / seconds,
    p50Ms: quantile(latencies, 0.5),
    p95Ms: quantile(latencies, 0.95),
    settleSeconds,
    requests: perCheckout(system.requests() - requests),
    statements: perCheckout(counts.statements),
    transactionStatements: perCheckout(counts.transactions),
    serverCpuMs: perCheckout((await system.cpu()) - cpu),
    postgresCpuMs: perCheckout((await observer.postgresCpu()) - postgresCpu),
    databaseBytes: perCheckout((await sizeOf(pool, system.database)) - bytes),
    parts: differencePerCheckout(partsAfter, parts),
    waits: differencePerCheckout(system.waits?.() ?? {}, waits),
    slowest: (await findSlowest(pool, system.database)).map((statement) => ({
      ...statement,
      calls: perCheckout(statement.calls),
      ms: perCheckout(statement.ms),
    })),
    failures,
  };
}

/** Lets many buyers order the same product at once. It has fewer units than buyers. */
export async function runRace(
  system: System,
  observer: Observer,
  options: { clients: number; buyers: number; units: number },
): Promise<Race> {
  await system.stock(options.units);
  const before = await system.sold();
  let begun = 0;
  const nextProduct = (): number | null => (observer.signal.aborted || ++begun > options.buyers ? null : products);
  const { latencies, failures, seconds } = await runClients(options.clients, nextProduct, system.checkout);
  await system.settle();
  const sold = (await system.sold()) - before;
  return {
    buyers: options.buyers,
    units: options.units,
    sold,
    seconds,
    outcomes: { sold: latencies.length, ...failures },
  };
}

/** Resolves when a shop has sent no statement to its database for a second. */
export async function untilIdle(pool: pg.Pool, database: string): Promise<void> {
  for (let last = -1; ; await sleep(1000)) {
    const { statements } = await countStatements(pool, database);
    if (statements === last) return;
    last = statements;
  }
}
