/** What one order takes, measured; `cpu` in ms. */
export type OrderUse = {
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

/** List prices in dollars, as published; docs/performance.md names sources and dates. */
export const prices = {
  workers: {
    plan: 5,
    requests: 0.3e-6,
    requestsIncluded: 10e6,
    cpuMs: 0.02e-6,
    cpuMsIncluded: 30e6,
  },
  queues: { operation: 0.4e-6, included: 1e6, operationsOfMessage: 3 },
  neon: { cuHour: 0.106, cuHourScale: 0.222, gbMonth: 0.35, smallestCu: 0.25 },
  kafka: { gbIn: 0.05, gbOut: 0.05, gbMonth: 0.08, ecuHour: 0.14 },
  container: { vcpuHour: 0.04048, gbHour: 0.004445 },
};

const hoursOfMonth = 730;
/** Two crons: one each minute, one each hour. */
const cronsOfMonth = hoursOfMonth * 61;
/** Of a database's or a container's CPU, how much is planned for: at more, what arrives waits. */
const utilisation = 0.5;
const gb = 1e9;

export type Line = { what: string; quantity: string; dollars: number };

const over = (quantity: number, included: number): number => Math.max(0, quantity - included);
const show = (value: number): string => value.toLocaleString('en-US', { maximumFractionDigits: value < 100 ? 1 : 0 });

/** Neon runs all month, since the cron asks every minute; it grows above its smallest size when the work needs more. */
function neonLines(orders: number, use: { cpuMs: number; bytes: number }): Line[] {
  const work = (orders * use.cpuMs) / 3_600_000 / utilisation;
  const hours = Math.max(work, hoursOfMonth * prices.neon.smallestCu);
  const stored = (orders * use.bytes) / gb;
  return [
    {
      what: 'Neon compute',
      quantity: `${show(hours)} CU-hours, of which the orders' work ${show(work)}`,
      dollars: hours * prices.neon.cuHour,
    },
    { what: 'Neon storage', quantity: `${show(stored)} GB for a month`, dollars: stored * prices.neon.gbMonth },
  ];
}

/** What so many orders in a month cost: the plan and its allowances included. */
export function ourCosts(orders: number, use: OrderUse): Line[] {
  const { workers, queues, kafka } = prices;
  const requests = orders * (use.requests + use.deliveries) + cronsOfMonth;
  const cpu = orders * use.workerCpu;
  const operations = orders * use.queueMessages * queues.operationsOfMessage;
  const written = (orders * use.records * use.recordBytes) / gb;
  return [
    { what: 'Workers plan', quantity: 'a month', dollars: workers.plan },
    {
      what: 'Workers requests',
      quantity: `${show(requests / 1e6)} million, 10 included`,
      dollars: over(requests, workers.requestsIncluded) * workers.requests,
    },
    {
      what: 'Workers CPU',
      quantity: `${show(cpu / 1e6)} million ms, 30 included`,
      dollars: over(cpu, workers.cpuMsIncluded) * workers.cpuMs,
    },
    {
      what: 'Queues operations',
      quantity: `${show(operations / 1e6)} million, 1 included`,
      dollars: over(operations, queues.included) * queues.operation,
    },
    ...neonLines(orders, { cpuMs: use.databaseCpu, bytes: use.databaseBytes }),
    // Read once by someone, and kept for a month.
    {
      what: 'Kafka data',
      quantity: `${show(written)} GB in, out once, kept for a month`,
      dollars: written * (kafka.gbIn + kafka.gbOut + kafka.gbMonth),
    },
  ];
}

export type ContainerUse = { serverCpu: number; databaseCpu: number; databaseBytes: number };

/** The same for a server in containers of 1 vCPU and 2 GB, which run all month, beside the same database. */
export function containerCosts(orders: number, use: ContainerUse): Line[] {
  const needed = (orders * use.serverCpu) / 3_600_000 / utilisation / hoursOfMonth;
  const containers = Math.max(1, Math.ceil(needed));
  const { vcpuHour, gbHour } = prices.container;
  return [
    {
      what: 'Containers',
      quantity: `${containers} of 1 vCPU and 2 GB, of which the orders' work ${needed.toFixed(2)}`,
      dollars: containers * hoursOfMonth * (vcpuHour + 2 * gbHour),
    },
    ...neonLines(orders, { cpuMs: use.databaseCpu, bytes: use.databaseBytes }),
  ];
}

export const total = (lines: Line[]): number => lines.reduce((sum, { dollars }) => sum + dollars, 0);

/**
 * What one more order costs once every allowance and smallest size is used up, in dollars a million: the prices alone,
 * without the plan, the crons and what runs when nobody buys.
 */
export function marginalCosts(use: OrderUse): number {
  const { workers, queues, neon, kafka } = prices;
  const each =
    (use.requests + use.deliveries) * workers.requests +
    use.workerCpu * workers.cpuMs +
    use.queueMessages * queues.operationsOfMessage * queues.operation +
    (use.databaseCpu / 3_600_000 / utilisation) * neon.cuHour +
    (use.databaseBytes / gb) * neon.gbMonth +
    ((use.records * use.recordBytes) / gb) * (kafka.gbIn + kafka.gbOut + kafka.gbMonth);
  return each * 1e6;
}

/** The same of a container's server and its database. */
export function marginalContainerCosts(use: ContainerUse): number {
  const { container, neon } = prices;
  const vcpuHour = container.vcpuHour + 2 * container.gbHour;
  const hours = (ms: number): number => ms / 3_600_000 / utilisation;
  const each =
    hours(use.serverCpu) * vcpuHour + hours(use.databaseCpu) * neon.cuHour + (use.databaseBytes / gb) * neon.gbMonth;
  return each * 1e6;
}

export const printCosts = (title: string, lines: Line[]): string =>
  [
    `${title}: $${total(lines).toFixed(2)}`,
    ...lines.map(
      ({ what, quantity, dollars }) => `  ${what.padEnd(18)} ${`$${dollars.toFixed(2)}`.padStart(9)}  ${quantity}`,
    ),
  ].join('\n');
