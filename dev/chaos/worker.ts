import { join } from 'node:path';
import { convertV4MiniflareOptions, Miniflare, type V4MiniflareOptions } from 'miniflare';

// The child process that runs the Worker of a chaos run, so that the run can kill it. Started by worker-process.ts.

export type WorkerStart = {
  bundle: string;
  port: number;
  /** Miniflare's options, as wrangler derives them from wrangler.toml. */
  options: Record<string, unknown>;
  bindings: Record<string, string>;
};

export type WorkerCommand =
  | { id: number; kind: 'start'; start: WorkerStart }
  | { id: number; kind: 'cron'; expression: string; at: number }
  | { id: number; kind: 'queue'; binding: string; messages: unknown[] };

export type WorkerResult = { id: number; error?: string };

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

async function execute(command: WorkerCommand): Promise<void> {
  if (command.kind === 'start') return start(command.start);
  if (miniflare === undefined) throw new Error('the Worker is not started');
  if (command.kind === 'queue') {
    const queue = await miniflare.getQueueProducer(command.binding);
    await queue.sendBatch(command.messages.map((body) => ({ body, contentType: 'json' as const })));
    return;
  }
  const worker = (await miniflare.getWorker()) as unknown as Scheduled;
  const { outcome } = await worker.scheduled({ cron: command.expression, scheduledTime: new Date(command.at) });
  if (outcome !== 'ok') throw new Error(`the cron ended with ${outcome}`);
}

process.on('message', (command: WorkerCommand) => {
  const respond = (error?: string) => {
    const result: WorkerResult = error === undefined ? { id: command.id } : { id: command.id, error };
    if (process.connected) process.send?.(result);
  };
  execute(command).then(
    () => respond(),
    (error: Error) => respond(error.message),
  );
});

/** The parent process is gone: end this process group, including workerd. */
process.on('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
