import { dirname, join } from 'node:path';
import type { V4MiniflareOptions } from 'miniflare';
import { startKafka } from '../dev/kafka.ts';
import { startNeonBridge } from '../dev/neon.ts';
import { startStripe } from '../dev/stripe.ts';
import { topics } from '../src/events.ts';

/** What a part is told when it starts. Sent over IPC: a command line can be read by everyone. */
export type PartOptions =
  | { part: 'bridge'; poolSize: number }
  | { part: 'kafka'; dir: string }
  | { part: 'stripe' }
  | {
      part: 'worker';
      bundle: string;
      variables: Record<string, string>;
      /** Other Workers of the same runtime: their name, and the file of their one module. */
      others: Record<string, string>;
      inspect: boolean;
    };

export type PartReady = { urls: Record<string, string> };
export type PartQuestion = { id: number; ask: string; expression?: string; at?: number };
export type PartAnswer = { id: number; answer?: unknown; error?: string };

type Part = {
  urls: Record<string, string>;
  answer: (question: PartQuestion) => Promise<unknown>;
  close: () => Promise<void>;
};

const nothing = async (): Promise<unknown> => null;

/** Requests of one key in 10 s: no benchmark reaches it, and each request still asks the limiter. */
const keyLimit = 1_000_000_000;

async function startWorkers(options: Extract<PartOptions, { part: 'worker' }>): Promise<Part> {
  // Here, since they take a second to load, which the other parts need not spend.
  const { convertV4MiniflareOptions, Miniflare } = await import('miniflare');
  const { unstable_getMiniflareWorkerOptions } = await import('wrangler');
  // The bundle is made: what tells how to bundle does not belong to a Worker that runs.
  const { modulesRules: _rules, ...own } = unstable_getMiniflareWorkerOptions('wrangler.toml').workerOptions;
  // A socket of each Worker's own: Miniflare's entry Worker, which is not in production, is not in the way.
  const socket = { unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }] };
  const store = {
    ...own,
    ...socket,
    name: 'fusioncommerce',
    modules: true,
    modulesRoot: options.bundle,
    scriptPath: join(options.bundle, 'index.js'),
    bindings: { ...(own.bindings as Record<string, string>), ...options.variables },
    ratelimits: { KEY_LIMIT: { namespace_id: '1', simple: { limit: keyLimit, period: 10 as const } } },
  };
  const others = Object.entries(options.others).map(([name, scriptPath]) => ({
    ...socket,
    name,
    modules: true,
    modulesRoot: dirname(scriptPath),
    scriptPath,
    compatibilityDate: own.compatibilityDate,
    compatibilityFlags: own.compatibilityFlags,
    bindings: options.variables,
  }));
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: '127.0.0.1',
      workers: [store, ...others],
      ...(options.inspect ? { inspectorPort: 0 } : {}),
    } as V4MiniflareOptions),
  );
  await miniflare.ready;
  const urls: Record<string, string> = {};
  for (const name of ['fusioncommerce', ...Object.keys(options.others)]) {
    urls[name] = (await miniflare.unsafeGetDirectURL(name)).href.replace(/\/$/, '');
  }
  if (options.inspect) urls.inspector = (await miniflare.getInspectorURL()).href;
  type Scheduled = { scheduled: (event: { cron: string; scheduledTime: Date }) => Promise<{ outcome: string }> };
  return {
    urls,
    async answer({ expression = '* * * * *', at = Date.now() }) {
      const worker = (await miniflare.getWorker('fusioncommerce')) as unknown as Scheduled;
      return (await worker.scheduled({ cron: expression, scheduledTime: new Date(at) })).outcome;
    },
    close: () => miniflare.dispose(),
  };
}

async function start(options: PartOptions): Promise<Part> {
  switch (options.part) {
    case 'bridge': {
      const bridge = await startNeonBridge({ port: 0, poolSize: options.poolSize });
      const answer = async () => ({ calls: bridge.calls, statements: bridge.statements });
      return { urls: { bridge: bridge.url }, answer, close: bridge.close };
    }
    case 'kafka': {
      const kafka = await startKafka({
        port: 0,
        dir: options.dir,
        username: 'dev',
        password: 'dev',
        topics: Object.entries(topics).map(([name, { partitions, retentionDays }]) => ({
          name,
          partitions,
          retentionMs: retentionDays * 86_400_000,
        })),
      });
      return { urls: { kafka: kafka.url }, answer: nothing, close: kafka.close };
    }
    case 'stripe': {
      const stripe = await startStripe({ port: 0, secretKey: 'sk_test_dev', webhookSecret: 'whsec_dev', asyncMs: 50 });
      return { urls: { stripe: stripe.url }, answer: nothing, close: stripe.close };
    }
    case 'worker':
      return startWorkers(options);
  }
}

const say = (message: PartReady | PartAnswer | { failed: string }): void => {
  if (process.connected) process.send?.(message);
};

let running: Promise<Part> | undefined;

async function end(): Promise<void> {
  const part = await running?.catch(() => undefined);
  await part?.close().catch(() => undefined);
  process.exit(0);
}

// Ctrl-C in a terminal reaches every process of the group; the rig says when it is our turn. It may also just be gone.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => undefined);
process.on('disconnect', () => void end());
process.once('message', (options: PartOptions) => {
  running = start(options);
  running.then(
    (part) => {
      process.on('message', (question: PartQuestion) => {
        part.answer(question).then(
          (answer) => say({ id: question.id, answer }),
          (error: unknown) => say({ id: question.id, error: String(error) }),
        );
      });
      say({ urls: part.urls });
    },
    (error: unknown) => {
      say({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    },
  );
});
