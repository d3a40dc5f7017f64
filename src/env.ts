import * as z from 'zod';

/** What wrangler binds. Queues are named for the consuming service; see wrangler.toml. */
export type Bindings = {
  INVENTORY_QUEUE: Queue;
  ORDERS_QUEUE: Queue;
  PAYMENTS_QUEUE: Queue;
  SHIPPING_QUEUE: Queue;
  /** Where labels are kept; without it they are drawn or fetched again when asked for. */
  LABELS?: R2Bucket;
  KEY_LIMIT?: RateLimit;
  ADDRESS_LIMIT?: RateLimit;
} & Record<string, unknown>;

const variables = z.object({
  DATABASE_URL: z.string().min(1),
  NEON_HTTP_URL: z.url().optional(),
  /** How long an operation waits for the database, all attempts together, before it answers 503. */
  DATABASE_DEADLINE_MS: z.coerce.number().int().min(1).default(10_000),
  KAFKA_REST_URL: z.url(),
  KAFKA_REST_USERNAME: z.string().min(1),
  KAFKA_REST_PASSWORD: z.string().min(1),
  KAFKA_REST_DIALECT: z.enum(['upstash']).default('upstash'),
  STRIPE_SECRET_KEY: z.string().min(1),
  /** Two, with a comma between, while one is being replaced by the other. */
  STRIPE_WEBHOOK_SECRET: z.string().min(1),
  /** Only where something else than api.stripe.com answers. */
  STRIPE_API_URL: z.url().optional(),
  RESERVATION_TTL_SECONDS: z.coerce.number().int().min(1).max(2_592_000).default(900),
});

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
  parsed.set(env, result.data);
  return result.data;
}
