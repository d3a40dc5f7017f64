import autocannon from 'autocannon';
import { percentile } from './figures.ts';
import type { Loaded, LoadJob } from './job.ts';
import { type Script, scriptOf } from './recipes.ts';

/** The state that autocannon keeps for each client from request to request. */
type Context = { script?: Script; began?: number; lastBody?: string; failed?: boolean };
type OutgoingRequest = { method: string; path: string; headers: Record<string, string>; body?: string };

async function load(job: LoadJob): Promise<Loaded> {
  const makeScript = scriptOf(job.recipe, job.seed);
  const { steps, countsSteps = false } = makeScript();
  const isExpected = (status: number): boolean =>
    job.recipe.kind === 'rejected' ? status === job.recipe.status : status >= 200 && status < 300;
  const latencies: number[] = [];
  const statuses: Record<string, number> = {};
  let requests = 0;
  let failed = 0;
  let firstFailure: string | undefined;
  let started = 0;
  let ended = 0;
  const countFailure = (reason: string): void => {
    failed++;
    firstFailure ??= reason.slice(0, 500);
  };
  const step = (index: number) => ({
    setupRequest(request: OutgoingRequest, context: Context): OutgoingRequest | null {
      if (index === 0) {
        context.script = makeScript();
        context.began = performance.now();
        context.failed = false;
      } else if (context.failed) return null;
      const next = context.script?.next(index, context.lastBody ?? '');
      if (!next) return null;
      return { ...request, ...next, headers: { ...job.headers, ...next.headers } };
    },
    onResponse(status: number, body: string, context: Context): void {
      context.failed = !isExpected(status);
      if (context.failed) countFailure(`${status} ${body}`);
      context.lastBody = body;
      if (context.failed || (index < steps - 1 && !countsSteps)) return;
      requests++;
      if (steps > 1 && !countsSteps) latencies.push(performance.now() - (context.began ?? 0));
    },
  });
  // Identical requests need no setup, which saves CPU: the load generator shares the machine with the Worker.
  const { recipe } = job;
  const same = recipe.kind === 'same';
  const requestsToSend = same
    ? [{ method: recipe.method, path: recipe.path, headers: job.headers }]
    : Array.from({ length: steps }, (_, index) => step(index));
  await new Promise<void>((resolve, reject) => {
    const running = autocannon(
      {
        url: job.url,
        connections: job.clients,
        timeout: 60,
        sampleInt: 50,
        ...('seconds' in job.for ? { duration: job.for.seconds } : { amount: job.for.amount * steps }),
        requests: requestsToSend as autocannon.Request[],
      },
      (error) => (error ? reject(error) : resolve()),
    );
    started = performance.now();
    running.on('response', (_client, status, _bytes, ms) => {
      ended = performance.now();
      statuses[status] = (statuses[status] ?? 0) + 1;
      if (steps === 1 || countsSteps) latencies.push(ms);
      if (!same) return;
      if (isExpected(status)) requests++;
      else countFailure(String(status));
    });
    running.on('reqError', (error) => {
      // The server may close the connection of a rejected request while its body is still being sent.
      if (recipe.kind !== 'rejected') countFailure(`no response: ${error.message}`);
    });
  });
  const sorted = Float64Array.from(latencies).sort();
  return {
    requests,
    begun: requests + ('seconds' in job.for ? job.clients : 0),
    failed,
    seconds: (ended - started) / 1000,
    p50: percentile(sorted, 50),
    p95: percentile(sorted, 95),
    p99: percentile(sorted, 99),
    statuses,
    firstFailure,
  };
}

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => undefined);
process.on('disconnect', () => process.exit(0));
process.on('message', (job: LoadJob) => {
  load(job).then(
    (loaded) => process.send?.({ loaded }),
    (error: unknown) => process.send?.({ failed: error instanceof Error ? error.stack : String(error) }),
  );
});
