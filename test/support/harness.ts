import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  convertV4MiniflareOptions,
  fetch as fetchOutside,
  Miniflare,
  type Response as OutsideResponse,
  type V4MiniflareOptions,
} from 'miniflare';
import pg from 'pg';
import { inject } from 'vitest';
import { unstable_getMiniflareWorkerOptions } from 'wrangler';
import type { ChooseFault } from '../../dev/kafka/faults.ts';
import { type Kafka, startKafka } from '../../dev/kafka/server.ts';
import { type NeonBridge, type NeonBridgeOptions, startNeonBridge } from '../../dev/neon/bridge.ts';
import { prepareLocalJobs } from '../../dev/postgres/job-secrets.ts';
import { type StripeEmulator, type StripeOptions, startStripe } from '../../dev/stripe/server.ts';
import { startVies, type ViesEmulator } from '../../dev/vies/server.ts';
import { scopes } from '../../src/base/api-keys.ts';
import { topics } from '../../src/events/topics.ts';
import { template } from './global-setup.ts';
import { openPool } from './pools.ts';
import { jobSecret, workerPassword } from './secrets.ts';

export type KeyOptions = {
  tenant?: string;
  kind?: 'secret' | 'publishable';
  scopes?: string[];
  /** The origins that may use the key if it is publishable. All origins if not given. */
  origins?: string[];
  expiresAt?: Date;
  revokedAt?: Date;
};

export type Database = {
  url: string;
  workerUrl: string;
  /** Queries as the superuser, who sees the rows of every tenant. */
  query: <T extends pg.QueryResultRow>(text: string, values?: unknown[]) => Promise<T[]>;
  /** Creates an API key and returns it. */
  key: (options?: KeyOptions) => Promise<string>;
  drop: () => Promise<void>;
};

