import { parseArgs } from 'node:util';
import { readDevVars, readSettings } from '../../dev/platform/settings.ts';
import { ReplayError } from './file.ts';

export const help = `npm run replay -- <file.csv[.gz]> [flags]

Replays real orders: reads the rows of Online Retail (UCI Machine Learning Repository, CC BY 4.0), sells them through the
API, and then audits the database and Kafka against the file. Exit code 0: all of it is there, once; 1: it is not, or could
not be done; 130: stopped by Ctrl-C.

  --url             the API, http://127.0.0.1:8787 if not given (its port by PORT)
  --key             a secret key of the tenant that sells; sk_dev_default if not given
  --database-url    its database as the owner (not as fusion_worker); DATABASE_URL, or the local platform's
  --kafka-url       its Kafka, by Upstash's REST protocol; KAFKA_REST_URL, or the local platform's
  --kafka-username  KAFKA_REST_USERNAME, or dev
  --kafka-password  KAFKA_REST_PASSWORD, or dev
  --kafka-brokers   its own port (host:port, with commas between) instead: the audit reads it by a native client
  --concurrency     how many requests at once, 1 to 256; 16 if not given
  --limit           only the file's first so many invoices, sales and cancellations alike
  --help

What it does
  Columns: InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country, in any order.
  1. Every SKU is imported into the catalog, in GBP: its name is its first description, or the SKU itself; its price is
     the most frequent one of its sale lines (of several, the first; without sales, that of its other rows); its opening
     stock is the units of all its sale lines. A SKU that was in the catalog before keeps its name and price, and
     gets that opening stock as an adjustment.
  2. The sale lines of each invoice (digits; quantity above 0) are placed as one order at their own prices
     (pricing "quoted"). Its purchaseOrderNumber is the invoice, its organizationId names this file, its customerId is
     the file's, or "guest". Lines need not be adjacent: an order is placed once its last line was read. An order's time
     is that of the replay. The file has no addresses, so the orders have none.
  3. Each line of a cancellation (C…; quantity below 0) comes back as an adjustment of its SKU's stock.
  4. All other rows are refused, and counted by reason.

Running it again
  The same command goes on where it was stopped, by Ctrl-C or kill -9. What is in the database already (orders by
  organization and invoice, adjustments by their reason) is not sent again, however long ago it was placed. What is on its
  way at that moment, or was answered to nobody, is safe for 24 hours by its Idempotency-Key, which is the same in every
  run. A file is known by its content, packed or not: an altered or longer file is another one, and sells all it has.

The audit reads the database, not what the run has counted: orders, lines, revenue, customers, each order's reservation,
each SKU's stock (put in = free + held + committed), the events of each order and product, and their records in Kafka.
Nobody pays here, so holds run out (15 minutes by default), orders fail and their stock comes back: the audit knows this
and passes before, during and after it. Records that a topic's retention has removed are not asked for. It compares what
is this file's, and leaves aside the orders of others.`;

export type ReplayOptions = {
  file: string;
  url: string;
  key: string;
  databaseUrl: string;
  kafka: { url: string; username: string; password: string };
  /** `host:port`; where given, they are read instead. */
  kafkaBrokers?: string[];
  concurrency: number;
  limit: number;
};

const flags = {
  url: { type: 'string' },
  key: { type: 'string' },
  'database-url': { type: 'string' },
  'kafka-url': { type: 'string' },
  'kafka-username': { type: 'string' },
  'kafka-password': { type: 'string' },
  'kafka-brokers': { type: 'string' },
  concurrency: { type: 'string' },
  limit: { type: 'string' },
  help: { type: 'boolean' },
} as const;

function readCount(flag: string, text: string | undefined, fallback: number, most: number): number {
  if (text === undefined) return fallback;
  const number = /^\d+$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= most) return number;
  const range = Number.isFinite(most) ? `from 1 to ${most}` : 'from 1';
  throw new ReplayError(`--${flag} ${text} is no number ${range}`);
}

function readBrokers(text: string): string[] {
  const brokers = text.split(',').map((broker) => broker.trim());
  if (brokers.every((broker) => /^(\[[\da-f:]+\]|[\w.-]+):\d{1,5}$/i.test(broker))) return brokers;
  throw new ReplayError(`--kafka-brokers ${text} is no list of host:port`);
}

function readUrl(flag: string, text: string, protocols: RegExp): string {
  if (URL.canParse(text) && protocols.test(new URL(text).protocol)) return text.replace(/\/+$/, '');
  throw new ReplayError(`--${flag} ${text} is no address`);
}

/**
 * The options of a command line; what it leaves out, the variables of the local platform say. Null: help was asked for.
 * @throws ReplayError for what cannot be understood
 */
export function readOptions(
  args: string[],
  environment: Record<string, string | undefined>,
  devVars = readDevVars(),
): ReplayOptions | null {
  let parsed: ReturnType<typeof parseArgs<{ options: typeof flags; allowPositionals: true }>>;
  try {
    parsed = parseArgs({ args, options: flags, allowPositionals: true });
  } catch (error) {
    throw new ReplayError(`${(error as Error).message.split('. ')[0]}. "npm run replay -- --help" shows the flags.`);
  }
  const { values, positionals } = parsed;
  if (values.help) return null;
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0) {
    throw new ReplayError('name one file: npm run replay -- <file.csv[.gz]>, or --help');
  }
  const { ports, database, variables } = readSettings(environment, devVars);
  const local = `postgres://fusion_owner:fusion_owner@127.0.0.1:${ports.postgres.port}/fusion`;
  const databaseUrl = values['database-url'] ?? (database.kind === 'external' ? database.url : local);
  return {
    file,
    url: readUrl('url', values.url ?? `http://127.0.0.1:${ports.api.port}`, /^https?:$/),
    key: values.key ?? 'sk_dev_default',
    databaseUrl: readUrl('database-url', databaseUrl, /^postgres(ql)?:$/),
    kafka: {
      url: readUrl(
        'kafka-url',
        values['kafka-url'] ?? variables.KAFKA_REST_URL ?? `http://127.0.0.1:${ports.kafka.port}`,
        /^https?:$/,
      ),
      username: values['kafka-username'] ?? variables.KAFKA_REST_USERNAME ?? 'dev',
      password: values['kafka-password'] ?? variables.KAFKA_REST_PASSWORD ?? 'dev',
    },
    ...(values['kafka-brokers'] === undefined ? {} : { kafkaBrokers: readBrokers(values['kafka-brokers']) }),
    concurrency: readCount('concurrency', values.concurrency, 16, 256),
    limit: readCount('limit', values.limit, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY),
  };
}
