import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { topics } from '../../src/events/topics.ts';
import { startKafka } from '../kafka/server.ts';
import { startNeonBridge } from '../neon/bridge.ts';
import { type OidcIssuer, startOidc } from '../oidc/server.ts';
import { withClient } from '../postgres/connection.ts';
import { localJobSecret, makeStartSecret, prepareLocalJobs } from '../postgres/job-secrets.ts';
import { createDatabase, foldsCase, toWorkerUrl } from '../postgres/local-database.ts';
import { migrate } from '../postgres/migrate.ts';
import { type Postgres, startPostgres } from '../postgres/server.ts';
import { startStripe } from '../stripe/server.ts';
import type { Progress } from '../support/progress.ts';
import { startVies } from '../vies/server.ts';
import { cellVariables, type LocalCell, prepareCells } from './cells.ts';
import { readCrons, startClock } from './clock.ts';
import { foldersOf, recordChild } from './data-folder.ts';
import {
  acmeStripeAccount,
  connectAcme,
  connectOidc,
  oidcAudience,
  seedProducts,
  seedSettings,
  seedTenants,
  seedTerms,
} from './seed.ts';
import { type DatabaseSettings, repository, type StartSettings } from './settings.ts';
import { startWorker } from './worker.ts';

/** The addresses of a running platform. */
export type Platform = {
  api: string;
  /** Connection string of the database's owner; undefined if only that of `fusion_worker` is known. */
  databaseUrl: string | undefined;
  neonUrl: string | undefined;
  kafkaUrl: string | undefined;
  stripeUrl: string | undefined;
  viesUrl: string | undefined;
  oidcUrl: string;
  /** The cells beside the default cell that were created here. */
  cells: LocalCell[];
  /** Whether the development keys and products are in the database. */
  seeded: boolean;
};

/** How a start reports to its caller. */
export type StartCallbacks = {
  progress: Progress;
  /** Called for each part as soon as it can be stopped, in the order in which they start. */
  onPartStarted: (part: string, stop: () => Promise<void>) => void;
  /** Called when a part has exited, also when it was stopped. */
  onPartExited: (part: string, reason: string) => void;
  /** Called for each line that `wrangler dev` prints. */
  onWorkerLine: (line: string) => void;
  /** Throws if the start was stopped. */
  throwIfStopped: () => void;
};

