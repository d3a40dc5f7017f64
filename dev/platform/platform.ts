import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { topics } from '../../src/events/topics.ts';
import { startKafka } from '../kafka/server.ts';
import { startNeonBridge } from '../neon/bridge.ts';
import { withClient } from '../postgres/connection.ts';
import { localJobSecret, makeStartSecret, prepareLocalJobs } from '../postgres/job-secrets.ts';
import { createDatabase, foldsCase, toWorkerUrl } from '../postgres/local-database.ts';
import { migrate } from '../postgres/migrate.ts';
import { startPostgres } from '../postgres/server.ts';
import { startStripe } from '../stripe/server.ts';
import type { Progress } from '../support/progress.ts';
import { readCrons, startClock } from './clock.ts';
import { foldersOf, noteChild } from './data-folder.ts';
import { seedProducts, seedTenants } from './seed.ts';
import { type DatabaseSettings, repository, type StartSettings } from './settings.ts';
import { startWorker } from './worker.ts';

/** What is running: where, and what to do with it in the end. */
export type Platform = {
  api: string;
  /** The database as its owner, if we know that connection string. */
  databaseUrl: string | undefined;
  neonUrl: string | undefined;
  kafkaUrl: string | undefined;
  stripeUrl: string | undefined;
  /** Whether the development keys and products are in the database. */
  seeded: boolean;
};

/** What a start needs from its caller. */
export type Run = {
  progress: Progress;
  /** Called for each part as soon as it can be stopped, in the order in which they start. */
  started: (part: string, stop: () => Promise<void>) => void;
  /** Called when a part has ended, also when it was asked to. */
  ended: (part: string, reason: string) => void;
  /** What the Worker says, line by line. */
  workerLog: (line: string) => void;
  /** Throws if the start is to go no further. */
  check: () => void;
};

/** Starts all parts that the settings ask for, in order. Throws where one cannot start; those before it still run. */
export async function startPlatform(settings: StartSettings, run: Run): Promise<Platform> {
  const { ports, database, variables } = settings;
  const folders = foldersOf(settings.dir);
  const { owner, worker: workerUrl, jobSecret, seeded } = await startDatabase(settings, run);
  run.check();

  // Like the keys that are seeded: well known, so that every example of /docs can be tried at once.
  const plain = {
    SHIPPING_WEBHOOK_SECRET: 'whsec_dev',
    KAFKA_WEBHOOK_SECRET: 'whsec_dev',
    KAFKA_CONSUME_TENANTS: 'default',
  };
  const forWorker: Record<string, string> = {
    ...plain,
    ...variables,
    DATABASE_URL: workerUrl,
    DATABASE_JOB_SECRET: jobSecret,
  };
  let neonUrl: string | undefined;
  if (database.kind === 'embedded' || database.bridge) {
    const bridge = await run.progress.step(
      'Neon HTTP',
      () => startNeonBridge({ port: ports.neon.port }),
      ({ url }) => `${url}, emulated: a bridge to PostgreSQL`,
    );
    run.started('Neon HTTP', bridge.close);
    neonUrl = bridge.url;
    forWorker.NEON_HTTP_URL = bridge.url;
  }
  let kafkaUrl: string | undefined;
  if (settings.emulateKafka) {
    const dayMs = 24 * 3600 * 1000;
    const kafka = await run.progress.step(
      'Kafka REST',
      () =>
        startKafka({
          port: ports.kafka.port,
          dir: folders.kafka,
          username: 'dev',
          password: 'dev',
          topics: Object.entries(topics).map(([name, { partitions, retentionDays }]) => ({
            name,
            partitions,
            retentionMs: retentionDays * dayMs,
          })),
        }),
      ({ url }) => `${url}, emulated: Upstash's protocol on files, no Kafka behind it`,
    );
    run.started('Kafka REST', kafka.close);
    kafkaUrl = kafka.url;
    Object.assign(forWorker, {
      KAFKA_REST_URL: kafka.url,
      KAFKA_REST_USERNAME: 'dev',
      KAFKA_REST_PASSWORD: 'dev',
      KAFKA_REST_DIALECT: 'upstash',
    });
  }
  run.check();
  const api = `http://127.0.0.1:${ports.api.port}`;
  let stripeUrl: string | undefined;
  if (settings.emulateStripe) {
    const log = createWriteStream(join(folders.logs, 'stripe.log'), { flags: 'a' });
    const stripe = await run.progress.step(
      'Stripe',
      () =>
        startStripe({
          port: ports.stripe.port,
          dir: folders.stripe,
          secretKey: 'sk_test_dev',
          webhookSecret: 'whsec_dev',
          webhookUrl: `${api}/webhooks/stripe`,
          log: (line) => log.write(`${line}\n`),
        }),
      ({ url }) => `${url}, emulated: no money moves`,
    );
    run.started('Stripe', stripe.close);
    stripeUrl = stripe.url;
    const local = { STRIPE_SECRET_KEY: 'sk_test_dev', STRIPE_WEBHOOK_SECRET: 'whsec_dev', STRIPE_API_URL: stripe.url };
    Object.assign(forWorker, local);
  }
  run.check();

  const worker = await startWorker({
    port: ports.api.port,
    variables: forWorker,
    dir: folders.worker,
    logFile: join(folders.logs, 'worker.log'),
    log: run.workerLog,
  });
  run.started('Worker', worker.stop);
  if (worker.pid !== undefined) await noteChild(settings.dir, worker.pid);
  void worker.exited.then((reason) => run.ended('the Worker (wrangler dev)', reason));
  await run.progress.step(
    'Worker',
    () => worker.ready,
    () => `${worker.url}, wrangler dev with local queues`,
  );
  run.check();
  if (seeded) await run.progress.step('Products', () => seedProducts(worker.url));
  const crons = await readCrons(join(repository, 'wrangler.toml'));
  const stopClock = startClock(crons, (cron, minute) => {
    worker.fire(cron, minute).catch((error: Error) => run.workerLog(`cron ${cron} was not taken: ${error.message}`));
  });
  run.started('Crons', async () => stopClock());
  return { api: worker.url, databaseUrl: owner, neonUrl, kafkaUrl, stripeUrl, seeded };
}

