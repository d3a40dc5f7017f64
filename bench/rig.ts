import { type ChildProcess, execFile, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { createKey, createTenant, type Kind } from '../dev/api-keys.ts';
import { connectTo } from '../dev/database.ts';
import { addJobSecret, localJobSecret } from '../dev/job-secrets.ts';
import { asWorker, createDatabase } from '../dev/local-database.ts';
import { migrate } from '../dev/migrate.ts';
import { type Postgres, startPostgres } from '../dev/postgres.ts';
import { Progress } from '../dev/progress.ts';
import { repository } from '../dev/settings.ts';
import { readProcesses, sumTree } from './cpu.ts';
import type { PartAnswer, PartOptions, PartQuestion, PartReady } from './rig-part.ts';
import { bundleModule, type Limits } from './workerd.ts';

export type RigOptions = {
  /** Where it says what it is doing; the screen if not given. */
  progress?: Progress;
  /** Variables of the Worker, over what the rig sets. */
  variables?: Record<string, string>;
  /** false: no Kafka, and the relay finds it away; the queues go on. */
  kafka?: boolean;
  stripe?: boolean;
  /** Other Workers under the same workerd, with the same variables: name and TypeScript file. */
  workers?: Record<string, string>;
  /** Connections of the bridge to PostgreSQL; 20 if not given. */
  poolSize?: number;
  /** Opens workerd's inspector, for a CPU profile; it slows the Worker a little. */
  inspect?: boolean;
  /** Of the rate limiters; none refuses anybody if not given. */
  limits?: Limits;
};

/** CPU in milliseconds since each part started: `worker` is workerd alone, `postgres` all of its processes. */
export type Cpu = { worker: number; bridge: number; postgres: number; kafka: number; stripe: number };

export type Rig = {
  /** The Worker's own socket. */
  api: string;
  /** The other Workers' sockets, by their names. */
  workers: Record<string, string>;
  /** The database as its owner, as the Worker's role, and as the superuser, who sees every tenant. */
  databaseUrl: string;
  workerUrl: string;
  adminUrl: string;
  /** As the superuser. */
  pool: pg.Pool;
  postgres: Postgres;
  bridgeUrl: string;
  kafkaUrl: string | undefined;
  stripeUrl: string | undefined;
  inspectorUrl: string | undefined;
  /** Keys of the tenant `default` with every scope that their kind may have. */
  secretKey: string;
  publishableKey: string;
  /** Makes a key, and its tenant if it is not there. */
  key: (tenant: string, kind?: Kind, scopes?: string[]) => Promise<string>;
  cpu: () => Promise<Cpu>;
  /** HTTP calls to the database and statements in them, since the start. */
  calls: () => Promise<{ calls: number; statements: number }>;
  /** Fires a cron of the Worker as if at this time; resolves with how it ended. */
  cron: (expression?: string, at?: Date) => Promise<string>;
  /** Resolves when the outbox is empty and no hold is pending. */
  settled: () => Promise<void>;
  /** What the Worker has logged: a file of JSON lines. */
  workerLog: string;
  dir: string;
  /** Ends every part and removes the data. */
  stop: () => Promise<void>;
};

type Running = { child: ChildProcess; urls: Record<string, string>; ask: (question: object) => Promise<unknown> };

/** Starts a part in a process of its own, so that its CPU can be told apart. It ends when we do. */
async function startPart(options: PartOptions, stops: (() => Promise<void>)[]): Promise<Running> {
  const child = fork(join(import.meta.dirname, 'rig-part.ts'), {
    cwd: repository,
    execArgv: ['--no-warnings'],
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false' },
  });
  child.on('error', () => undefined); // a question to one that ends: whoever asks is told by `exited`
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  stops.push(async () => {
    if (child.connected) child.disconnect();
    const late = sleep(15_000, undefined, { ref: false }).then(() => child.kill('SIGKILL'));
    await Promise.race([exited, late]);
  });
  const waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>();
  const ready = new Promise<PartReady>((resolve, reject) => {
    child.once('message', (message: PartReady | { failed: string }) => {
      if ('failed' in message) reject(new Error(`${options.part}: ${message.failed}`));
      else resolve(message);
    });
    void exited.then(() => {
      const gone = new Error(`${options.part} has ended`);
      reject(gone);
      for (const { reject: give } of waiting.values()) give(gone);
    });
  });
  child.send(options);
  const { urls } = await ready;
  child.on('message', ({ id, answer, error }: PartAnswer) => {
    const asker = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) asker?.resolve(answer);
    else asker?.reject(new Error(error));
  });
  let asked = 0;
  const ask = (question: object): Promise<unknown> =>
    new Promise((resolve, reject) => {
      if (!child.connected) {
        reject(new Error(`${options.part} has ended`));
        return;
      }
      const id = ++asked;
      waiting.set(id, { resolve, reject });
      child.send({ ask: 'it', ...question, id } satisfies PartQuestion);
    });
  return { child, urls, ask };
}

