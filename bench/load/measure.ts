import { setTimeout as sleep } from 'node:timers/promises';
import { localJobSecret } from '../../dev/postgres/job-secrets.ts';
import type { Cpu, Fixture } from '../fixture/fixture.ts';
import type { Bench, Case, Sinks, Turn } from './cases.ts';
import type { Sample } from './figures.ts';

const longestMs = 120_000;
const busy = (cpu: Cpu): number => cpu.worker + cpu.bridge + cpu.postgres + cpu.kafka + cpu.stripe;

/** Waits until what was begun is done and no part has more to do. Throws after two minutes. */
async function rest(fixture: Fixture): Promise<void> {
  const end = Date.now() + longestMs;
  let before = busy(await fixture.cpu());
  for (let calm = 0; calm < 2; ) {
    if (Date.now() > end) throw new Error('the store did not come to rest within two minutes');
    await sleep(150);
    const now = busy(await fixture.cpu());
    calm = now - before <= 30 ? calm + 1 : 0;
    before = now;
  }
}

const heldSinks: Record<Sinks, string[]> = { none: ['kafka', 'queue'], kafka: ['queue'], all: [] };

/** Holds back the deliveries of a case that are not measured with it, as if those sinks were away. */
async function holdBack(fixture: Fixture, sinks: Sinks): Promise<void> {
  await fixture.pool.query(
    `update platform.sinks set failures = 0,
       paused_until = case when sink = any($1) then 'infinity'::timestamptz else '-infinity' end`,
    [heldSinks[sinks]],
  );
}

async function discardHeld(fixture: Fixture, sinks: Sinks): Promise<void> {
  await fixture.pool.query('delete from platform.outbox where sink = any($1)', [heldSinks[sinks]]);
  await fixture.pool.query('vacuum platform.outbox');
}

/**
 * Runs a case once. CPU and calls are those from its first request until all that it has caused is done: the relay and
 * the consumers count, as far as they are not held back. Throws if any answer is not 2xx.
 */
export async function measure(bench: Bench, what: Case, turn: Turn): Promise<Sample> {
  const { fixture } = bench;
  await holdBack(fixture, what.sinks);
  const prepared = (await what.prepare?.(bench, turn)) ?? [];
  await fixture.pool.query('checkpoint'); // else one case pays for what another has written
  await rest(fixture);
  const [cpu, { calls }] = await Promise.all([fixture.cpu(), fixture.calls()]);
  const loaded = await what.run(bench, turn, prepared);
  await rest(fixture);
  const [cpuAfter, { calls: callsAfter }] = await Promise.all([fixture.cpu(), fixture.calls()]);
  await discardHeld(fixture, what.sinks);
  if (loaded.refused > 0 || loaded.requests === 0) {
    const statuses = JSON.stringify(loaded.statuses);
    throw new Error(`${what.name}: ${loaded.refused} requests were refused (${statuses}): ${loaded.refusal}`);
  }
  const { requests, begun, refused, seconds, p50, p95, p99 } = loaded;
  return {
    ...{ requests, begun, refused, seconds, p50, p95, p99 },
    cpu: {
      worker: cpuAfter.worker - cpu.worker,
      bridge: cpuAfter.bridge - cpu.bridge,
      postgres: cpuAfter.postgres - cpu.postgres,
    },
    calls: callsAfter - calls,
  };
}

/** Statements that PostgreSQL ran, those inside of functions too; not those of the superuser, who is us. */
const counted = `
  select coalesce(sum(s.calls), 0)::int as statements,
    coalesce(sum(s.calls) filter (where s.toplevel and s.query like '%platform.relay(%'), 0)::int as relays
  from pg_stat_statements s join pg_roles r on r.oid = s.userid where not r.rolsuper`;

const idleRelay = `select platform.relay('{"jobSecret": "${localJobSecret}"}', '{"sink": "kafka",
  "lease": "bench", "limit": 500, "bytes": 1000000, "seconds": 60, "delivered": [], "failed": [], "returned": [], "paused": false}')`;

/** How many statements a request of each case makes PostgreSQL run, by case; the relay's apart, since it is held back. */
export async function countStatements(
  bench: Bench,
  cases: readonly Case[],
  seed: number,
): Promise<Map<string, number>> {
  const { pool } = bench.fixture;
  const read = async (): Promise<{ statements: number; relays: number }> =>
    (await pool.query<{ statements: number; relays: number }>(counted)).rows[0] ?? { statements: 0, relays: 0 };
  const track = async (value: string): Promise<void> => {
    await pool.query(`alter system set pg_stat_statements.track = '${value}'`);
    await pool.query('select pg_reload_conf()');
    await sleep(300);
  };
  const counts = new Map<string, number>();
  const worker = new (await import('pg')).default.Client(bench.fixture.workerUrl);
  await worker.connect();
  await track('all');
  try {
    await holdBack(bench.fixture, 'none');
    await worker.query(idleRelay);
    await pool.query('select pg_stat_statements_reset()');
    for (let time = 0; time < 10; time++) await worker.query(idleRelay);
    const idle = (await read()).statements / 10;
    for (const [index, each] of cases.entries()) {
      if (!each.counted) continue;
      const turn = { clients: 1, for: { amount: 20 }, seed: seed + index };
      const prepared = (await each.prepare?.(bench, turn)) ?? [];
      await rest(bench.fixture);
      await pool.query('select pg_stat_statements_reset()');
      await each.run(bench, turn, prepared);
      await rest(bench.fixture);
      const { statements, relays } = await read();
      counts.set(each.name, (statements - relays * idle) / turn.for.amount);
      await discardHeld(bench.fixture, 'none');
    }
  } finally {
    await track('top');
    await worker.end();
  }
  return counts;
}
