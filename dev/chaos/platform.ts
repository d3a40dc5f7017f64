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
import { seedTenants } from '../platform/seed.ts';
import { repository } from '../platform/settings.ts';
import { localJobSecret, prepareLocalJobs } from '../postgres/job-secrets.ts';
import { createDatabase, toWorkerUrl } from '../postgres/local-database.ts';
import { migrate } from '../postgres/migrate.ts';
import { type Postgres, startPostgres } from '../postgres/server.ts';
import { type StripeEmulator, startStripe } from '../stripe/server.ts';
import { findFreePort, signal } from '../support/process.ts';
import { type WorkerProcess, workerProcess } from './worker-process.ts';

/** How long what the run waits for takes, in seconds: short, so that holds and places run out while the load goes on. */
export const terms = { hold: 25, secure: 20, grace: 20 };

export type ChaosPlatform = {
  worker: WorkerProcess;
  bridge: NeonBridge;
  kafka: Kafka;
  stripe: StripeEmulator;
  dir: string;
  /** As the superuser, who sees every tenant; repeated while PostgreSQL is away. */
  query: <T extends pg.QueryResultRow>(text: string, values?: unknown[]) => Promise<T[]>;
  /** SIGKILL to the server, and after so many milliseconds a new one on the same data and port. */
  crashPostgres: (downMs: number) => Promise<void>;
  /** Changes the emulator's switches; see `GET /` there. */
  emulator: (method: string, path: string, body?: unknown) => Promise<unknown>;
  close: () => Promise<void>;
};

export type ChaosPlatformOptions = {
  seed: number;
  /** The Worker as wrangler bundles it; made if not given. */
  bundle?: string;
  neonFault: NonNullable<NeonBridgeOptions['fault']>;
  kafkaFault: NonNullable<KafkaOptions['fault']>;
  /** Keeps the folder with logs and data when the run ends. */
  keep?: boolean;
};

const dayMs = 86_400_000;

/** Times that never go back, so that Kafka's timestamps tell which record was first. */
const monotonic = () => Math.round(performance.timeOrigin + performance.now());

async function makeBundle(into: string): Promise<string> {
  const args = ['wrangler', 'deploy', '--dry-run', '--outdir', into];
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false' };
  await promisify(execFile)('npx', args, { cwd: repository, env });
  return into;
}

/** Asks again while PostgreSQL is being restarted: what the audit and the fixture ask changes nothing, or says the same. */
function patientQuery(pool: pg.Pool): ChaosPlatform['query'] {
  return async (text, values) => {
    for (let tried = 1; ; tried++) {
      try {
        return (await pool.query(text, values)).rows;
      } catch (error) {
        const { code } = error as { code?: string };
        const away = code === undefined || /^(08|57P|ECONN|EPIPE)/.test(code);
        if (!away || tried === 100) throw error;
        await sleep(100);
      }
    }
  };
}

/**
 * The platform of a chaos run in a folder of its own, on free ports: PostgreSQL that outlives its own death, the bridge,
 * Kafka and Stripe with faults, and the Worker as a process that can be killed. If a part cannot start, the others end.
 */
export async function startChaosPlatform(options: ChaosPlatformOptions): Promise<ChaosPlatform> {
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-chaos-'));
  const ends: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) await end();
    if (!options.keep) await rm(dir, { recursive: true, force: true });
  };
  try {
    return await startParts(options, dir, ends, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function startParts(
  options: ChaosPlatformOptions,
  dir: string,
  ends: (() => Promise<unknown>)[],
  close: () => Promise<void>,
): Promise<ChaosPlatform> {
  mkdirSync(join(dir, 'kafka'));
  const bundled = options.bundle ?? makeBundle(join(dir, 'bundle'));
  Promise.resolve(bundled).catch(() => undefined); // told below
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
  ends.push(() => (options.keep ? postgres.stop() : postgres.remove()));
  const owner = await createDatabase(postgres);
  await migrate({ url: owner, workerPassword: 'worker' });
  await seedTenants(owner);
  const pool = new pg.Pool({ connectionString: postgres.url('fusion'), max: 4 });
  pool.on('error', () => undefined);
  ends.push(() => pool.end());
  await prepareLocalJobs(pool);

  const bridge = await startNeonBridge({ port: 0, fault: options.neonFault });
  ends.push(bridge.close);
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
  ends.push(kafka.close);
  const workerPort = await findFreePort();
  const stripe = await startStripe({
    port: 0,
    secretKey: 'sk_test_dev',
    webhookSecret: 'whsec_dev',
    webhookUrl: `http://127.0.0.1:${workerPort}/webhooks/stripe`,
    seed: options.seed,
    retryBaseMs: 200,
    asyncMs: 400,
    debitMs: 4 * dayMs,
  });
  ends.push(stripe.close);

  // The bundle is made: what tells how to bundle does not belong to a Worker that runs.
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
        STRIPE_API_URL: stripe.url,
        STRIPE_REQUESTS_PER_SECOND: '1000',
        SHIPPING_WEBHOOK_SECRET: 'whsec_dev',
        RESERVATION_TTL_SECONDS: String(terms.hold),
        JOIN_SECURE_SECONDS: String(terms.secure),
        CAMPAIGN_GRACE_SECONDS: String(terms.grace),
      },
    },
    createWriteStream(join(dir, 'worker.log'), { flags: 'a' }),
  );
  ends.push(worker.kill);
  await worker.start();

  return {
    worker,
    bridge,
    kafka,
    stripe,
    dir,
    query: patientQuery(pool),
    async crashPostgres(downMs) {
      signal(postgres.pid, 'SIGKILL');
      await postgres.exited;
      await sleep(downMs);
      for (let tried = 1; ; tried++) {
        try {
          postgres = await launch();
          return;
        } catch (error) {
          if (tried === 50) throw error; // its port may be somebody else's for a moment
          await sleep(300);
        }
      }
    },
    async emulator(method, path, body) {
      const sent = body === undefined ? {} : { body: JSON.stringify(body) };
      const response = await fetch(`${stripe.url}/_emulator/${path}`, { method, ...sent });
      const answer: unknown = await response.json();
      if (!response.ok) throw new Error(`the Stripe emulator refused ${path}: ${JSON.stringify(answer)}`);
      return answer;
    },
    close,
  };
}