/** The Worker as wrangler would upload it, and other Workers in the same way but without a wrangler.toml. */
async function bundleWorkers(dir: string, others: Record<string, string>): Promise<Record<string, string>> {
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false' };
  const args = ['wrangler', 'deploy', '--dry-run', '--outdir', join(dir, 'bundle')];
  const wrangler = promisify(execFile)('npx', args, { env, cwd: repository });
  const files: Record<string, string> = {};
  for (const [name, entry] of Object.entries(others)) {
    const outfile = join(dir, `${name}.js`);
    await bundleModule(entry, outfile);
    files[name] = outfile;
  }
  await wrangler;
  return files;
}

/**
 * Starts what a benchmark needs, each part in a process of its own: PostgreSQL with its usual durability, the bridge that
 * speaks Neon's protocol, Kafka's and Stripe's stand-ins, and the production bundle under `workerd serve`
 * (see workerd.ts). Its data are in a temporary folder. Ctrl-C ends all of it.
 */
export async function startRig(options: RigOptions = {}): Promise<Rig> {
  const progress =
    options.progress ?? new Progress((text) => process.stdout.write(text), process.stdout.isTTY === true);
  const stops: (() => Promise<void>)[] = [];
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      for (const each of stops.reverse()) await each().catch((error: Error) => progress.say(`    ${error.message}`));
    })();
    return stopping;
  };
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const interrupt = (): void => void stop().finally(() => process.exit(130));
    process.once(name, interrupt);
    stops.push(async () => void process.off(name, interrupt));
  }
  try {
    return await startParts(options, progress, stops, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startParts(
  options: RigOptions,
  progress: Progress,
  stops: (() => Promise<void>)[],
  stop: () => Promise<void>,
): Promise<Rig> {
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-bench-'));
  stops.push(() => rm(dir, { recursive: true, force: true }));
  const bundling = bundleWorkers(dir, options.workers ?? {});
  bundling.catch(() => undefined); // it is waited for below
  stops.push(() => bundling.then(() => undefined).catch(() => undefined));

  const postgres = await progress.step(
    'PostgreSQL',
    () => startPostgres({ dir: join(dir, 'postgres'), port: 0, durable: true }),
    ({ port }) => `127.0.0.1:${port}, fsync and synchronous_commit on`,
  );
  stops.push(postgres.remove);
  const databaseUrl = await createDatabase(postgres);
  const adminUrl = postgres.url(new URL(databaseUrl).pathname.slice(1));
  await progress.step('Migrations', () => migrate({ url: databaseUrl, workerPassword: 'fusion_worker' }));
  const workerUrl = asWorker(databaseUrl, 'fusion_worker');
  const pool = new pg.Pool({ connectionString: adminUrl, max: 4 });
  pool.on('error', () => undefined);
  stops.push(() => pool.end());
  await addJobSecret(pool, localJobSecret, 'bench');

  const key: Rig['key'] = async (tenant, kind = 'secret', scopes) => {
    const client = await connectTo(databaseUrl);
    try {
      await createTenant(client, tenant, tenant);
      return await createKey(client, { tenant, kind, ...(scopes === undefined ? {} : { scopes }) });
    } finally {
      await client.end();
    }
  };
  const secretKey = await key('default');
  const publishableKey = await key('default', 'publishable');

  const part = (label: string, what: PartOptions): Promise<Running> =>
    progress.step(
      label,
      () => startPart(what, stops),
      ({ urls }) => Object.values(urls).join('  '),
    );
  const bridge = await part('Neon HTTP', { part: 'bridge', poolSize: options.poolSize ?? 20 });
  const kafka =
    options.kafka === false ? undefined : await part('Kafka REST', { part: 'kafka', dir: join(dir, 'kafka') });
  const stripe = options.stripe === false ? undefined : await part('Stripe', { part: 'stripe' });
  const others = await progress.step('Bundle', () => bundling);
  const workerLog = join(dir, 'worker.log');
  const variables = {
    DATABASE_URL: workerUrl,
    DATABASE_JOB_SECRET: localJobSecret,
    NEON_HTTP_URL: bridge.urls.bridge ?? '',
    KAFKA_REST_URL: kafka?.urls.kafka ?? 'http://127.0.0.1:9',
    KAFKA_REST_USERNAME: 'dev',
    KAFKA_REST_PASSWORD: 'dev',
    STRIPE_SECRET_KEY: 'sk_test_dev',
    STRIPE_WEBHOOK_SECRET: 'whsec_dev',
    STRIPE_API_URL: stripe?.urls.stripe ?? 'http://127.0.0.1:9',
    SHIPPING_WEBHOOK_SECRET: 'whsec_dev',
    KEY_LIMIT_REQUESTS: String(options.limits?.key ?? Number.MAX_SAFE_INTEGER),
    ...options.variables,
  };
  const worker = await part('Worker', {
    part: 'worker',
    ...{ dir, variables, others, log: workerLog, inspect: options.inspect ?? false },
    limits: options.limits ?? {},
  });
  const { store: api = '', inspector, ...workers } = worker.urls;
  if (stripe) {
    await fetch(`${stripe.urls.stripe}/_emulator/webhooks`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ url: `${api}/webhooks/stripe` }),
    });
  }

  return {
    api,
    workers,
    databaseUrl,
    workerUrl,
    adminUrl,
    pool,
    postgres,
    bridgeUrl: variables.NEON_HTTP_URL,
    kafkaUrl: kafka?.urls.kafka,
    stripeUrl: stripe?.urls.stripe,
    inspectorUrl: inspector,
    secretKey,
    publishableKey,
    key,
    async cpu() {
      const rows = await readProcesses();
      const of = (running: Running | undefined, name?: string): number =>
        running?.child.pid === undefined ? 0 : sumTree(rows, running.child.pid, name);
      return {
        worker: of(worker, 'workerd'),
        bridge: of(bridge),
        postgres: sumTree(rows, postgres.pid),
        kafka: of(kafka),
        stripe: of(stripe),
      };
    },
    calls: async () => (await bridge.ask({})) as { calls: number; statements: number },
    cron: async (expression = '* * * * *', at = new Date()) =>
      String(await worker.ask({ expression, at: at.getTime() })),
    async settled() {
      for (let quiet = 0; quiet < 3; ) {
        const { rows } = await pool.query<{ busy: boolean }>(
          `select exists (select from platform.outbox)
             or exists (select from inventory.reservations where status = 'pending') as busy`,
        );
        quiet = rows[0]?.busy === false ? quiet + 1 : 0;
        await sleep(50);
      }
    },
    workerLog,
    dir,
    stop,
  };
}
