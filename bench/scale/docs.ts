import { withTable } from '../growth/docs.ts';
import { formatFigure } from '../load/table.ts';
import {
  type Ceiling,
  ceilingsOf,
  keyRequestsOf,
  type Load,
  loadOf,
  type Measured,
  ordersPerCu,
  ratesPerMinute,
} from './model.ts';

/** A Markdown table with padded columns, the first aligned left and the others right. */
function table(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(3, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
  const pad = (row: string[]): string[] =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)));
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  const [head = [], ...body] = rows;
  return [line(pad(head)), line(rule), ...body.map((row) => line(pad(row)))].join('\n');
}

/** Two digits are enough for an estimate: 12,345 is 12,000. */
const estimate = (value: number): string => {
  if (value >= 100) return Number(value.toPrecision(2)).toLocaleString('en-US');
  return value === 0 ? '0' : String(Number(value.toPrecision(2)));
};

const loadRows: [string, (load: Load) => string][] = [
  ['orders a second', ({ ordersPerMinute }) => estimate(ordersPerMinute / 60)],
  ['PostgreSQL: busy cores', ({ databaseCores }) => estimate(databaseCores)],
  ['PostgreSQL: CU at half of their CPU', ({ computeUnits }) => estimate(computeUnits)],
  ['cells of at most 16 CU', ({ cells }) => String(cells)],
  ['database calls a second', ({ databaseCallsPerSecond }) => estimate(databaseCallsPerSecond)],
  ['Worker: requests and batches a second', ({ workerRequestsPerSecond }) => estimate(workerRequestsPerSecond)],
  ['Worker: busy cores', ({ workerCores }) => estimate(workerCores)],
  ['Worker: dollars an hour', ({ workerDollarsPerHour }) => estimate(workerDollarsPerHour)],
  ['queue messages a second', ({ queueMessagesPerSecond }) => estimate(queueMessagesPerSecond)],
  ['queues, if all messages went through one', ({ queueShards }) => String(queueShards)],
  ['Kafka: records a second', ({ kafkaRecordsPerSecond }) => estimate(kafkaRecordsPerSecond)],
  ['Kafka: MB a second', ({ kafkaMegabytesPerSecond }) => estimate(kafkaMegabytesPerSecond)],
  ['relays at the same time', ({ relays }) => String(relays)],
  ['requests to Stripe a second', ({ stripeRequestsPerSecond }) => estimate(stripeRequestsPerSecond)],
  ['database growth, GB a day', ({ gigabytesPerDay }) => estimate(gigabytesPerDay)],
];

/** What each rate takes. */
export function loadTable(measured: Measured): string {
  const loads = ratesPerMinute.map((rate) => loadOf(measured, rate));
  const head = ['orders a minute', ...ratesPerMinute.map((rate) => rate.toLocaleString('en-US'))];
  return table([head, ...loadRows.map(([label, read]) => [label, ...loads.map(read)])]);
}

/** Every limit, the first one to be reached first. */
export const ceilingTable = (measured: Measured): string =>
  table([
    ['limit', 'from', 'reached at orders a minute'],
    ...ceilingsOf(measured).map(({ name, basis, ordersPerMinute }: Ceiling) => [
      name,
      basis,
      estimate(ordersPerMinute),
    ]),
  ]);

/** What one order takes, as measured. */
export function measuredTable(measured: Measured): string {
  const { order, cases } = measured;
  const row = (label: string, name: string): string[] => {
    const found = cases.find((each) => each.name === name);
    return [label, ...[found?.cpu.postgres, found?.cpu.worker, found?.calls, found?.rate].map(formatFigure)];
  };
  return [
    table([
      ['', 'PostgreSQL CPU, ms', 'Worker CPU, ms', 'database calls', 'a second on two cores'],
      row('whole checkout', 'checkout'),
      row('order alone', 'order'),
      row('order of one hot SKU', 'order-hot'),
      row('join of one campaign', 'join'),
      row('an event, relayed to Kafka', 'relay'),
    ]),
    '',
    `- One checkout makes ${formatFigure(order.requests)} requests: ${formatFigure(keyRequestsOf(measured))} with the ` +
      "shop's key, and two webhooks from Stripe.",
    `- It sends ${formatFigure(order.queueMessages)} queue messages, and ${formatFigure(order.records)} Kafka records ` +
      `of ${formatFigure(order.recordBytes)} bytes.`,
    `- It leaves ${formatFigure(order.databaseBytes / 1000)} kB in the database.`,
    `- One CU at half of its CPU makes ${formatFigure(ordersPerCu(measured))} checkouts a second.`,
  ].join('\n');
}

/** The page with its three tables made again. */
export const withTables = (page: string, measured: Measured): string =>
  [
    ['measured', measuredTable(measured)] as const,
    ['load', loadTable(measured)] as const,
    ['ceilings', ceilingTable(measured)] as const,
  ].reduce((text, [name, content]) => withTable(text, content, name), page);