/** The database, migrated, with the development keys if it is of this machine. */
async function startDatabase(
  settings: StartSettings,
  run: Run,
): Promise<{ owner: string | undefined; worker: string; jobSecret: string; seeded: boolean }> {
  const { database } = settings;
  const given = settings.variables.DATABASE_JOB_SECRET;
  if (database.kind === 'own' && !database.owner) {
    run.progress.say('    Database    yours, as fusion_worker: "npm run migrate" and "npm run keys" need its owner');
    return { owner: undefined, worker: database.url, jobSecret: given ?? '', seeded: false };
  }
  const { url, workerPassword, local } = await findDatabase(settings, database, run);
  run.check();
  const describe = (ran: string[]): string => (ran.length === 0 ? 'nothing to do' : `${ran.length} files`);
  await run.progress.step('Migrations', () => migrate({ url, workerPassword }), describe);
  if (!(await foldsCase(url))) {
    const remedy = database.kind === 'own' ? 'create it with locale C.UTF-8' : 'start with --reset to make it again';
    run.progress.say(
      `    Search      knows upper and lower case of ASCII letters only: the database has locale C; ${remedy}`,
    );
  }
  // Keys that everyone knows belong into no database that others can reach.
  if (local) await run.progress.step('Tenants', () => seedTenants(url));
  else run.progress.say('    Tenants     none made in a database elsewhere: "npm run keys" makes tenants and keys');
  const jobSecret = await withClient(url, async (client) => {
    if (!local) return given ?? makeStartSecret(client);
    await prepareLocalJobs(client, given);
    return given ?? localJobSecret;
  });
  return { owner: url, worker: toWorkerUrl(url, workerPassword), jobSecret, seeded: local };
}

async function findDatabase(
  settings: StartSettings,
  database: DatabaseSettings,
  run: Run,
): Promise<{ url: string; workerPassword: string; local: boolean }> {
  if (database.kind === 'own') {
    run.progress.say(`    Database    yours, on ${new URL(database.url).host}`);
    return { url: database.url, workerPassword: database.workerPassword ?? '', local: database.local };
  }
  const folders = foldersOf(settings.dir);
  const log = createWriteStream(join(folders.logs, 'postgres.log'), { flags: 'a' });
  const postgres = await run.progress.step(
    'PostgreSQL',
    () =>
      startPostgres({
        dir: folders.postgres,
        port: settings.ports.postgres.port,
        durable: true,
        log: (line) => log.write(`${line}\n`),
      }),
    ({ port, dir }) => `127.0.0.1:${port}, real${dir === folders.postgres ? '' : `; its data are in ${dir}`}`,
  );
  run.started('PostgreSQL', postgres.stop);
  await noteChild(settings.dir, postgres.pid);
  void postgres.exited.then((reason) => run.ended('PostgreSQL', reason));
  return { url: await createDatabase(postgres), workerPassword: 'fusion_worker', local: true };
}
