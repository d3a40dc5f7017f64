import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { repository } from '../../dev/platform/settings.ts';
import type { Bench, Case, Turn } from './case.ts';
import type { Loaded } from './job.ts';

/** Runs `npm run replay` against the fixture as a new tenant. Throws with its last output if its audit fails. */
async function replay(bench: Bench, turn: Turn, file: string): Promise<Loaded> {
  const { fixture } = bench;
  const tenant = `replay-${turn.seed}`;
  const args = [
    ...[
      join(repository, 'bench', 'replay', 'main.ts'),
      file,
      '--url',
      fixture.api,
      '--key',
      await fixture.createKey(tenant),
    ],
    ...[
      '--database-url',
      fixture.databaseUrl,
      '--kafka-url',
      fixture.kafkaUrl ?? '',
      '--concurrency',
      String(turn.clients),
    ],
    ...(turn.warmUp ? ['--limit', '100'] : []),
  ];
  const child = spawn(process.execPath, ['--no-warnings', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-2_000);
    });
  }
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`the replay of ${file} ended with code ${code}: ${output}`);
  const { rows } = await fixture.pool.query<{ orders: number; seconds: number }>(
    `select count(*)::int as orders, extract(epoch from max(created_at) - min(created_at))::float8 as seconds
     from orders.orders where tenant_id = $1`,
    [tenant],
  );
  const { orders = 0, seconds = 0 } = rows[0] ?? {};
  const noLatencies = { p50: Number.NaN, p95: Number.NaN, p99: Number.NaN };
  return {
    ...noLatencies,
    requests: orders,
    begun: orders,
    failed: 0,
    seconds,
    statuses: {},
    firstFailure: undefined,
  };
}

/**
 * Real invoices, timed from the first order to the last. CPU and database calls cover the whole replay, with the import
 * of the catalog, the cancellations and the audit.
 */
export const replayCase: Case = {
  name: 'replay',
  title: 'orders from a real file (--file)',
  against: ['order-25'],
  sinks: 'all',
  counted: false,
  run(bench, turn) {
    if (bench.file === undefined) throw new Error('the case "replay" needs a file of orders: name it with --file');
    return replay(bench, turn, bench.file);
  },
};
