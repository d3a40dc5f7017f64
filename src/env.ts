import * as z from 'zod';
import { address } from './base/fields.ts';
import { selectCarrier } from './carriers/select.ts';
import { dialects, selectPublisher } from './events/kafka/publish/select.ts';

/** What wrangler binds. Queues are named for the consuming service; see wrangler.toml. */
export type Bindings = {
  GROUP_COMMERCE_QUEUE: Queue;
  CHARGES_QUEUE: Queue;
  INVENTORY_QUEUE: Queue;
  ORDERS_QUEUE: Queue;
  PAYMENTS_QUEUE: Queue;
  SHIPPING_QUEUE: Queue;
  /** Where labels are kept; without it they are drawn or fetched again when asked for. */
  LABELS?: R2Bucket;
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

/** A list with commas; `off` is an empty one. */
const listed = (list: string): string[] =>
  list === 'off' ? [] : [...new Set(list.split(',').map((item) => item.trim()))].filter((item) => item !== '');

const millimetres = z.number().int().min(1).max(10_000);

const names = z.object({
  DATABASE_URL: z.string().min(1),
  /** Proves to the database that jobs, consumers and webhooks are the Worker's: `npm run keys -- jobs make`. */
  DATABASE_JOB_SECRET: z.string().min(32),
  NEON_HTTP_URL: z.url().optional(),
  /** How long an operation waits for the database, all attempts together, before it answers 503. */
  DATABASE_DEADLINE_MS: z.coerce.number().int().min(1).default(10_000),
  KAFKA_REST_URL: z.url(),
  KAFKA_REST_USERNAME: z.string().min(1).optional(),
  KAFKA_REST_PASSWORD: z.string().min(1).optional(),
  /** Sent as Bearer instead. */
  KAFKA_REST_TOKEN: z.string().min(1).optional(),
  KAFKA_REST_DIALECT: z.enum(dialects).default('upstash'),
  /** Of `confluent`: which cluster. */
  KAFKA_REST_CLUSTER_ID: z.string().min(1).optional(),
  /** Of `rest-v2`: whether records have headers there. Strimzi's bridge and Karapace 6.2.3 have them. */
  KAFKA_REST_HEADERS: z.stringbool().default(false),
  /** Topics whose events of others our services act upon, with commas between; `off`: none. `topic=tenant`: only for it. */
  KAFKA_CONSUME: z
    .string()
    .default('off')
    .transform(listed)
    .pipe(z.array(z.string().regex(/^[\w.-]{1,249}(=[a-z0-9][a-z0-9_-]{0,62})?$/))),
  /** For whom else events of others may speak: tenants with commas between, or `*`. */
  KAFKA_CONSUME_TENANTS: z.string().default('').transform(listed),
  /** How long a turn of the cron listens to Kafka. */
  KAFKA_CONSUME_SECONDS: z.coerce.number().int().min(1).max(55).default(40),
  /** Lets connectors push to /webhooks/kafka. Two, with a comma between, while one is being replaced by the other. */
  KAFKA_WEBHOOK_SECRET: z.string().min(1).optional(),
  STRIPE_SECRET_KEY: z.string().min(1),
  /** Two, with a comma between, while one is being replaced by the other. */
  STRIPE_WEBHOOK_SECRET: z.string().min(1),
  /** Only where something else than api.stripe.com answers. */
  STRIPE_API_URL: z.url().optional(),
  CARRIER: z.enum(['manual', 'shippo', 'easypost']).default('manual'),
  /** Signs the tracking updates of `manual`; without it none is taken. Each secret may be a list, with commas between. */
  SHIPPING_WEBHOOK_SECRET: z.string().min(1).optional(),
  SHIPPO_API_KEY: z.string().min(1).optional(),
  SHIPPO_WEBHOOK_SECRET: z.string().min(1).optional(),
  SHIPPO_API_URL: z.url().optional(),
  EASYPOST_API_KEY: z.string().min(1).optional(),
  EASYPOST_WEBHOOK_SECRET: z.string().min(1).optional(),
  EASYPOST_API_URL: z.url().optional(),
  /** The sender of every parcel, an address as the API has it; JSON. A real carrier needs it. */
  SHIP_FROM: json(address.extend({ name: z.string().min(1) })).optional(),
  /** Weight and size of every parcel; JSON. */
  SHIP_PARCEL: json(
    z.object({
      weightGrams: z.number().int().min(1).max(100_000),
      lengthMm: millimetres,
      widthMm: millimetres,
      heightMm: millimetres,
    }),
  ).default({ weightGrams: 500, lengthMm: 300, widthMm: 200, heightMm: 100 }),
  /** Where clients reach the API; `labelUrl` begins with it, or else is a path. */
  PUBLIC_URL: z.url().optional(),
  LABELS: z.custom<R2Bucket>().optional(),
  /** As many as KEY_LIMIT allows a key in 10 s: each isolate spreads them evenly. */
  KEY_LIMIT_REQUESTS: z.coerce.number().int().min(1).default(20_000),
  /** How fast the money of a campaign is taken; Stripe takes 25 requests a second in test mode, 100 live. */
  STRIPE_REQUESTS_PER_SECOND: z.coerce.number().min(1).max(1_000).default(20),
  RESERVATION_TTL_SECONDS: z.coerce.number().int().min(1).max(2_592_000).default(900),
  /** How long a place in an active campaign waits for its money to be secured. */
  JOIN_SECURE_SECONDS: z.coerce.number().int().min(1).max(2_592_000).default(600),
  /** How long a connection to a campaign's live events lasts before the client connects again. */
  LIVE_SECONDS: z.coerce.number().int().min(1).max(600).default(50),
  /** How long an order of a successful campaign waits for money that was not secured before. */
  CAMPAIGN_GRACE_SECONDS: z.coerce.number().int().min(1).max(2_592_000).default(900),
});

/** Only on labels that we draw ourselves: a carrier would take it for the truth. */
const usualSender = {
  name: 'FusionCommerce',
  line1: '1 Market Street',
  city: 'San Francisco',
  state: 'CA',
  postalCode: '94105',
  country: 'US',
};

/** The dialects that have consumers. */
const consuming = new Set(['upstash', 'rest-v2']);
const isBound = (given: z.infer<typeof names>) =>
  given.KAFKA_CONSUME.every((entry) => entry.includes('=')) && given.KAFKA_WEBHOOK_SECRET === undefined;

const variables = names
  .refine((given) => given.CARRIER === 'manual' || given.SHIP_FROM, { path: ['SHIP_FROM'] })
  .refine((given) => isBound(given) || given.KAFKA_CONSUME_TENANTS.length > 0, { path: ['KAFKA_CONSUME_TENANTS'] })
  .refine((given) => given.KAFKA_CONSUME.length === 0 || consuming.has(given.KAFKA_REST_DIALECT), {
    path: ['KAFKA_CONSUME'],
  })
  .transform((given) => ({ ...given, SHIP_FROM: given.SHIP_FROM ?? usualSender }));

export type Settings = z.infer<typeof variables>;

const parsed = new WeakMap<object, Settings>();

/**
 * The Worker's variables, checked once for an isolate. Used by all three entry points.
 * @throws Error that names the variables that are missing or wrong, without their values
 */
export function settingsOf(env: Bindings): Settings {
  const known = parsed.get(env);
  if (known) return known;
  const result = variables.safeParse(env);
  if (!result.success) {
    const faults = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.code}`);
    throw new Error(`These variables are missing or wrong: ${faults.join(', ')}. See the README, "Variables".`);
  }
  selectCarrier(result.data.CARRIER, result.data); // names the variable that it misses
  selectPublisher(result.data); // and so does this
  parsed.set(env, result.data);
  return result.data;
}
