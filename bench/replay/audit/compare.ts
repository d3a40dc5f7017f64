import { createHash } from 'node:crypto';
import type { PlannedOrder } from '../plan.ts';
import { pounds } from '../progress.ts';

/** An order as the database has it, with its reservation (`hold`: its status) and its events. */
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

/** What a reservation may be, by its order's status: a hold that ran out fails its order. */
const holds: Record<string, string[]> = {
  created: ['held'],
  confirmed: ['committed'],
  shipped: ['committed'],
  delivered: ['committed'],
  failed: ['released'],
  cancelled: ['released'],
  refunded: ['committed', 'released'],
};

/** How an order's end is told. */
const ends: Record<string, string> = { failed: 'order.failed', cancelled: 'order.cancelled' };

/** A digest of JSON that does not depend on the order of an object's members. */
export function digestOf(value: unknown): string {
  const sorted = JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
  return createHash('md5').update(sorted).digest('base64');
}

/** `2.5` and `2.50` as 250n; -1n for what is no amount of at most two decimals. */
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

/** The first key whose sums differ, in words. */
function difference(wanted: Map<string, number>, found: Map<string, number>): string | undefined {
  for (const key of new Set([...wanted.keys(), ...found.keys()])) {
    const [a, b] = [wanted.get(key) ?? 0, found.get(key) ?? 0];
    if (a !== b) return `${b} of ${key} in place of ${a}`;
  }
  return undefined;
}

/** An order's lines as the platform merges them: units by SKU and price. */
export const linesOf = (order: PlannedOrder): Map<string, number> =>
  sumBy(
    order.lines,
    (line) => `${line.sku} at ${pounds(BigInt(line.pence))}`,
    (line) => line.units,
  );

export const totalOf = (order: PlannedOrder): bigint =>
  order.lines.reduce((sum, { units, pence }) => sum + BigInt(units) * BigInt(pence), 0n);

/** Created once and as the order is, reserved, and its end if it has one. */
function eventFault(row: OrderRow): string | undefined {
  const of = (topic: string) => (row.events ?? []).filter((event) => event.topic === topic);
  const created = of('order.created');
  const [payload] = created.map((event) => event.payload);
  if (!payload || created.length > 1) return `order.created is there ${created.length} times`;
  const { orderId, customerId, total, currency, items } = payload;
  const told = digestOf([orderId, customerId, Number(total), currency, items]);
  if (told !== digestOf([row.id, row.customer, Number(row.total), row.currency, row.items])) {
    return 'order.created tells of another order';
  }
  if (of('inventory.reserved').length === 0) return 'inventory.reserved is missing';
  if (row.hold === 'released' && of('inventory.released').length === 0) return 'inventory.released is missing';
  const end = ends[row.status];
  return end !== undefined && of(end).length === 0 ? `${end} is missing` : undefined;
}

/** How an order differs from its invoice, in words, one for each aspect. */
export function compareOrder(order: PlannedOrder, row: OrderRow): Partial<Record<Aspect, string>> {
  const faults: Partial<Record<Aspect, string>> = {};
  if (row.customer !== order.customer) faults.orders = `customer ${row.customer} in place of ${order.customer}`;
  if (row.currency !== 'GBP') faults.orders = `in ${row.currency}`;

  const items = sumBy(
    row.items,
    (item) => `${item.sku} at ${pounds(penceOf(String(item.price)))}`,
    (item) => item.quantity,
  );
  const line = difference(linesOf(order), items);
  if (line !== undefined) faults.lines = line;
  else if (items.size !== row.items.length) faults.lines = 'a line is there twice';

  if (penceOf(row.total) !== totalOf(order)) faults.revenue = `${row.total} in place of ${pounds(totalOf(order))}`;

  const wanted = sumBy(
    order.lines,
    (of) => of.sku,
    (of) => of.units,
  );
  const held = sumBy(
    (row.skus ?? []).entries(),
    ([, sku]) => sku,
    ([at]) => row.quantities?.[at] ?? 0,
  );
  const state = row.reason === null ? row.status : `${row.status}, ${row.reason}`;
  const unit = difference(wanted, held);
  if (row.hold === null) faults.reservations = 'there is none';
  else if (unit !== undefined) faults.reservations = unit;
  else if (!holds[row.status]?.includes(row.hold)) faults.reservations = `${row.hold}, but the order is ${state}`;

  const event = eventFault(row);
  if (event !== undefined) faults.events = event;
  return faults;
}
