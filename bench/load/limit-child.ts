import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { percentile } from './figures.ts';
import type { Loaded } from './job.ts';
import { limitSkus, limitStatement } from './limit-tables.ts';
import { randomFrom } from './recipes.ts';

export type LimitJob = {
  url: string;
  clients: number;
  seconds: number;
  hot: boolean;
  seed: number;
  /** How many statements a second all clients send together. Undefined: as many as they can. */
  rate: number | undefined;
};

async function load(job: LimitJob): Promise<Loaded> {
  const clients = await Promise.all(
    Array.from({ length: job.clients }, async () => {
      const client = new pg.Client(job.url);
      await client.connect();
      return client;
    }),
  );
  const random = randomFrom(job.seed);
  const latencies: number[] = [];
  const began = performance.now();
  const end = began + job.seconds * 1000;
  const msBetween = job.rate === undefined ? 0 : (job.clients * 1000) / job.rate;
  const runStatements = async (client: pg.Client): Promise<void> => {
    let due = began + random() * msBetween;
    for (;;) {
      if (due > performance.now()) await sleep(due - performance.now());
      const now = performance.now();
      if (now >= end) break;
      const values = [`s${job.hot ? 1 : 1 + Math.floor(random() * limitSkus)}`, `c${Math.floor(random() * 1_000)}`];
      // With a name, each connection prepares the statement: it is parsed and planned once.
      await client.query({ name: 'order', text: limitStatement, values, rowMode: 'array' });
      latencies.push(performance.now() - now);
      due += msBetween;
    }
  };
  await Promise.all(clients.map(runStatements));
  const seconds = (performance.now() - began) / 1000;
  await Promise.all(clients.map((client) => client.end()));
  const sorted = Float64Array.from(latencies).sort();
  const [p50, p95, p99] = [50, 95, 99].map((percent) => percentile(sorted, percent));
  return {
    requests: sorted.length,
    begun: sorted.length,
    failed: 0,
    seconds,
    p50: p50 ?? Number.NaN,
    p95: p95 ?? Number.NaN,
    p99: p99 ?? Number.NaN,
    statuses: {},
    firstFailure: undefined,
  };
}

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => undefined);
process.on('disconnect', () => process.exit(0));
process.on('message', (job: LimitJob) => {
  load(job).then(
    (loaded) => process.send?.({ loaded }),
    (error: unknown) => process.send?.({ failed: error instanceof Error ? error.stack : String(error) }),
  );
});
