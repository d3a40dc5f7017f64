import { execFile } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { unstable_getMiniflareWorkerOptions } from 'wrangler';
import { topics } from '../../src/events/topics.ts';
import { type Kafka, type KafkaOptions, startKafka } from '../kafka/server.ts';
import { type NeonBridge, type NeonBridgeOptions, startNeonBridge } from '../neon/bridge.ts';
import { acmeStripeAccount, connectAcme, seedTenants } from '../platform/seed.ts';
import { repository } from '../platform/settings.ts';
import { localJobSecret, prepareLocalJobs } from '../postgres/job-secrets.ts';
import { createDatabase, toWorkerUrl } from '../postgres/local-database.ts';
import { migrate } from '../postgres/migrate.ts';
import { type Postgres, startPostgres } from '../postgres/server.ts';
import { type StripeEmulator, startStripe } from '../stripe/server.ts';
import { findFreePort, signal } from '../support/process.ts';
import { type WorkerProcess, workerProcess } from './worker-process.ts';

/** Short durations in seconds, so that holds, places and carts expire during the load. */
const expirySeconds = { hold: 25, secure: 20, grace: 20, cart: 35 };

export type ChaosPlatform = {
  worker: WorkerProcess;
  bridge: NeonBridge;
  kafka: Kafka;
  stripe: StripeEmulator;
  dir: string;
  /** Queries as the superuser, who sees all tenants. Retries while PostgreSQL is unavailable. */
  query: <T extends pg.QueryResultRow>(text: string, values?: unknown[]) => Promise<T[]>;
  /** Kills the server (SIGKILL) and starts it again after this time, with the same data and port. */
  crashPostgres: (downMs: number) => Promise<void>;
  /** Calls a control endpoint of the Stripe emulator. */
  emulator: (method: string, path: string, body?: unknown) => Promise<unknown>;
  close: () => Promise<void>;
};

export type ChaosPlatformOptions = {
  seed: number;
  /** The folder of the bundled Worker. Default: wrangler bundles it now. */
  bundle?: string;
  neonFault: NonNullable<NeonBridgeOptions['fault']>;
  kafkaFault: NonNullable<KafkaOptions['fault']>;
  /** Keep the folder with logs and data after the run. */
  keep?: boolean;
};

const dayMs = 86_400_000;

/** A clock that never goes back, so that the order of Kafka's timestamps is the order of its records. */
const monotonic = () => Math.round(performance.timeOrigin + performance.now());

async function bundleWorker(into: string): Promise<string> {
  const args = ['wrangler', 'deploy', '--dry-run', '--outdir', into];
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false' };
  await promisify(execFile)('npx', args, { cwd: repository, env });
  return into;
}

/** Retries queries while PostgreSQL restarts. The queries of a run are safe to repeat. */
function retryingQuery(pool: pg.Pool): ChaosPlatform['query'] {
  return async (text, values) => {
    for (let attempt = 1; ; attempt++) {
      try {
        return (await pool.query(text, values)).rows;
      } catch (error) {
        const { code } = error as { code?: string };
        const isUnavailable = code === undefined || /^(08|57P|ECONN|EPIPE)/.test(code);
        if (!isUnavailable || attempt === 100) throw error;
        await sleep(100);
      }
    }
  };
}

/**
 * Starts the platform of a chaos run in a temporary folder on free ports: PostgreSQL and the Worker, which can be
 * killed and restarted, and the Neon, Kafka and Stripe emulators with faults. If a part cannot start, the others are
 * stopped.
 */
