import { readDevVars, readSettings } from '../../dev/platform/settings.ts';
import { parseOptions } from '../../dev/support/options.ts';
import { ReplayError } from './file.ts';

export const help = `npm run replay -- <file.csv[.gz]> [flags]

Replays real orders: reads the rows of Online Retail (UCI Machine Learning Repository, CC BY 4.0), sells them through the
API, and then compares the database and Kafka with the file. Exit codes: 0 everything is there exactly once; 1 something
differs, or the replay failed; 130 stopped by Ctrl-C.

  --url             address of the API. Default: http://127.0.0.1:8787 (port from PORT)
  --key             secret API key of the selling tenant. Default: sk_dev_default
  --database-url    the API's database, as its owner (not fusion_worker). Default: DATABASE_URL, or the local platform's
  --kafka-url       the API's Kafka, by Upstash's REST protocol. Default: KAFKA_REST_URL, or the local platform's
  --kafka-username  default: KAFKA_REST_USERNAME, or dev
  --kafka-password  default: KAFKA_REST_PASSWORD, or dev
  --kafka-brokers   host:port,host:port of the brokers. The audit then reads Kafka with a native client, not by REST
  --concurrency     concurrent requests, 1 to 256. Default: 16
  --limit           replay only this number of invoices (sales and cancellations) from the start of the file
  --help

What it does
  Columns: InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country, in any order.
  1. Every SKU is imported into the catalog, in GBP. Its name is its first description, or the SKU itself. Its price is the
     most frequent price of its sale lines (the first one if several are equally frequent; without sales, that of its other
     rows). Its opening stock is the sum of its sale lines. A SKU that is already in the catalog keeps its name, price
     and group, and gets its opening stock as an adjustment.
     SKUs that are the same four to six digits and then one or two letters (85123A, 85123B) are imported as variants of one
     product group. Its slug is the digits, its name that of its first SKU, and its option "Variant" has the letters. A
     group has at most 250 products; further SKUs are imported without a group.
  2. SKUs that were sold at several prices get a price list, "Historical prices (<organization>)", for the organization of
     the replay's orders. For each quantity of a SKU in an invoice (all its lines together), it has the price that most
     invoices with this quantity have. Where that is the price of the next lower quantity or, below all quantities of the
     list, the price of the catalog, it needs no row. The list is made from the whole file, whatever --limit is.
  3. The sale lines of an invoice (a number of digits, quantity above 0) are placed as one order at their own prices. If the
     price list and the catalog give exactly these prices, the platform calculates them itself and would reject the order
     if it came to other ones. All other orders, and those of SKUs that have another price in the catalog or a price in a
     list of others, are placed with pricing "quoted". purchaseOrderNumber is the invoice, organizationId identifies the
     file, customerId is the file's customer or "guest". Lines need not be adjacent: an order is placed once its last line
     is read. Orders have the time of the replay, and no address because the file has none.
  4. Each line of a cancellation (C…, quantity below 0) is returned to stock by an adjustment.
  5. All other rows are rejected and counted by reason.

Running it again
  After Ctrl-C or kill -9 the same command continues. It skips orders and adjustments that are already in the database,
  however old they are (orders are found by organization and invoice, adjustments by their reason, the price list by its
  name), and sets the prices that are missing from its list. A request that was in flight, or whose response was lost, can
  be repeated for 24 hours: its Idempotency-Key is the same in every run. A file is identified by its content, compressed or
  not. A changed file is a new file, and all of it is sold.

The audit reads the database, not the counters of the run: orders, lines, revenue, customers, the reservation of each order,
the stock of each SKU (added = free + held + committed), the group of each variant that the replay has imported, each row of
the price list, the events of each order, product and price list, and their records in Kafka. Nobody pays in a replay, so
holds expire (after 15 minutes by default), orders fail and their stock is returned. The audit passes before, during and
after that. It does not expect records that Kafka's retention has deleted, and ignores orders that are not from this file.`;

export type ReplayOptions = {
  file: string;
  url: string;
  key: string;
  databaseUrl: string;
  kafka: { url: string; username: string; password: string };
  /** `host:port` of the brokers. If given, the audit reads them and not `kafka`. */
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

function readCount(flag: string, text: string | undefined, defaultValue: number, max: number): number {
  if (text === undefined) return defaultValue;
  const number = /^\d+$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= max) return number;
  const range = Number.isFinite(max) ? `from 1 to ${max}` : 'from 1';
  throw new ReplayError(`--${flag} ${text} is not a whole number ${range}`);
}

function readBrokers(text: string): string[] {
  const brokers = text.split(',').map((broker) => broker.trim());
  if (brokers.every((broker) => /^(\[[\da-f:]+\]|[\w.-]+):\d{1,5}$/i.test(broker))) return brokers;
  throw new ReplayError(`--kafka-brokers ${text} is not a list of host:port, separated by commas`);
}

function readUrl(flag: string, text: string, protocols: RegExp): string {
  if (URL.canParse(text) && protocols.test(new URL(text).protocol)) return text.replace(/\/+$/, '');
  throw new ReplayError(`--${flag} ${text} is not a valid address`);
}

/**
 * Parses the command line. Defaults come from the variables of the local platform. Null for --help.
 * @throws UsageError for an unknown flag, ReplayError for an invalid value
 */
export function readOptions(
  args: string[],
  environment: Record<string, string | undefined>,
  devVars = readDevVars(),
): ReplayOptions | null {
  const { values, positionals } = parseOptions('npm run replay', { args, options: flags, allowPositionals: true });
  if (values.help) return null;
  const [file, ...extra] = positionals;
  if (file === undefined || extra.length > 0) {
    throw new ReplayError(
      'give exactly one file: npm run replay -- <file.csv[.gz]>. "npm run replay -- --help" shows the flags.',
    );
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
