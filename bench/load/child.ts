import autocannon from 'autocannon';
import { percentile } from './figures.ts';
import type { Loaded, LoadJob } from './job.ts';
import { type Script, scriptOf } from './recipes.ts';

/** What autocannon keeps for a client while it goes through its requests. */
type Context = { script?: Script; began?: number; answer?: string; failed?: boolean };
type Sent = { method: string; path: string; headers: Record<string, string>; body?: string };

async function load(job: LoadJob): Promise<Loaded> {
  const makeScript = scriptOf(job.recipe, job.seed);
  const { steps } = makeScript();
  const isExpected = (status: number): boolean =>
    job.recipe.kind === 'refused' ? status === job.recipe.status : status >= 200 && status < 300;
  const latencies: number[] = [];
  const statuses: Record<string, number> = {};
  let requests = 0;
  let refused = 0;
  let refusal: string | undefined;
  let started = 0;
  let ended = 0;
  const refuse = (why: string): void => {
    refused++;
    refusal ??= why.slice(0, 500);
  };
  const step = (index: number) => ({
    setupRequest(request: Sent, context: Context): Sent | null {
      if (index === 0) {
        context.script = makeScript();
        context.began = performance.now();
        context.failed = false;
      } else if (context.failed) return null;
      const next = context.script?.next(index, context.answer ?? '');
      if (!next) return null;
      return { ...request, ...next, headers: { ...job.headers, ...next.headers } };
    },
    onResponse(status: number, body: string, context: Context): void {
      context.failed = !isExpected(status);
      if (context.failed) refuse(`${status} ${body}`);
      context.answer = body;
      if (context.failed || index < steps - 1) return;
      requests++;
      if (steps > 1) latencies.push(performance.now() - (context.began ?? 0));
    },
  });
  // Nothing to set up for the same request again: the generator's own CPU is the machine's as well.
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
      if (steps === 1) latencies.push(ms);
      if (!same) return;
      if (isExpected(status)) requests++;
      else refuse(String(status));
    });
    running.on('reqError', (error) => {
      // A request that is refused before its body is read loses its connection while that is still being sent.
      if (recipe.kind !== 'refused') refuse(`no answer: ${error.message}`);
    });
  });
  const sorted = Float64Array.from(latencies).sort();
  return {
    requests,
    begun: requests + ('seconds' in job.for ? job.clients : 0),
    refused,
    seconds: (ended - started) / 1000,
    p50: percentile(sorted, 50),
    p95: percentile(sorted, 95),
    p99: percentile(sorted, 99),
    statuses,
    refusal,
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
