import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { build } from 'esbuild';
import { interruptWhenWeDie, isGoneWithin, signal } from '../dev/process.ts';

/** What wrangler.toml says of the Worker, in Miniflare's words. */
export type WorkerSettings = {
  compatibilityDate: string;
  compatibilityFlags: string[];
  bindings: Record<string, string>;
  queueProducers: Record<string, { queueName: string }>;
  queueConsumers: Record<string, { maxBatchSize?: number; maxRetries?: number }>;
};

export type WorkerdOptions = {
  /** A folder for configuration and bundles. */
  dir: string;
  /** Where wrangler has put the Worker. */
  bundle: string;
  settings: WorkerSettings;
  variables: Record<string, string>;
  /** Other Workers with the same variables: name and bundled file. */
  others: Record<string, string>;
  inspect: boolean;
  log: string;
  limits: Limits;
};

/** Requests in 10 seconds that the rate limiters let through. Without a number a limiter refuses nobody. */
export type Limits = { key?: number; address?: number };

export type Workerd = { pid: number; ports: Record<string, number>; stop: () => Promise<void> };

/** Consumers of one queue at a time; Cloudflare starts more as a backlog grows. */
const concurrency = 2;

const text = (value: string): string => JSON.stringify(value);
const list = (items: string[]): string => `[${items.join(', ')}]`;
const own = (name: string): string => join(import.meta.dirname, `edge-${name}.ts`);

/** Bundles a TypeScript file into one module for workerd. */
export async function bundleModule(entry: string, outfile: string): Promise<void> {
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2024',
    conditions: ['workerd', 'worker', 'browser'],
    external: ['node:*', 'cloudflare:*'],
    logLevel: 'error',
  });
}

/** The configuration of `workerd serve`: the store, what stands in for Cloudflare around it, and sockets of their own. */
export function configOf(options: WorkerdOptions): string {
  const { settings, variables, others, limits } = options;
  const { compatibilityDate, compatibilityFlags, queueProducers, queueConsumers } = settings;
  const texts = (of: Record<string, string>): string[] =>
    Object.entries(of).map(([name, value]) => `(name = ${text(name)}, text = ${text(value)})`);
  const service = (name: string, file: string, bindings: string[], flags: string[], more = ''): string =>
    `(name = ${text(name)}, worker = (modules = [(name = "index.js", esModule = embed ${text(file)})],
      compatibilityDate = ${text(compatibilityDate)}, compatibilityFlags = ${list(flags.map(text))},
      bindings = ${list(bindings)}${more}))`;
  const handlers = ['service_binding_extra_handlers'];
  const queues = Object.values(queueProducers).map(({ queueName }) => {
    const { maxBatchSize = 10, maxRetries = 3 } = queueConsumers[queueName] ?? {};
    const json = JSON.stringify({ name: queueName, maxBatchSize, maxRetries, concurrency });
    const bindings = [`(name = "SETTINGS", json = ${text(json)})`, '(name = "CONSUMER", service = "store")'];
    return service(queueName, 'edge-queue.js', bindings, handlers);
  });
  const producers = Object.entries(queueProducers).map(
    ([name, { queueName }]) => `(name = ${text(name)}, queue = ${text(queueName)})`,
  );
  const limiter = (name: string, requests: number | undefined): string => {
    const inner = `(name = "LIMIT", json = ${text(JSON.stringify({ requests, seconds: 10 }))})`;
    const more = requests === undefined ? '' : `, innerBindings = [${inner}]`;
    return `(name = ${text(name)}, wrapped = (moduleName = "bench:limit"${more}))`;
  };
  const limiters = [
    limiter('KEY_LIMIT', limits.key),
    ...(limits.address === undefined ? [] : [limiter('ADDRESS_LIMIT', limits.address)]),
  ];
  const store = [...texts({ ...settings.bindings, ...variables }), ...producers, ...limiters];
  const socket = (name: string): string =>
    `(name = ${text(name)}, address = "127.0.0.1:0", http = (), service = ${text(name)})`;
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = ${list([
    `(name = "internet", network = (allow = ["public", "private", "local"]))`,
    service('store', 'bundle/index.js', store, compatibilityFlags, ', cacheApiOutbound = "cache"'),
    service('cache', 'edge-cache.js', [], []),
    service('cron', 'edge-cron.js', ['(name = "STORE", service = "store")'], handlers),
    ...queues,
    ...Object.keys(others).map((name) => service(name, `${name}.js`, texts(variables), compatibilityFlags)),
  ])},
  sockets = ${list(['store', 'cron', ...Object.keys(others)].map(socket))},
  extensions = [(modules = [(name = "bench:limit", internal = true, esModule = embed "edge-limit.js")])],
);
`;
}

/**
 * `workerd serve` with the production bundle. The queues, the cache and the rate limiter around it are ours and live in
 * memory: those of Miniflare keep their state in SQLite behind Durable Objects, which costs several times what the
 * store's own code does, and nothing of it is there in production.
 */
export async function startWorkerd(options: WorkerdOptions): Promise<Workerd> {
  for (const name of ['cache', 'limit', 'queue', 'cron']) {
    await bundleModule(own(name), join(options.dir, `edge-${name}.js`));
  }
  const file = join(options.dir, 'workerd.capnp');
  await writeFile(file, configOf(options), { mode: 0o600 });
  const require = createRequire(createRequire(import.meta.url).resolve('miniflare'));
  const { default: program } = require('workerd') as { default: string };
  const log = openSync(options.log, 'a');
  const inspect = options.inspect ? ['--inspector-addr=127.0.0.1:0'] : [];
  const child = spawn(program, ['serve', '--experimental', '--control-fd=3', ...inspect, file], {
    stdio: ['ignore', log, log, 'pipe'],
    detached: true,
  });
  const { pid } = child;
  if (pid === undefined) throw new Error('workerd did not start');
  const callOff = interruptWhenWeDie(pid, {});
  const wanted = 2 + Object.keys(options.others).length + inspect.length;
  const ports: Record<string, number> = {};
  await new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`workerd ended with ${code}: see ${options.log}`)));
    createInterface({ input: child.stdio[3] as Readable }).on('line', (line) => {
      const { socket = 'inspector', port } = JSON.parse(line) as { socket?: string; port: number };
      ports[socket] = port;
      if (Object.keys(ports).length === wanted) resolve();
    });
  });
  return {
    pid,
    ports,
    async stop() {
      callOff();
      signal(pid, 'SIGTERM');
      if (!(await isGoneWithin(pid, 3_000))) signal(pid, 'SIGKILL');
    },
  };
}