/** Starts the parts that the settings name, in order. Throws if one cannot start; the parts before it keep running. */
export async function startPlatform(settings: StartSettings, callbacks: StartCallbacks): Promise<Platform> {
  const { ports, database, variables } = settings;
  const folders = foldersOf(settings.dir);
  const { ownerUrl, workerUrl, jobSecret, seeded, cells } = await prepareDatabase(settings, callbacks);
  callbacks.throwIfStopped();

  // Fixed values, like the seeded keys, so that every example of /docs works as printed.
  const developmentSecrets = {
    SHIPPING_WEBHOOK_SECRET: 'whsec_dev',
    KAFKA_WEBHOOK_SECRET: 'whsec_dev',
    TENANT_SECRETS_KEY: btoa('fusioncommerce-local-development'),
    KAFKA_CONSUME_TENANTS: 'default',
    ALLOW_LOOPBACK_URLS: 'true', // images of an import may come from a server on this machine
  };
  const workerVariables: Record<string, string> = {
    ...developmentSecrets,
    ...variables,
    DATABASE_URL: workerUrl,
    DATABASE_JOB_SECRET: jobSecret,
    ...cellVariables(cells),
  };
  let neonUrl: string | undefined;
  if (database.kind === 'embedded' || database.needsBridge) {
    const bridge = await callbacks.progress.step(
      'Neon HTTP',
      () => startNeonBridge({ port: ports.neon.port }),
      ({ url }) => `${url}, emulator: forwards SQL over HTTP to PostgreSQL`,
    );
    callbacks.onPartStarted('Neon HTTP', bridge.close);
    neonUrl = bridge.url;
    workerVariables.NEON_HTTP_URL = bridge.url;
  }
  let kafkaUrl: string | undefined;
  if (settings.emulateKafka) {
    const dayMs = 24 * 3600 * 1000;
    const kafka = await callbacks.progress.step(
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
      ({ url }) => `${url}, emulator: Upstash's protocol, records in files`,
    );
    callbacks.onPartStarted('Kafka REST', kafka.close);
    kafkaUrl = kafka.url;
    Object.assign(workerVariables, {
      KAFKA_REST_URL: kafka.url,
      KAFKA_REST_USERNAME: 'dev',
      KAFKA_REST_PASSWORD: 'dev',
      KAFKA_REST_DIALECT: 'upstash',
    });
  }
  callbacks.throwIfStopped();
  const api = `http://127.0.0.1:${ports.api.port}`;
  let stripeUrl: string | undefined;
  if (settings.emulateStripe) {
    const log = createWriteStream(join(folders.logs, 'stripe.log'), { flags: 'a' });
    const stripe = await callbacks.progress.step(
      'Stripe',
      () =>
        startStripe({
          port: ports.stripe.port,
          dir: folders.stripe,
          secretKey: 'sk_test_dev',
          webhookSecret: 'whsec_dev',
          connectWebhookSecret: 'whsec_dev_connect',
          connectedAccounts: [acmeStripeAccount],
          webhookUrl: `${api}/webhooks/stripe`,
          log: (line) => log.write(`${line}\n`),
        }),
      ({ url }) => `${url}, emulator: no real payments`,
    );
    callbacks.onPartStarted('Stripe', stripe.close);
    stripeUrl = stripe.url;
    Object.assign(workerVariables, {
      STRIPE_SECRET_KEY: 'sk_test_dev',
      STRIPE_PUBLISHABLE_KEY: 'pk_test_dev',
      STRIPE_WEBHOOK_SECRET: 'whsec_dev',
      STRIPE_CONNECT_WEBHOOK_SECRET: 'whsec_dev_connect',
      STRIPE_API_URL: stripe.url,
    });
  }
  let viesUrl: string | undefined;
  if (settings.emulateVies) {
    const vies = await callbacks.progress.step(
      'VIES',
      () => startVies({ port: ports.vies.port }),
      ({ url }) => `${url}, emulator: asks no member state about VAT numbers`,
    );
    callbacks.onPartStarted('VIES', vies.close);
    viesUrl = vies.url;
    workerVariables.VIES_URL = vies.url;
  }
  callbacks.throwIfStopped();
  const oidc = await callbacks.progress.step(
    'OpenID',
    () => startSeededOidc(settings, seeded ? ownerUrl : undefined),
    ({ url }) => `${url}, emulator: an ID token for any e-mail address`,
  );
  callbacks.onPartStarted('OpenID', oidc.close);
  callbacks.throwIfStopped();

  const worker = await startWorker({
    port: ports.api.port,
    variables: workerVariables,
    dir: folders.worker,
    logFile: join(folders.logs, 'worker.log'),
    log: callbacks.onWorkerLine,
  });
  callbacks.onPartStarted('Worker', worker.stop);
  if (worker.pid !== undefined) await recordChild(settings.dir, worker.pid);
  void worker.exited.then((reason) => callbacks.onPartExited('the Worker (wrangler dev)', reason));
  await callbacks.progress.step(
    'Worker',
    () => worker.ready,
    () => `${worker.url}, wrangler dev with local queues`,
  );
  callbacks.throwIfStopped();
  if (seeded)
    await callbacks.progress.step(
      'Products',
      async () => {
        for (const cell of [undefined, ...cells.map(({ name }) => name)]) {
          await seedProducts(worker.url, cell);
          await seedTerms(worker.url, cell);
        }
      },
      () => 'sample products, taxes and shipping of the tenant default',
    );
  const crons = await readCrons(join(repository, 'wrangler.toml'));
  const stopClock = startClock(crons, (cron, minute) => {
    worker
      .fire(cron, minute)
      .catch((error: Error) => callbacks.onWorkerLine(`the cron ${cron} failed: ${error.message}`));
  });
  callbacks.onPartStarted('Crons', async () => stopClock());
  return {
    ...{ api: worker.url, databaseUrl: ownerUrl, neonUrl, kafkaUrl, stripeUrl, viesUrl },
    ...{ oidcUrl: oidc.url, cells, seeded },
  };
}

