import { join } from 'node:path';
import { convertV4MiniflareOptions, Miniflare, type V4MiniflareOptions } from 'miniflare';

// The Worker of a chaos run, as a process of its own that can be killed. It is started by worker-process.ts.

export type WorkerStart = {
  bundle: string;
  port: number;
  /** What wrangler makes of wrangler.toml for Miniflare. */
  options: Record<string, unknown>;
  bindings: Record<string, string>;
};

export type WorkerOrder =
  | { id: number; kind: 'start'; start: WorkerStart }
  | { id: number; kind: 'cron'; expression: string; at: number }
  | { id: number; kind: 'queue'; binding: string; messages: unknown[] };

export type WorkerReport = { id: number; error?: string };

type Scheduled = { scheduled: (event: { cron: string; scheduledTime: Date }) => Promise<{ outcome: string }> };

let miniflare: Miniflare | undefined;

async function start({ bundle, port, options, bindings }: WorkerStart): Promise<void> {
  const settings = {
    ...options,
    host: '127.0.0.1',
    port,
    name: 'fusioncommerce',
    modules: true,
    modulesRoot: bundle,
    scriptPath: join(bundle, 'index.js'),
    bindings: { ...(options.bindings as Record<string, string>), ...bindings },
    handleStructuredLogs: ({ message }: { message: string }) => process.stdout.write(`${message}\n`),
  } as V4MiniflareOptions;
  miniflare = new Miniflare(convertV4MiniflareOptions(settings));
  await miniflare.ready;
}

async function obey(order: WorkerOrder): Promise<void> {
  if (order.kind === 'start') return start(order.start);
  if (miniflare === undefined) throw new Error('not started');
  if (order.kind === 'queue') {
    const queue = await miniflare.getQueueProducer(order.binding);
    await queue.sendBatch(order.messages.map((body) => ({ body, contentType: 'json' as const })));
    return;
  }
  const worker = (await miniflare.getWorker()) as unknown as Scheduled;
  const { outcome } = await worker.scheduled({ cron: order.expression, scheduledTime: new Date(order.at) });
  if (outcome !== 'ok') throw new Error(`the cron ended with ${outcome}`);
}

process.on('message', (order: WorkerOrder) => {
  const report = (error?: string) => {
    const said: WorkerReport = error === undefined ? { id: order.id } : { id: order.id, error };
    if (process.connected) process.send?.(said);
  };
  obey(order).then(
    () => report(),
    (error: Error) => report(error.message),
  );
});

/** Whoever started us is gone: nothing is left behind, workerd included. */
process.on('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
