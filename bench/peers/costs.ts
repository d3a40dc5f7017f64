/** The measured resource usage of one order. CPU in ms. */
export type OrderUsage = {
  /** HTTP requests to the Worker, Stripe's webhooks among them. */
  requests: number;
  /** Batches that queues deliver to the Worker. */
  deliveries: number;
  workerCpu: number;
  queueMessages: number;
  databaseCalls: number;
  databaseCpu: number;
  databaseBytes: number;
  records: number;
  recordBytes: number;
};

/** Published list prices in US dollars. docs/performance.md has their sources and dates. */
export const prices = {
  workers: {
    plan: 5,
    requests: 0.3e-6,
    requestsIncluded: 10e6,
    cpuMs: 0.02e-6,
    cpuMsIncluded: 30e6,
  },
  queues: { operation: 0.4e-6, included: 1e6, operationsPerMessage: 3 },
  neon: { cuHour: 0.106, cuHourScale: 0.222, gbMonth: 0.35, smallestCu: 0.25 },
  kafka: { gbIn: 0.05, gbOut: 0.05, gbMonth: 0.08, ecuHour: 0.14 },
  container: { vcpuHour: 0.04048, gbHour: 0.004445 },
};

const hoursPerMonth = 730;
/** One cron runs every minute, one every hour. */
const cronsPerMonth = hoursPerMonth * 61;
/** The planned share of a database's or container's CPU. Above it, requests would wait. */
const utilisation = 0.5;
const gb = 1e9;

export type Line = { item: string; quantity: string; dollars: number };

const aboveAllowance = (quantity: number, included: number): number => Math.max(0, quantity - included);
const format = (value: number): string => value.toLocaleString('en-US', { maximumFractionDigits: value < 100 ? 1 : 0 });

/**
 * Neon runs all month because the cron queries it every minute. It is billed above its smallest size if the orders need
 * more.
 */
function neonLines(orders: number, usage: { cpuMs: number; bytes: number }): Line[] {
  const work = (orders * usage.cpuMs) / 3_600_000 / utilisation;
  const hours = Math.max(work, hoursPerMonth * prices.neon.smallestCu);
  const stored = (orders * usage.bytes) / gb;
  return [
    {
      item: 'Neon compute',
      quantity: `${format(hours)} CU-hours, of which the orders need ${format(work)}`,
      dollars: hours * prices.neon.cuHour,
    },
    { item: 'Neon storage', quantity: `${format(stored)} GB for a month`, dollars: stored * prices.neon.gbMonth },
  ];
}

/** The monthly costs of FusionCommerce at this number of orders, with the plan and its allowances. */
export function ourCosts(orders: number, usage: OrderUsage): Line[] {
  const { workers, queues, kafka } = prices;
  const requests = orders * (usage.requests + usage.deliveries) + cronsPerMonth;
  const cpu = orders * usage.workerCpu;
  const operations = orders * usage.queueMessages * queues.operationsPerMessage;
  const written = (orders * usage.records * usage.recordBytes) / gb;
  return [
    { item: 'Workers plan', quantity: 'a month', dollars: workers.plan },
    {
      item: 'Workers requests',
      quantity: `${format(requests / 1e6)} million, 10 included`,
      dollars: aboveAllowance(requests, workers.requestsIncluded) * workers.requests,
    },
    {
      item: 'Workers CPU',
      quantity: `${format(cpu / 1e6)} million ms, 30 included`,
      dollars: aboveAllowance(cpu, workers.cpuMsIncluded) * workers.cpuMs,
    },
    {
      item: 'Queues operations',
      quantity: `${format(operations / 1e6)} million, 1 included`,
      dollars: aboveAllowance(operations, queues.included) * queues.operation,
    },
    ...neonLines(orders, { cpuMs: usage.databaseCpu, bytes: usage.databaseBytes }),
    // Each record is read once and kept for a month.
    {
      item: 'Kafka data',
      quantity: `${format(written)} GB written, read once, kept for a month`,
      dollars: written * (kafka.gbIn + kafka.gbOut + kafka.gbMonth),
    },
  ];
}

export type ContainerUsage = { serverCpu: number; databaseCpu: number; databaseBytes: number };

/**
 * The monthly costs of a server in containers of 1 vCPU and 2 GB that run all month, with the same kind of database.
 */
export function containerCosts(orders: number, usage: ContainerUsage): Line[] {
  const needed = (orders * usage.serverCpu) / 3_600_000 / utilisation / hoursPerMonth;
  const containers = Math.max(1, Math.ceil(needed));
  const { vcpuHour, gbHour } = prices.container;
  return [
    {
      item: 'Containers',
      quantity: `${containers} of 1 vCPU and 2 GB, of which the orders need ${needed.toFixed(2)}`,
      dollars: containers * hoursPerMonth * (vcpuHour + 2 * gbHour),
    },
    ...neonLines(orders, { cpuMs: usage.databaseCpu, bytes: usage.databaseBytes }),
  ];
}

export const total = (lines: Line[]): number => lines.reduce((sum, { dollars }) => sum + dollars, 0);

/**
 * The cost of a million more orders, in dollars, once every allowance and smallest size is used up. Without the plan,
 * the crons and idle capacity.
 */
export function marginalCosts(usage: OrderUsage): number {
  const { workers, queues, neon, kafka } = prices;
  const perOrder =
    (usage.requests + usage.deliveries) * workers.requests +
    usage.workerCpu * workers.cpuMs +
    usage.queueMessages * queues.operationsPerMessage * queues.operation +
    (usage.databaseCpu / 3_600_000 / utilisation) * neon.cuHour +
    (usage.databaseBytes / gb) * neon.gbMonth +
    ((usage.records * usage.recordBytes) / gb) * (kafka.gbIn + kafka.gbOut + kafka.gbMonth);
  return perOrder * 1e6;
}

/** The same for a server in containers and its database. */
export function marginalContainerCosts(usage: ContainerUsage): number {
  const { container, neon } = prices;
  const vcpuHour = container.vcpuHour + 2 * container.gbHour;
  const hours = (ms: number): number => ms / 3_600_000 / utilisation;
  const perOrder =
    hours(usage.serverCpu) * vcpuHour +
    hours(usage.databaseCpu) * neon.cuHour +
    (usage.databaseBytes / gb) * neon.gbMonth;
  return perOrder * 1e6;
}

export const printCosts = (title: string, lines: Line[]): string =>
  [
    `${title}: $${total(lines).toFixed(2)}`,
    ...lines.map(
      ({ item, quantity, dollars }) => `  ${item.padEnd(18)} ${`$${dollars.toFixed(2)}`.padStart(9)}  ${quantity}`,
    ),
  ].join('\n');
