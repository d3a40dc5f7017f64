import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { topics } from '../../src/events/topics.ts';
import { startKafka } from '../kafka/server.ts';
import { startNeonBridge } from '../neon/bridge.ts';
import { type OidcIssuer, startOidc } from '../oidc/server.ts';
import { startStripe } from '../stripe/server.ts';
import { startVies } from '../vies/server.ts';
import type { StartCallbacks } from './callbacks.ts';
import { cellVariables, type LocalCell } from './cells.ts';
import { readCrons, startClock } from './clock.ts';
import { foldersOf, recordChild } from './data-folder.ts';
import { prepareDatabase } from './database.ts';
import { acmeStripeAccount, connectOidc, oidcAudience, seedProducts, seedTerms } from './seed.ts';
import { repository, type StartSettings } from './settings.ts';
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
