import * as z from 'zod';
import { defaultCell, isCellName } from './base/cells.ts';
import { parcel, sender } from './base/fields.ts';
import { selectCarrier } from './carriers/select.ts';
import type { Cells, DatabaseSettings } from './db/cells.ts';
import { dialects, selectPublisher } from './events/kafka/publish/select.ts';

/** The bindings of wrangler.toml. A queue is named after the service that consumes it. */
export type Bindings = {
  GROUP_COMMERCE_QUEUE: Queue;
  CHARGES_QUEUE: Queue;
  CATALOG_QUEUE: Queue;
  INVENTORY_QUEUE: Queue;
  ORDERS_QUEUE: Queue;
  PAYMENTS_QUEUE: Queue;
  SHIPPING_QUEUE: Queue;
  /** Stores labels. Without it they are drawn or downloaded again on each request. */
  LABELS?: R2Bucket;
  /** Stores the images of products. Without it, an upload gets 503. */
  MEDIA?: R2Bucket;
  KEY_LIMIT?: RateLimit;
  ADDRESS_LIMIT?: RateLimit;
} & Record<string, unknown>;

/** A variable that holds JSON. */
const json = <T extends z.ZodType>(schema: T) =>
  z
    .string()
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text);
      } catch {
        context.addIssue({ code: 'custom', message: 'must be JSON' });
        return z.NEVER;
      }
    })
    .pipe(schema);

/** A comma-separated list. `off` is the empty list. */
const parseList = (list: string): string[] =>
  list === 'off' ? [] : [...new Set(list.split(',').map((item) => item.trim()))].filter((item) => item !== '');

const secretsKey = z.string().regex(/^[A-Za-z0-9+/]{43}=$/);

/** The variables of one cell. Those of another cell than the default one end in its name: `DATABASE_URL_EU1`. */
const databaseSchema = z.object({
  DATABASE_URL: z.string().min(1),
  /**
   * Proves to the database that calls of jobs, consumers and webhooks come from the Worker: `npm run keys -- jobs
   * make`. A named cell without one of its own uses that of the default cell.
   */
  DATABASE_JOB_SECRET: z.string().min(32),
  /** A named cell without one of its own uses that of the default cell. */
  NEON_HTTP_URL: z.url().optional(),
});
type DatabaseVariable = keyof typeof databaseSchema.shape;
const databaseVariables = Object.keys(databaseSchema.shape) as DatabaseVariable[];

