import { createHash } from 'node:crypto';
import type { PlannedOrder } from '../planned.ts';
import { pounds } from '../progress.ts';

/** An order in the database with its events and its reservation. `hold` is the status of the reservation. */
export type OrderRow = {
  id: string;
  invoice: string;
  customer: string;
  items: { sku: string; quantity: number; price: number }[];
  /** Exact, as PostgreSQL prints a numeric. */
  total: string;
  currency: string;
  status: string;
  reason: string | null;
  hold: string | null;
  skus: string[] | null;
  quantities: number[] | null;
  events: { id: string; topic: string; payload: Record<string, unknown>; time: number }[] | null;
};

export type Aspect = 'orders' | 'lines' | 'revenue' | 'reservations' | 'events';

/** The valid statuses of a reservation, by the status of its order. An order fails when its hold expires. */
const validHolds: Record<string, string[]> = {
  created: ['held'],
  confirmed: ['committed'],
  shipped: ['committed'],
  delivered: ['committed'],
  failed: ['released'],
  cancelled: ['released'],
  refunded: ['committed', 'released'],
};

/** The topic of the event that ends an order, by its status. */
const endTopics: Record<string, string> = { failed: 'order.failed', cancelled: 'order.cancelled' };

/** A digest of a JSON value that does not depend on the order of an object's fields. */
export function digestOf(value: unknown): string {
  const sorted = JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
  return createHash('md5').update(sorted).digest('base64');
}

/** `2.5` and `2.50` are 250n. -1n for anything that is not an amount with at most two decimals. */
export function penceOf(amount: string): bigint {
  const match = /^(\d+)(?:\.(\d{1,2})0*)?$/.exec(amount);
  return match ? BigInt(match[1] ?? 0) * 100n + BigInt((match[2] ?? '').padEnd(2, '0')) : -1n;
}

/** Adds up the units of each key. */
export function sumBy<T>(
  items: Iterable<T>,
  key: (item: T) => string,
  units: (item: T) => number,
): Map<string, number> {
  const sums = new Map<string, number>();
  for (const item of items) sums.set(key(item), (sums.get(key(item)) ?? 0) + units(item));
  return sums;
}

/** Describes the first key whose sums differ. */
function difference(wanted: Map<string, number>, found: Map<string, number>): string | undefined {
  for (const key of new Set([...wanted.keys(), ...found.keys()])) {
    const [wantedUnits, foundUnits] = [wanted.get(key) ?? 0, found.get(key) ?? 0];
    if (wantedUnits !== foundUnits) return `${foundUnits} of ${key} instead of ${wantedUnits}`;
  }
  return undefined;
}

/** The lines of an order, merged as the platform does: units by SKU and price. */
export const linesOf = (order: PlannedOrder): Map<string, number> =>
  sumBy(
    order.lines,
    (line) => `${line.sku} at ${pounds(BigInt(line.pence))}`,
    (line) => line.units,
  );

export const totalOf = (order: PlannedOrder): bigint =>
  order.lines.reduce((sum, { units, pence }) => sum + BigInt(units) * BigInt(pence), 0n);

/**
 * Describes the first missing or wrong event: order.created matching the order, the reservation, and the end of the
 * order.
 */
function findEventProblem(row: OrderRow): string | undefined {
  const eventsOf = (topic: string) => (row.events ?? []).filter((event) => event.topic === topic);
  const created = eventsOf('order.created');
  const [payload] = created.map((event) => event.payload);
  if (!payload || created.length > 1) return `found ${created.length} order.created events instead of 1`;
  const { orderId, customerId, total, currency, items } = payload;
  const eventDigest = digestOf([orderId, customerId, Number(total), currency, items]);
  if (eventDigest !== digestOf([row.id, row.customer, Number(row.total), row.currency, row.items])) {
    return 'order.created does not match the order';
  }
  if (eventsOf('inventory.reserved').length === 0) return 'inventory.reserved is missing';
  if (row.hold === 'released' && eventsOf('inventory.released').length === 0) return 'inventory.released is missing';
  const endTopic = endTopics[row.status];
  return endTopic !== undefined && eventsOf(endTopic).length === 0 ? `${endTopic} is missing` : undefined;
}

/** Describes how an order differs from its invoice, at most one difference for each aspect. */
export function compareOrder(order: PlannedOrder, row: OrderRow): Partial<Record<Aspect, string>> {
  const problems: Partial<Record<Aspect, string>> = {};
  if (row.customer !== order.customer) problems.orders = `customer ${row.customer} instead of ${order.customer}`;
  if (row.currency !== 'GBP') problems.orders = `currency ${row.currency} instead of GBP`;

  const items = sumBy(
    row.items,
    (item) => `${item.sku} at ${pounds(penceOf(String(item.price)))}`,
    (item) => item.quantity,
  );
  const line = difference(linesOf(order), items);
  if (line !== undefined) problems.lines = line;
  else if (items.size !== row.items.length) problems.lines = 'the order has a line twice';

  if (penceOf(row.total) !== totalOf(order)) problems.revenue = `${row.total} instead of ${pounds(totalOf(order))}`;

  const wanted = sumBy(
    order.lines,
    (plannedLine) => plannedLine.sku,
    (plannedLine) => plannedLine.units,
  );
  const held = sumBy(
    (row.skus ?? []).entries(),
    ([, sku]) => sku,
    ([index]) => row.quantities?.[index] ?? 0,
  );
  const state = row.reason === null ? row.status : `${row.status}, ${row.reason}`;
  const units = difference(wanted, held);
  if (row.hold === null) problems.reservations = 'no reservation';
  else if (units !== undefined) problems.reservations = units;
  else if (!validHolds[row.status]?.includes(row.hold))
    problems.reservations = `the reservation is ${row.hold}, but the order is ${state}`;

  const event = findEventProblem(row);
  if (event !== undefined) problems.events = event;
  return problems;
}
