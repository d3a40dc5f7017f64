import { setTimeout as sleep } from 'node:timers/promises';
import { localJobSecret } from '../../dev/postgres/job-secrets.ts';
import type { Cpu, Fixture } from '../fixture/fixture.ts';
import type { Bench, Case, Sinks, Turn } from './case.ts';
import type { Sample } from './figures.ts';

const timeoutMs = 120_000;
const totalCpu = (cpu: Cpu): number => cpu.worker + cpu.bridge + cpu.postgres + cpu.kafka + cpu.stripe;

/** Waits until no part of the fixture uses CPU any more. Throws after two minutes. */
async function waitUntilIdle(fixture: Fixture): Promise<void> {
  const end = Date.now() + timeoutMs;
  let before = totalCpu(await fixture.cpu());
  for (let idleChecks = 0; idleChecks < 2; ) {
    if (Date.now() > end) throw new Error('the store still uses CPU two minutes after the last request');
    await sleep(150);
    const now = totalCpu(await fixture.cpu());
    idleChecks = now - before <= 30 ? idleChecks + 1 : 0;
    before = now;
  }
}

const pausedSinks: Record<Sinks, string[]> = { none: ['kafka', 'queue'], kafka: ['queue'], all: [] };

/** Pauses the sinks whose deliveries are not measured with a case, as if they were unavailable. */
export async function pauseSinks(fixture: Fixture, sinks: Sinks): Promise<void> {
  await fixture.pool.query(
    `update platform.sinks set failures = 0,
       paused_until = case when sink = any($1) then 'infinity'::timestamptz else '-infinity' end`,
    [pausedSinks[sinks]],
  );
}

/** Deletes the events that a case has left in the outbox for paused sinks. */
async function deletePaused(fixture: Fixture, sinks: Sinks): Promise<void> {
  await fixture.pool.query('delete from platform.outbox where sink = any($1)', [pausedSinks[sinks]]);
  await fixture.pool.query('vacuum platform.outbox');
}

/**
 * Runs a case once. CPU and calls are counted from its first request until the store is idle again, so the relay and
 * the consumers count unless their sinks are paused. Throws if a response has an unexpected status.
 */
export async function measure(bench: Bench, benchCase: Case, turn: Turn): Promise<Sample> {
  const { fixture } = bench;
  await pauseSinks(fixture, benchCase.sinks);
  const prepared = (await benchCase.prepare?.(bench, turn)) ?? {};
  await fixture.pool.query('checkpoint'); // otherwise this case would pay for the writes of the previous one
  await waitUntilIdle(fixture);
  const [cpu, { calls }] = await Promise.all([fixture.cpu(), fixture.calls()]);
  const loaded = await benchCase.run(bench, turn, prepared);
  await waitUntilIdle(fixture);
  const [cpuAfter, { calls: callsAfter }] = await Promise.all([fixture.cpu(), fixture.calls()]);
  await deletePaused(fixture, benchCase.sinks);
  if (loaded.failed > 0 || loaded.requests === 0) {
    const statuses = JSON.stringify(loaded.statuses);
    throw new Error(
      `case ${benchCase.name}: ${loaded.failed} requests failed (responses by status: ${statuses}). The first: ${loaded.firstFailure}`,
    );
  }
  const { requests, begun, failed, seconds, p50, p95, p99 } = loaded;
  return {
    ...{ requests, begun, failed, seconds, p50, p95, p99 },
    cpu: {
      worker: cpuAfter.worker - cpu.worker,
      bridge: cpuAfter.bridge - cpu.bridge,
      postgres: cpuAfter.postgres - cpu.postgres,
    },
    calls: callsAfter - calls,
  };
}

/**
 * Statements that PostgreSQL ran, including those inside functions, without those of the superuser (this benchmark).
 */
const countSql = `
  select coalesce(sum(s.calls), 0)::int as statements,
    coalesce(sum(s.calls) filter (where s.toplevel and s.query like '%platform.relay(%'), 0)::int as relays
  from pg_stat_statements s join pg_roles r on r.oid = s.userid where not r.rolsuper`;

const idleRelay = `select platform.relay('{"jobSecret": "${localJobSecret}"}', '{"sink": "kafka",
  "lease": "bench", "limit": 500, "bytes": 1000000, "seconds": 60, "delivered": [], "failed": [], "returned": [], "paused": false}')`;

/**
 * The number of SQL statements per request, by case. Statements of the relay are subtracted, since its sinks are
 * paused.
 */
export async function countStatements(
  bench: Bench,
  cases: readonly Case[],
  seed: number,
): Promise<Map<string, number>> {
  const { pool } = bench.fixture;
  const read = async (): Promise<{ statements: number; relays: number }> =>
    (await pool.query<{ statements: number; relays: number }>(countSql)).rows[0] ?? { statements: 0, relays: 0 };
  const setTracking = async (value: string): Promise<void> => {
    await pool.query(`alter system set pg_stat_statements.track = '${value}'`);
    await pool.query('select pg_reload_conf()');
    await sleep(300);
  };
  const counts = new Map<string, number>();
  const worker = new (await import('pg')).default.Client(bench.fixture.workerUrl);
  await worker.connect();
  await setTracking('all');
  try {
    await pauseSinks(bench.fixture, 'none');
    await worker.query(idleRelay);
    await pool.query('select pg_stat_statements_reset()');
    for (let run = 0; run < 10; run++) await worker.query(idleRelay);
    const statementsPerRelay = (await read()).statements / 10;
    for (const [index, benchCase] of cases.entries()) {
      if (!benchCase.counted) continue;
      const turn = { clients: 1, for: { amount: 20 }, seed: seed + index };
      const prepared = (await benchCase.prepare?.(bench, turn)) ?? {};
      await waitUntilIdle(bench.fixture);
      await pool.query('select pg_stat_statements_reset()');
      await benchCase.run(bench, turn, prepared);
      await waitUntilIdle(bench.fixture);
      const { statements, relays } = await read();
      counts.set(benchCase.name, (statements - relays * statementsPerRelay) / turn.for.amount);
      await deletePaused(bench.fixture, 'none');
    }
  } finally {
    await setTracking('top');
    await worker.end();
  }
  return counts;
}