const schema = z.object({
  /** How long an operation waits for the database, all attempts together, before the response is 503. */
  DATABASE_DEADLINE_MS: z.coerce.number().int().min(1).default(10_000),
  KAFKA_REST_URL: z.url(),
  KAFKA_REST_USERNAME: z.string().min(1).optional(),
  KAFKA_REST_PASSWORD: z.string().min(1).optional(),
  /** Sent as a Bearer token instead of username and password. */
  KAFKA_REST_TOKEN: z.string().min(1).optional(),
  KAFKA_REST_DIALECT: z.enum(dialects).default('upstash'),
  /** For `confluent`: the cluster. */
  KAFKA_REST_CLUSTER_ID: z.string().min(1).optional(),
  /** For `rest-v2`: whether records can have headers. Strimzi's bridge and Karapace 6.2.3 support them. */
  KAFKA_REST_HEADERS: z.stringbool().default(false),
  /**
   * Topics whose external events our services consume, separated by commas. `off`: none. `topic=tenant` or
   * `topic=tenant@cell`: only for that tenant.
   */
  KAFKA_CONSUME: z
    .string()
    .default('off')
    .transform(parseList)
    .pipe(z.array(z.string().regex(/^[\w.-]{1,249}(=[a-z0-9][a-z0-9_-]{0,62}(@[a-z][a-z0-9]{1,11})?)?$/))),
  /**
   * The tenants that external events may name on all other topics, separated by commas: `tenant`, `tenant@cell`, or `*`
   * for all.
   */
  KAFKA_CONSUME_TENANTS: z.string().default('').transform(parseList),
  /** How long a cron run reads from Kafka. */
  KAFKA_CONSUME_SECONDS: z.coerce.number().int().min(1).max(55).default(40),
  /** Allows connectors to push to /webhooks/kafka. Two secrets, separated by a comma, while one is being replaced. */
  KAFKA_WEBHOOK_SECRET: z.string().min(1).optional(),
  STRIPE_SECRET_KEY: z.string().min(1),
  /** Two secrets, separated by a comma, while one is being replaced. */
  STRIPE_WEBHOOK_SECRET: z.string().min(1),
  /** For storefronts, which collect payments in the browser. It is public; a secret key here would be published. */
  STRIPE_PUBLISHABLE_KEY: z.string().regex(/^pk_/).optional(),
  /** The secret of the Connect endpoint, for tenants with their own account. A list like the one above. */
  STRIPE_CONNECT_WEBHOOK_SECRET: z.string().min(1).optional(),
  /** Only for a server other than api.stripe.com, such as the emulator. */
  STRIPE_API_URL: z.url().optional(),
  /**
   * VIES, which says whether a VAT number of the European Union exists. Only for another server, such as the emulator.
   */
  VIES_URL: z.url().default('https://ec.europa.eu/taxation_customs/vies/rest-api'),
  CARRIER: z.enum(['manual', 'shippo', 'easypost']).default('manual'),
  /**
   * Signs the tracking updates of `manual`. Without it they are rejected. Each webhook secret may be a comma-separated
   * list.
   */
  SHIPPING_WEBHOOK_SECRET: z.string().min(1).optional(),
  SHIPPO_API_KEY: z.string().min(1).optional(),
  SHIPPO_WEBHOOK_SECRET: z.string().min(1).optional(),
  SHIPPO_API_URL: z.url().optional(),
  EASYPOST_API_KEY: z.string().min(1).optional(),
  EASYPOST_WEBHOOK_SECRET: z.string().min(1).optional(),
  EASYPOST_API_URL: z.url().optional(),
  /**
   * Encrypts the credentials of tenants: 32 bytes in base64. Two keys, separated by a comma, while one is being
   * replaced: the first one encrypts, both decrypt.
   */
  TENANT_SECRETS_KEY: z
    .string()
    .transform(parseList)
    .pipe(z.tuple([secretsKey], secretsKey))
    .optional(),
  /**
   * The sender of the parcels of tenants that have no `shipFrom`: JSON, in the format of the API's addresses. Required
   * for a carrier other than `manual`.
   */
  SHIP_FROM: json(sender).optional(),
  /** Weight and size of the parcels of tenants that have no `parcel`: JSON. */
  SHIP_PARCEL: json(parcel).default({ weightGrams: 500, lengthMm: 300, widthMm: 200, heightMm: 100 }),
  /** The public URL of the API. `labelUrl` begins with it; without it, `labelUrl` is a path. */
  PUBLIC_URL: z.url().optional(),
  LABELS: z.custom<R2Bucket>().optional(),
  MEDIA: z.custom<R2Bucket>().optional(),
  /**
   * Lets images be fetched from this machine, over http too. Only the local platform and tests set it, because it lets
   * a tenant reach what listens there.
   */
  ALLOW_LOOPBACK_URLS: z.stringbool().default(false),
  /** The number of requests that KEY_LIMIT allows a key in 10 s. Each isolate spreads them evenly. */
  KEY_LIMIT_REQUESTS: z.coerce.number().int().min(1).default(20_000),
  /** How fast a campaign's payments are taken. Stripe allows 25 requests a second in test mode and 100 in live mode. */
  STRIPE_REQUESTS_PER_SECOND: z.coerce.number().min(1).max(1_000).default(20),
  RESERVATION_TTL_SECONDS: z.coerce.number().int().min(1).max(2_592_000).default(900),
  /** How long a cart is kept after its latest change, for tenants without `cartSeconds`. */
  CART_TTL_SECONDS: z.coerce.number().int().min(1).max(31_536_000).default(604_800),
  /** How long a place in an active campaign is kept until its payment is authorized or its card is saved. */
  JOIN_SECURE_SECONDS: z.coerce.number().int().min(1).max(2_592_000).default(600),
  /** How long a connection to a campaign's live events lasts before the client reconnects. */
  LIVE_SECONDS: z.coerce.number().int().min(1).max(600).default(50),
  /** How long an order of a successful campaign waits for a payment that was not authorized before. */
  CAMPAIGN_GRACE_SECONDS: z.coerce.number().int().min(1).max(2_592_000).default(900),
  /** How long an order waits until its buyer confirms the charge of a saved card, if the bank asks for the buyer. */
  ACTION_REQUIRED_SECONDS: z.coerce.number().int().min(1).max(2_592_000).default(86_400),
});

/** Used only for labels that we draw ourselves. A real carrier would treat it as the actual sender. */
const defaultSender = {
  name: 'FusionCommerce',
  line1: '1 Market Street',
  city: 'San Francisco',
  state: 'CA',
  postalCode: '94105',
  country: 'US',
};

