import type { OrderUsage } from '../peers/costs.ts';
import { prices } from '../peers/costs.ts';

/** One case of a result of `npm run bench`. CPU in milliseconds a request. */
export type LoadCase = { name: string; rate: number; cpu: { worker: number; postgres: number }; calls: number };

/** What was measured, from the newest results of `npm run bench` and `npm run bench:peers`. */
export type Measured = { cases: LoadCase[]; order: OrderUsage };

/** Published limits; docs/scale.md has their sources. */
export const limits = {
  queueMessagesPerSecond: 5_000,
  /** The largest Neon compute that scales by itself, and the largest of all. */
  neonAutoscalingCu: 16,
  neonLargestCu: 56,
  /** Of one account in live mode. */
  stripeWritesPerSecond: 100,
  /** A conservative figure for one partition; Confluent writes of tens of MB. */
  partitionBytesPerSecond: 10e6,
};

/** Settings of this repository. A test compares them with the files that have them. */
export const settings = {
  /** `KEY_LIMIT` in wrangler.toml: requests of one key in one data center. */
  keyRequestsPerSecond: 2_000,
  /** Partitions of order.created in src/events/topics.ts. */
  partitions: 12,
};

/** The planned share of a database's CPU. Above it, requests would wait. As in bench/peers/costs.ts. */
const utilisation = 0.5;
/** Stripe sends two webhooks for a checkout: the payment was created, and it was paid. */
const webhooksPerOrder = 2;
/** The requests of one checkout that are made with the shop's key. */
export const keyRequestsOf = ({ order }: Measured): number => order.requests - webhooksPerOrder;

export const ratesPerMinute = [100, 10_000, 1_000_000];

const caseOf = ({ cases }: Measured, name: string): LoadCase => {
  const found = cases.find((each) => each.name === name);
  if (found === undefined) throw new Error(`the results have no case ${name}: run "npm run bench"`);
  return found;
};

/** Whole checkouts a second that one CU makes at half of its CPU, taken as one core. */
export const ordersPerCu = (measured: Measured): number =>
  (1_000 / caseOf(measured, 'checkout').cpu.postgres) * utilisation;

/** What checkouts at one rate take. */
export type Load = {
  ordersPerMinute: number;
  databaseCores: number;
  computeUnits: number;
  /** Databases of the largest compute that scales by itself. */
  cells: number;
  databaseCallsPerSecond: number;
  workerRequestsPerSecond: number;
  workerCores: number;
  workerDollarsPerHour: number;
  queueMessagesPerSecond: number;
  queueShards: number;
  kafkaRecordsPerSecond: number;
  kafkaMegabytesPerSecond: number;
  /** Relays that publish at the same time, each at the measured rate. */
  relays: number;
  stripeRequestsPerSecond: number;
  gigabytesPerDay: number;
};

export function loadOf(measured: Measured, ordersPerMinute: number): Load {
  const { order } = measured;
  const checkout = caseOf(measured, 'checkout');
  const perSecond = ordersPerMinute / 60;
  const databaseCores = (perSecond * checkout.cpu.postgres) / 1_000;
  const computeUnits = perSecond / ordersPerCu(measured);
  const requests = perSecond * (order.requests + order.deliveries);
  const queueMessagesPerSecond = perSecond * order.queueMessages;
  const kafkaRecordsPerSecond = perSecond * order.records;
  return {
    ordersPerMinute,
    databaseCores,
    computeUnits,
    cells: Math.max(1, Math.ceil(computeUnits / limits.neonAutoscalingCu)),
    databaseCallsPerSecond: perSecond * checkout.calls,
    workerRequestsPerSecond: requests,
    workerCores: (perSecond * checkout.cpu.worker) / 1_000,
    workerDollarsPerHour:
      3_600 * (requests * prices.workers.requests + perSecond * checkout.cpu.worker * prices.workers.cpuMs),
    queueMessagesPerSecond,
    queueShards: Math.max(1, Math.ceil(queueMessagesPerSecond / limits.queueMessagesPerSecond)),
    kafkaRecordsPerSecond,
    kafkaMegabytesPerSecond: (kafkaRecordsPerSecond * order.recordBytes) / 1e6,
    relays: Math.max(1, Math.ceil(kafkaRecordsPerSecond / caseOf(measured, 'relay').rate)),
    stripeRequestsPerSecond: perSecond,
    gigabytesPerDay: (perSecond * 86_400 * order.databaseBytes) / 1e9,
  };
}

/** A limit, and the orders a minute at which it is reached. */
export type Ceiling = {
  name: string;
  basis: 'measured' | 'extrapolated' | 'published' | 'setting';
  ordersPerMinute: number;
};

/** Every limit that the model knows, the first one to be reached first. */
export function ceilingsOf(measured: Measured): Ceiling[] {
  const { order } = measured;
  const perMinute = (perSecond: number): number => perSecond * 60;
  const ofCompute = (units: number): number => perMinute(units * ordersPerCu(measured));
  const all: Ceiling[] = [
    {
      name: 'Stripe: requests of one account',
      basis: 'published',
      ordersPerMinute: perMinute(limits.stripeWritesPerSecond),
    },
    {
      name: 'Queues: messages of one queue, if all went through one',
      basis: 'published',
      ordersPerMinute: perMinute(limits.queueMessagesPerSecond / order.queueMessages),
    },
    {
      name: 'one SKU: orders that lock the same row',
      basis: 'measured',
      ordersPerMinute: perMinute(caseOf(measured, 'order-hot').rate),
    },
    {
      name: 'one campaign: joins that lock the same row',
      basis: 'measured',
      ordersPerMinute: perMinute(caseOf(measured, 'join').rate),
    },
    {
      name: 'one key: rate limit in one data center',
      basis: 'setting',
      ordersPerMinute: perMinute(settings.keyRequestsPerSecond / keyRequestsOf(measured)),
    },
    {
      name: `one cell: Neon compute of ${limits.neonAutoscalingCu} CU at half of its CPU`,
      basis: 'extrapolated',
      ordersPerMinute: ofCompute(limits.neonAutoscalingCu),
    },
    {
      name: `one cell: the largest compute, ${limits.neonLargestCu} CU`,
      basis: 'extrapolated',
      ordersPerMinute: ofCompute(limits.neonLargestCu),
    },
    {
      name: 'one cell: one relay at a time to Kafka',
      basis: 'extrapolated',
      ordersPerMinute: perMinute(caseOf(measured, 'relay').rate / order.records),
    },
    {
      name: `Kafka: one topic with ${settings.partitions} partitions`,
      basis: 'published',
      ordersPerMinute: perMinute((settings.partitions * limits.partitionBytesPerSecond) / order.recordBytes),
    },
  ];
  return all.sort((a, b) => a.ordersPerMinute - b.ordersPerMinute);
}