/** Creates a migrated database with the tenants `default` and `acme`. Keys of a named cell carry its name. */
export async function createDatabase(cell?: string): Promise<Database> {
  const admin = inject('postgres');
  const name = `test_${randomBytes(6).toString('hex')}`;
  const superuser = async (sql: string) => {
    const client = new pg.Client(admin);
    await client.connect();
    try {
      await client.query(sql);
    } finally {
      await client.end();
    }
  };
  await superuser(`create database ${name} template ${template} owner fusion_owner`);
  const url = new URL(admin);
  url.pathname = `/${name}`;
  const workerUrl = new URL(url);
  workerUrl.username = 'fusion_worker';
  workerUrl.password = workerPassword;
  const pool = openPool(url.href, 4);
  await pool.query(`insert into platform.tenants (id, name) values ('default', 'Default'), ('acme', 'Acme')`);
  await prepareLocalJobs(pool, jobSecret);
  return {
    url: url.href,
    workerUrl: workerUrl.href,
    query: async (text, values) => (await pool.query(text, values)).rows,
    async key(options = {}) {
      const kind = options.kind ?? 'secret';
      const start = `${kind === 'secret' ? 'sk' : 'pk'}_test_${cell === undefined ? '' : `${cell}_`}`;
      const key = start + randomBytes(16).toString('hex');
      await pool.query(
        `insert into platform.api_keys (id, tenant_id, prefix, key_hash, kind, scopes, expires_at, revoked_at, origins)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
        [
          randomUUID(),
          options.tenant ?? 'default',
          key.slice(0, 12),
          createHash('sha256').update(key).digest('hex'),
          kind,
          options.scopes ?? (kind === 'secret' ? scopes : ['catalog:read', 'campaigns:read']),
          options.expiresAt ?? null,
          options.revokedAt ?? null,
          options.origins ?? null,
        ],
      );
      return key;
    },
    async drop() {
      await pool.end();
      await superuser(`drop database ${name} with (force)`);
    },
  };
}

export type Reply = {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads any shape of response
  body: any;
};

export type Send = { key?: string | null; headers?: Record<string, string>; idempotencyKey?: string | null };

export type Store = {
  url: string;
  /** The database of the default cell. */
  database: Database;
  /** The databases of the other cells, and a secret key of the tenant `default` in each. */
  cells: Record<string, { database: Database; key: string }>;
  bridge: NeonBridge;
  kafka: Kafka;
  /** The Stripe emulator, which sends its webhooks to the store. */
  stripe: StripeEmulator;
  vies: ViesEmulator;
  /** A secret key of the tenant `default`. */
  key: string;
  /** Sends JSON with the store’s key. Every POST gets a new Idempotency-Key unless one is given (null: none). */
  send: (method: string, path: string, body?: unknown, options?: Send) => Promise<Reply>;
  /** Runs a cron as if at this time. */
  cron: (expression?: string, at?: Date) => Promise<void>;
  /** Resolves when the outbox of a cell (default: the default cell) is empty and the consumers have applied every message. */
  settled: (of?: Database) => Promise<void>;
  /** The entries that the Worker has logged. */
  logs: () => Record<string, unknown>[];
  miniflare: Miniflare;
  close: () => Promise<void>;
};

/** The part of Miniflare’s Worker handle that runs crons. */
type Scheduled = { scheduled: (event: { cron: string; scheduledTime: Date }) => Promise<{ outcome: string }> };

export type StoreOptions = {
  /** The names of cells beside the default cell. Each has a database of its own. */
  cells?: string[];
  variables?: Record<string, string>;
  neonFault?: NeonBridgeOptions['fault'];
  kafkaFault?: ChooseFault;
  kafkaTopics?: string[];
  stripe?: Partial<StripeOptions>;
  /** The limit of requests per key and 10 s. Default: the limit in wrangler.toml. */
  keyLimit?: number;
  /** The limit of bad requests per address and 60 s. Default: the limit in wrangler.toml. */
  addressLimit?: number;
  /** Starts the Worker without a bucket for images. */
  withoutMedia?: boolean;
  /** Responds in place of the network to what the Worker requests. Undefined: the request goes out. */
  outside?: (url: URL) => Promise<OutsideResponse | undefined>;
  /** The file of another Worker bundle. Default: the bundle of this checkout. */
  worker?: string;
  /**
   * The number of redeliveries before a message goes to the dead-letter queue. Default: the number in wrangler.toml.
   */
  queueRetries?: number;
};

type Ratelimits = NonNullable<V4MiniflareOptions['ratelimits']>;
type Consumers = NonNullable<V4MiniflareOptions['queueConsumers']>;

/**
 * Sets the redeliveries of the queues that have a dead-letter queue. The dead-letter queues themselves stay unchanged.
 */
function withRetries(consumers: unknown, maxRetries: number): Consumers {
  const all = consumers as Record<string, { deadLetterQueue?: string }>;
  return Object.fromEntries(
    Object.entries(all).map(([name, each]) => [name, each.deadLetterQueue ? { ...each, maxRetries } : each]),
  ) as Consumers;
}

const rateOf = (id: string, limit: number, period: 10 | 60) => ({ namespace_id: id, simple: { limit, period } });

/**
 * Starts the store with real parts: PostgreSQL behind the Neon bridge, the Kafka emulator, and the production bundle in
 * workerd.
 */
export async function startStore(options: StoreOptions = {}): Promise<Store> {
  const database = await createDatabase();
  const cells: Store['cells'] = {};
  for (const name of options.cells ?? []) {
    const cellDatabase = await createDatabase(name);
    cells[name] = { database: cellDatabase, key: await cellDatabase.key() };
  }
  const cellUrls = Object.entries(cells).map(([name, cell]) => [
    `DATABASE_URL_${name.toUpperCase()}`,
    cell.database.workerUrl,
  ]);
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-store-'));
  const bridge = await startNeonBridge({ port: 0, ...(options.neonFault ? { fault: options.neonFault } : {}) });
  const kafka = await startKafka({
    port: 0,
    dir,
    username: 'dev',
    password: 'dev',
    topics: Object.entries(topics)
      .filter(([name]) => options.kafkaTopics?.includes(name) ?? true)
      .map(([name, { partitions, retentionDays }]) => ({ name, partitions, retentionMs: retentionDays * 86_400_000 })),
    ...(options.kafkaFault ? { fault: options.kafkaFault } : {}),
  });
  const stripe = await startStripe({
    port: 0,
    secretKey: 'sk_test_dev',
    webhookSecret: 'whsec_dev',
    connectWebhookSecret: 'whsec_dev_connect',
    retryBaseMs: 100,
    asyncMs: 50,
    ...options.stripe,
  });
  const vies = await startVies({ port: 0 });
  // The bundle is built already, so the running Worker gets no bundling rules.
  const { modulesRules: _rules, ...workerOptions } = unstable_getMiniflareWorkerOptions('wrangler.toml').workerOptions;
  let output = '';
  // The log of every Worker is checked for secrets when the suite ends, see global-setup.ts.
  const logFile = createWriteStream(join(inject('logs'), `${randomUUID()}.log`));
  const worker = options.worker ?? join(inject('bundle'), 'index.js');
  const { outside } = options;
  const settings: V4MiniflareOptions = {
    host: '127.0.0.1',
    ...workerOptions,
    name: 'fusioncommerce',
    modules: true,
    modulesRoot: dirname(worker),
    scriptPath: worker,
    bindings: {
      ...(workerOptions.bindings as Record<string, string>),
      DATABASE_URL: database.workerUrl,
      ...Object.fromEntries(cellUrls),
      DATABASE_JOB_SECRET: jobSecret,
      NEON_HTTP_URL: bridge.url,
      KAFKA_REST_URL: kafka.url,
      KAFKA_REST_USERNAME: 'dev',
      KAFKA_REST_PASSWORD: 'dev',
      STRIPE_SECRET_KEY: 'sk_test_dev',
      STRIPE_PUBLISHABLE_KEY: 'pk_test_dev',
      STRIPE_WEBHOOK_SECRET: 'whsec_dev',
      STRIPE_CONNECT_WEBHOOK_SECRET: 'whsec_dev_connect',
      STRIPE_API_URL: stripe.url,
      VIES_URL: vies.url,
      ...options.variables,
    },
    ratelimits: {
      ...(workerOptions.ratelimits as Ratelimits),
      ...(options.keyLimit === undefined ? {} : { KEY_LIMIT: rateOf('1', options.keyLimit, 10) }),
      ...(options.addressLimit === undefined ? {} : { ADDRESS_LIMIT: rateOf('2', options.addressLimit, 60) }),
    },
    ...(options.queueRetries === undefined
      ? {}
      : { queueConsumers: withRetries(workerOptions.queueConsumers, options.queueRetries) }),
    ...(options.withoutMedia ? { r2Buckets: {} } : {}),
    ...(outside === undefined
      ? {}
      : { outboundService: async (request) => (await outside(new URL(request.url))) ?? fetchOutside(request) }),
    handleStructuredLogs({ message }) {
      output += `${message}\n`;
      logFile.write(`${message}\n`);
    },
  };
  const miniflare = new Miniflare(convertV4MiniflareOptions(settings));
  const url = (await miniflare.ready).href.replace(/\/$/, '');
  const key = await database.key();
  await fetch(`${stripe.url}/_emulator/webhooks`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ url: `${url}/webhooks/stripe` }),
  });

  const send: Store['send'] = async (method, path, body, more = {}) => {
    const headers = new Headers(more.headers);
    if (more.key !== null) headers.set('authorization', `Bearer ${more.key ?? key}`);
    if (body !== undefined && !headers.has('content-type')) headers.set('content-type', 'application/json');
    if (method === 'POST' && more.idempotencyKey !== null) {
      headers.set('idempotency-key', more.idempotencyKey ?? randomUUID());
    }
    const payload =
      body === undefined || typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
    const response = await fetch(url + path, {
      method,
      headers,
      ...(payload === undefined ? {} : { body: payload as BodyInit }),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get('content-type') ?? '');
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  };

  return {
    url,
    database,
    cells,
    bridge,
    kafka,
    stripe,
    vies,
    key,
    send,
    async cron(expression = '* * * * *', at = new Date()) {
      const worker = (await miniflare.getWorker()) as unknown as Scheduled;
      const { outcome } = await worker.scheduled({ cron: expression, scheduledTime: at });
      if (outcome !== 'ok') throw new Error(`the cron ended with ${outcome}: ${output.slice(-2000)}`);
    },
    async settled(of = database) {
      for (let quiet = 0; quiet < 3; ) {
        const [left] = await of.query<{ n: number }>(
          `select (select count(*)::int from platform.outbox)
             + (select count(*)::int from inventory.reservations where status = 'pending') as n`,
        );
        quiet = left?.n === 0 ? quiet + 1 : 0;
        await sleep(50);
      }
    },
    logs: () =>
      output
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line)),
    miniflare,
    async close() {
      await miniflare.dispose();
      await new Promise<void>((resolve) => logFile.end(resolve));
      await bridge.close();
      await kafka.close();
      await stripe.close();
      await vies.close();
      for (const each of [database, ...Object.values(cells).map((cell) => cell.database)]) await each.drop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Creates a product with stock through the API. */
export async function addProduct(
  store: Store,
  sku: string,
  inventory: number,
  price = 10,
  more: Record<string, unknown> = {},
) {
  const body = { sku, name: `Product ${sku}`, price, currency: 'USD', inventory, ...more };
  const reply = await store.send('POST', '/v1/products', body);
  if (reply.status !== 201) throw new Error(`could not add ${sku}: ${JSON.stringify(reply.body)}`);
  return reply.body as { id: string; sku: string };
}

/** The body of an order with one line. */
export const oneLine = (sku: string, quantity = 1, more: Record<string, unknown> = {}) => ({
  customerId: 'customer-1',
  items: [{ sku, quantity }],
  ...more,
});

/** Waits until the condition is true, for as long as a test may take. */
export async function until(what: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await what())) await sleep(25);
}

/**
 * Runs the cron as if at this time, until the condition is true. One turn may not expire every hold, because it queries
 * Stripe about a limited number of payments, and leaves an intent that is just being created to the next turn.
 */
export async function cronUntil(store: Store, at: Date, what: () => Promise<boolean>): Promise<void> {
  await until(async () => {
    await store.cron('* * * * *', at);
    return what();
  });
}