export async function startChaosPlatform(options: ChaosPlatformOptions): Promise<ChaosPlatform> {
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-chaos-'));
  const stops: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const stop of stops.splice(0).reverse()) await stop();
    if (!options.keep) await rm(dir, { recursive: true, force: true });
  };
  try {
    return await startParts(options, dir, stops, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function startParts(
  options: ChaosPlatformOptions,
  dir: string,
  stops: (() => Promise<unknown>)[],
  close: () => Promise<void>,
): Promise<ChaosPlatform> {
  mkdirSync(join(dir, 'kafka'));
  const bundled = options.bundle ?? bundleWorker(join(dir, 'bundle'));
  Promise.resolve(bundled).catch(() => undefined); // reported below, where it is awaited
  const log = createWriteStream(join(dir, 'postgres.log'), { flags: 'a' });
  const port = await findFreePort();
  const launch = () =>
    startPostgres({
      dir: join(dir, 'postgres'),
      port,
      durable: 'process',
      log: (line) => log.write(`${line}\n`),
    });
  let postgres: Postgres = await launch();
  stops.push(() => (options.keep ? postgres.stop() : postgres.remove()));
  const owner = await createDatabase(postgres);
  await migrate({ url: owner, workerPassword: 'worker' });
  await seedTenants(owner);
  await connectAcme(owner, true);
  const pool = new pg.Pool({ connectionString: postgres.url('fusion'), max: 4 });
  pool.on('error', () => undefined);
  stops.push(() => pool.end());
  await prepareLocalJobs(pool);

  const bridge = await startNeonBridge({ port: 0, fault: options.neonFault });
  stops.push(bridge.close);
  const kafka = await startKafka({
    port: 0,
    dir: join(dir, 'kafka'),
    username: 'dev',
    password: 'dev',
    now: monotonic,
    topics: Object.entries(topics).map(([name, { partitions, retentionDays }]) => ({
      name,
      partitions,
      retentionMs: retentionDays * dayMs,
    })),
    fault: options.kafkaFault,
  });
  stops.push(kafka.close);
  const workerPort = await findFreePort();
  const stripe = await startStripe({
    port: 0,
    secretKey: 'sk_test_dev',
    webhookSecret: 'whsec_dev',
    // One tenant has its own account, the other one uses the platform's.
    connectWebhookSecret: 'whsec_dev_connect',
    connectedAccounts: [acmeStripeAccount],
    webhookUrl: `http://127.0.0.1:${workerPort}/webhooks/stripe`,
    seed: options.seed,
    retryBaseMs: 200,
    asyncMs: 400,
    debitMs: 4 * dayMs,
  });
  stops.push(stripe.close);

  // modulesRules are for bundling, and the bundle exists already.
  const { modulesRules: _rules, ...workerOptions } = unstable_getMiniflareWorkerOptions(
    join(repository, 'wrangler.toml'),
  ).workerOptions;
  const worker = workerProcess(
    {
      bundle: await bundled,
      port: workerPort,
      options: JSON.parse(JSON.stringify(workerOptions)),
      bindings: {
        DATABASE_URL: toWorkerUrl(owner, 'worker'),
        DATABASE_JOB_SECRET: localJobSecret,
        NEON_HTTP_URL: bridge.url,
        DATABASE_DEADLINE_MS: '4000',
        KAFKA_REST_URL: kafka.url,
        KAFKA_REST_USERNAME: 'dev',
        KAFKA_REST_PASSWORD: 'dev',
        STRIPE_SECRET_KEY: 'sk_test_dev',
        STRIPE_WEBHOOK_SECRET: 'whsec_dev',
        STRIPE_CONNECT_WEBHOOK_SECRET: 'whsec_dev_connect',
        STRIPE_API_URL: stripe.url,
        STRIPE_REQUESTS_PER_SECOND: '1000',
        SHIPPING_WEBHOOK_SECRET: 'whsec_dev',
        RESERVATION_TTL_SECONDS: String(expirySeconds.hold),
        JOIN_SECURE_SECONDS: String(expirySeconds.secure),
        CAMPAIGN_GRACE_SECONDS: String(expirySeconds.grace),
        CART_TTL_SECONDS: String(expirySeconds.cart),
      },
    },
    createWriteStream(join(dir, 'worker.log'), { flags: 'a' }),
  );
  stops.push(worker.kill);
  await worker.start();

  return {
    worker,
    bridge,
    kafka,
    stripe,
    dir,
    query: retryingQuery(pool),
    async crashPostgres(downMs) {
      signal(postgres.pid, 'SIGKILL');
      await postgres.exited;
      await sleep(downMs);
      for (let attempt = 1; ; attempt++) {
        try {
          postgres = await launch();
          return;
        } catch (error) {
          if (attempt === 50) throw error; // its port may be in use for a moment
          await sleep(300);
        }
      }
    },
    async emulator(method, path, body) {
      const request = body === undefined ? {} : { body: JSON.stringify(body) };
      const response = await fetch(`${stripe.url}/_emulator/${path}`, { method, ...request });
      const result: unknown = await response.json();
      if (!response.ok) throw new Error(`the Stripe emulator rejected ${path}: ${JSON.stringify(result)}`);
      return result;
    },
    close,
  };
}
