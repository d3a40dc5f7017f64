import { join } from 'node:path';
import { startKafka } from '../dev/kafka.ts';
import { startNeonBridge } from '../dev/neon.ts';
import { startStripe } from '../dev/stripe.ts';
import { topics } from '../src/events.ts';
import { type Limits, startWorkerd, type WorkerSettings } from './workerd.ts';

/** What a part is told when it starts. Sent over IPC: a command line can be read by everyone. */
export type PartOptions =
  | { part: 'bridge'; poolSize: number }
  | { part: 'kafka'; dir: string }
  | { part: 'stripe' }
  | {
      part: 'worker';
      /** Where the bundles are: the store's in `bundle`. */
      dir: string;
      log: string;
      variables: Record<string, string>;
      /** Other Workers of the same runtime: their name, and the file of their one module. */
      others: Record<string, string>;
      inspect: boolean;
      limits: Limits;
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

async function startWorkers(options: Extract<PartOptions, { part: 'worker' }>): Promise<Part> {
  // Here, since it takes a second to load, which the other parts need not spend.
  const { unstable_getMiniflareWorkerOptions } = await import('wrangler');
  const settings = unstable_getMiniflareWorkerOptions('wrangler.toml').workerOptions as unknown as WorkerSettings;
  const workerd = await startWorkerd({ ...options, bundle: join(options.dir, 'bundle'), settings });
  const { cron, ...ports } = workerd.ports;
  return {
    urls: Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, `http://127.0.0.1:${port}`])),
    async answer({ expression = '* * * * *', at = Date.now() }) {
      const query = new URLSearchParams({ cron: expression, at: String(at) });
      return (await fetch(`http://127.0.0.1:${cron}/?${query}`)).text();
    },
    close: workerd.stop,
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