/** Starts the OpenID emulator. It becomes the provider of the tenant `default`, if the tenant was made here. */
async function startSeededOidc({ ports }: StartSettings, seededUrl: string | undefined): Promise<OidcIssuer> {
  const oidc = await startOidc({ port: ports.oidc.port, audience: oidcAudience });
  if (seededUrl !== undefined) await connectOidc(seededUrl, oidc.url);
  return oidc;
}

type PreparedDatabase = {
  ownerUrl: string | undefined;
  workerUrl: string;
  jobSecret: string;
  seeded: boolean;
  cells: LocalCell[];
};

/** Connects to or starts the database and migrates it. Adds the development keys if it is on this machine. */
async function prepareDatabase(settings: StartSettings, callbacks: StartCallbacks): Promise<PreparedDatabase> {
  const { database } = settings;
  const givenSecret = settings.variables.DATABASE_JOB_SECRET;
  if (database.kind === 'external' && !database.isOwner) {
    callbacks.progress.say(
      '    Database    yours, as fusion_worker. Migrations and keys need its owner: "npm run migrate", "npm run keys"',
    );
    return { ownerUrl: undefined, workerUrl: database.url, jobSecret: givenSecret ?? '', seeded: false, cells: [] };
  }
  const { url, workerPassword, isLocal, postgres } = await openDatabase(settings, database, callbacks);
  callbacks.throwIfStopped();
  const describe = (applied: string[]): string =>
    applied.length === 0 ? 'the schema is up to date' : `${applied.length} files applied`;
  await callbacks.progress.step('Migrations', () => migrate({ url, workerPassword }), describe);
  if (!(await foldsCase(url))) {
    const remedy =
      database.kind === 'external'
        ? 'create it with the locale C.UTF-8'
        : 'create it again with "npm start -- --reset"';
    callbacks.progress.say(
      `    Search      ignores case for ASCII letters only, because the database has the locale C. To fix it, ${remedy}`,
    );
  }
  // The development keys are public, so they must not work on a database that others can reach.
  if (isLocal) {
    await callbacks.progress.step(
      'Tenants',
      async () => {
        await seedTenants(url);
        await seedSettings(url);
        await connectAcme(url, settings.emulateStripe);
      },
      () => 'default and acme, with development keys',
    );
  } else
    callbacks.progress.say('    Tenants     none created: the database is remote. Create them with "npm run keys"');
  const jobSecret = await withClient(url, async (client) => {
    if (!isLocal) return givenSecret ?? makeStartSecret(client);
    await prepareLocalJobs(client, givenSecret);
    return givenSecret ?? localJobSecret;
  });
  const cells =
    postgres === undefined || settings.cells.length === 0
      ? []
      : await callbacks.progress.step(
          'Cells',
          () => prepareCells(postgres, settings.cells, jobSecret),
          () => `${settings.cells.join(', ')}: databases of the same PostgreSQL, with tenants and keys of their own`,
        );
  return { ownerUrl: url, workerUrl: toWorkerUrl(url, workerPassword), jobSecret, seeded: isLocal, cells };
}

async function openDatabase(
  settings: StartSettings,
  database: DatabaseSettings,
  callbacks: StartCallbacks,
): Promise<{ url: string; workerPassword: string; isLocal: boolean; postgres?: Postgres }> {
  if (database.kind === 'external') {
    const { host } = new URL(database.url);
    callbacks.progress.say(`    Database    yours, at ${host} (unset DATABASE_URL for the embedded PostgreSQL)`);
    return { url: database.url, workerPassword: database.workerPassword ?? '', isLocal: database.isLocal };
  }
  const folders = foldersOf(settings.dir);
  const log = createWriteStream(join(folders.logs, 'postgres.log'), { flags: 'a' });
  const postgres = await callbacks.progress.step(
    'PostgreSQL',
    () =>
      startPostgres({
        dir: folders.postgres,
        port: settings.ports.postgres.port,
        durable: true,
        log: (line) => log.write(`${line}\n`),
      }),
    ({ port, dir }) => `127.0.0.1:${port}, a real server${dir === folders.postgres ? '' : `; data in ${dir}`}`,
  );
  callbacks.onPartStarted('PostgreSQL', postgres.stop);
  await recordChild(settings.dir, postgres.pid);
  void postgres.exited.then((reason) => callbacks.onPartExited('PostgreSQL', reason));
  return { url: await createDatabase(postgres), workerPassword: 'fusion_worker', isLocal: true, postgres };
}