/** The Kafka dialects that can consume. */
const dialectsWithConsumers = new Set(['upstash', 'rest-v2']);
const needsNoTenants = (settings: z.infer<typeof schema>) =>
  settings.KAFKA_CONSUME.every((entry) => entry.includes('=')) && settings.KAFKA_WEBHOOK_SECRET === undefined;

const variables = schema
  .refine((settings) => settings.CARRIER === 'manual' || settings.SHIP_FROM, { path: ['SHIP_FROM'] })
  .refine((settings) => needsNoTenants(settings) || settings.KAFKA_CONSUME_TENANTS.length > 0, {
    path: ['KAFKA_CONSUME_TENANTS'],
  })
  .refine((settings) => settings.KAFKA_CONSUME.length === 0 || dialectsWithConsumers.has(settings.KAFKA_REST_DIALECT), {
    path: ['KAFKA_CONSUME'],
  })
  .transform((settings) => ({ ...settings, SHIP_FROM: settings.SHIP_FROM ?? defaultSender }));

export type Settings = z.infer<typeof variables> & { cells: Cells };

/** A Neon database has two addresses, one of them with a pooler. */
const placeOf = (url: string): string => {
  const { hostname, port, pathname } = new URL(url);
  return `${hostname.replace('-pooler.', '.')}:${port}${pathname}`;
};

/** The name of a cell in the name of a variable such as `DATABASE_URL_EU1`. */
const cellInVariable = new RegExp(`^(?:${databaseVariables.join('|')})_([A-Z0-9]+)$`);

/** Reads the variables of every cell. Adds what is wrong to `faults`, as `variable: fault`. */
function readCells(env: Bindings, deadlineMs: number, faults: string[]): Cells {
  const cells = new Map<string, DatabaseSettings>();
  const suffixes = new Set(Object.keys(env).flatMap((name) => cellInVariable.exec(name)?.[1] ?? []));
  suffixes.delete('UNPOOLED'); // Neon's integrations set it to a second address of DATABASE_URL
  const places = new Set<string>();
  for (const suffix of ['', ...suffixes]) {
    const nameOf = (variable: DatabaseVariable) => (suffix === '' ? variable : `${variable}_${suffix}`);
    const cell = suffix === '' ? defaultCell : suffix.toLowerCase();
    const result = databaseSchema.safeParse({
      DATABASE_URL: env[nameOf('DATABASE_URL')],
      DATABASE_JOB_SECRET: env[nameOf('DATABASE_JOB_SECRET')] ?? env.DATABASE_JOB_SECRET,
      NEON_HTTP_URL: env[nameOf('NEON_HTTP_URL')] ?? env.NEON_HTTP_URL,
    });
    const url = nameOf('DATABASE_URL');
    if (suffix !== '' && !isCellName(cell)) faults.push(`${url}: not a name of a cell`);
    else if (!result.success) {
      for (const { path, code } of result.error.issues) faults.push(`${nameOf(path[0] as DatabaseVariable)}: ${code}`);
    } else {
      const place = URL.canParse(result.data.DATABASE_URL) ? placeOf(result.data.DATABASE_URL) : url;
      if (places.has(place)) faults.push(`${url}: the database of another cell`);
      places.add(place);
      cells.set(cell, { ...result.data, DATABASE_DEADLINE_MS: deadlineMs });
    }
  }
  return cells;
}

const cache = new WeakMap<object, Settings>();

/**
 * The Worker's settings, validated once per isolate. Used by all three entry points.
 * @throws Error that names the missing or invalid variables, without their values
 */
export function settingsOf(env: Bindings): Settings {
  const cached = cache.get(env);
  if (cached) return cached;
  const result = variables.safeParse(env);
  const faults = result.success ? [] : result.error.issues.map(({ path, code }) => `${path.join('.')}: ${code}`);
  const cells = readCells(env, result.data?.DATABASE_DEADLINE_MS ?? 0, faults);
  for (const name of ['KAFKA_CONSUME', 'KAFKA_CONSUME_TENANTS'] as const) {
    const named = (result.data?.[name] ?? []).flatMap((entry) => entry.split('@')[1] ?? []);
    for (const cell of named) if (!cells.has(cell)) faults.push(`${name}: there is no cell ${cell}`);
  }
  if (!result.success || faults.length > 0) {
    throw new Error(`These variables are missing or wrong: ${faults.join(', ')}. See the README, "Variables".`);
  }
  const settings: Settings = { ...result.data, cells };
  selectCarrier(settings.CARRIER, settings); // throws if a variable of the carrier is missing
  selectPublisher(settings); // throws if a variable of the dialect is missing
  cache.set(env, settings);
  return settings;
}
