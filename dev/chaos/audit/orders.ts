import type { Books, EventRow, OrderRow, ShipmentRow } from '../books.ts';
import { type Check, cents, groupBy, sum } from '../finding.ts';
import { textOf } from '../journal.ts';

type OrderHistory = { status: string; stock: string; visited: Set<string>; problems: string[] };

const paidStatuses = ['confirmed', 'shipped', 'delivered'];

/** The change of an order's status by each event: from these statuses to that one. */
const statusSteps: Record<string, { from: string[]; to: string }> = {
  'order.confirmed': { from: ['created', 'failed'], to: 'confirmed' },
  'order.failed': { from: ['created'], to: 'failed' },
  'order.cancelled': { from: ['created', 'confirmed', 'refunded'], to: 'cancelled' },
  'order.refunded': { from: paidStatuses, to: 'refunded' },
};

/** The change of an order's stock by each event. An order of a campaign begins with the unit that its place holds. */
const stockSteps: Record<string, { from: string[]; to: string }> = {
  'inventory.reserved': { from: ['none', 'released'], to: 'held' },
  'inventory.insufficient': { from: ['none'], to: 'refused' },
  'inventory.released': { from: ['held', 'committed'], to: 'released' },
  'order.confirmed': { from: ['held'], to: 'committed' },
};

export type Parcels = { items: OrderRow['items']; shipments: readonly ShipmentRow[] };

/** The parcels of each order. */
export function parcelsOf({ orders, shipments }: Books): Map<string, Parcels> {
  const byOrder = groupBy(shipments, (row) => row.order);
  return new Map(orders.map(({ id, items }) => [id, { items, shipments: byOrder.get(id) ?? [] }]));
}

/** How many units of each line these shipments have. */
const unitsIn = ({ items, shipments }: Parcels): number[] =>
  items.map(({ quantity }, index) => sum(shipments, ({ quantities }) => quantities?.[index] ?? quantity));

/** The status that parcels give to their order, once all of its units are in parcels that have moved. */
function statusByParcels({ items, shipments }: Parcels, reached: ReadonlyMap<string, string>): string | undefined {
  const moved = shipments.filter(({ tracking }) => reached.has(tracking));
  const units = unitsIn({ items, shipments: moved });
  if (moved.length === 0 || items.some(({ quantity }, index) => (units[index] ?? 0) < quantity)) return undefined;
  return moved.every(({ tracking }) => reached.get(tracking) === 'delivered') ? 'delivered' : 'shipped';
}

/** Derives an order's status and stock from its events. `problems`: events that its state did not allow. */
export function replayEvents(events: readonly EventRow[], hasPlace: boolean, parcels?: Parcels): OrderHistory {
  const reached = new Map<string, string>();
  let [status, stock] = ['none', hasPlace ? 'held' : 'none'];
  const visited = new Set<string>();
  const problems: string[] = [];
  for (const { topic, payload, seq } of events) {
    if (topic === 'order.created') {
      if (status !== 'none') problems.push(`order.created (event ${seq}) of an order that exists already`);
      status = 'created';
    }
    const step = statusSteps[topic];
    if (step) {
      if (!step.from.includes(status)) problems.push(`${topic} (event ${seq}) of an order that is ${status}`);
      status = step.to;
    }
    // A bank returned the money of a refund to the merchant.
    if (topic === 'order.refund.failed') {
      if (status !== 'refunded') problems.push(`${topic} (event ${seq}) of an order that is ${status}`);
      status = String(payload.status);
      if (stock === 'held') stock = 'committed';
    }
    const stockStep = stockSteps[topic];
    const alreadyHeld = hasPlace && topic === 'inventory.reserved' && stock === 'held';
    if (stockStep && !alreadyHeld) {
      if (!stockStep.from.includes(stock)) problems.push(`${topic} (event ${seq}) of stock that is ${stock}`);
      stock = stockStep.to;
    }
    if (topic === 'shipping.status.changed') {
      const [tracking, change] = [String(payload.trackingNumber), String(payload.status)];
      if (['in_transit', 'delivered'].includes(change) && reached.get(tracking) !== 'delivered') {
        reached.set(tracking, change);
      }
      const next = parcels && statusByParcels(parcels, reached);
      if (next && ['confirmed', 'shipped'].includes(status)) status = next;
    }
    visited.add(status);
  }
  return { status, stock, visited, problems };
}

const explained: Check = {
  name: "every order's state follows from its events",
  run(books, report) {
    const byKey = groupBy(books.events, (event) => event.key);
    const holds = new Map(books.reservations.map((row) => [row.order, row]));
    const places = new Set(books.participants.map((row) => row.order));
    // The units of an order that ended after its label was made stay out of the stock.
    const labelled = new Set(books.shipments.map((row) => row.order));
    const parcelsByOrder = parcelsOf(books);
    for (const order of books.orders) {
      const { status, stock, problems } = replayEvents(
        byKey.get(order.id) ?? [],
        places.has(order.id),
        parcelsByOrder.get(order.id),
      );
      for (const problem of problems) report(order.id, problem);
      if (status !== order.status) report(order.id, `the order is ${order.status}, but by its events it is ${status}`);
      const hold = holds.get(order.id);
      // A hold that ends before it is decided emits no event, since nothing was held.
      const undecided = stock === 'none' && (hold?.status === 'released' || hold?.status === 'pending');
      if (!undecided && hold?.status !== stock) {
        report(order.id, `its stock is ${hold?.status ?? 'missing'}, but by its events it is ${stock}`);
      }
      const sold = paidStatuses.includes(order.status);
      if (sold !== (hold?.status === 'committed') && order.status !== 'refunded' && !labelled.has(order.id)) {
        report(order.id, `the order is ${order.status}, but its stock is ${hold?.status ?? 'missing'}`);
      }
    }
    const known = new Set(books.orders.map((order) => order.id));
    for (const { order, status } of books.reservations) {
      if (!known.has(order) && !places.has(order)) report(order, `a ${status} reservation without an order`);
      if (!known.has(order) && status === 'committed') report(order, 'stock committed without an order');
    }
  },
};

const unitsOf = (order: OrderRow): Map<string, number> => {
  const units = new Map<string, number>();
  for (const { sku, quantity } of order.items) units.set(sku, (units.get(sku) ?? 0) + quantity);
  return units;
};

const lineTotals: Check = {
  name: "an order's hold and total match its lines",
  run(books, report) {
    const holds = new Map(books.reservations.map((row) => [row.order, row]));
    for (const order of books.orders) {
      const total = sum(order.items, ({ quantity, price }) => quantity * cents(price)) + cents(order.extra);
      if (total !== cents(order.total))
        report(order.id, `its lines, tax and shipping add up to ${total} cents, but its total is ${order.total}`);
      const hold = holds.get(order.id);
      const units = unitsOf(order);
      const same =
        hold?.skus.length === units.size && hold.skus.every((sku, index) => units.get(sku) === hold.quantities[index]);
      if (!same) report(order.id, 'its reservation has other units than its lines');
    }
  },
};

const parcels: Check = {
  name: 'every unit of a paid order with an address has one label',
  run(books, report) {
    const shipments = groupBy(books.shipments, (row) => row.order);
    const labelEvents = groupBy(
      books.events.filter((event) => event.topic === 'shipping.label.created'),
      (event) => event.key,
    );
    // If a refund failed, no label is made automatically: the merchant meant to refund the order.
    const failedRefunds = new Set(
      books.events.filter(({ topic }) => topic === 'order.refund.failed').map(({ key }) => key),
    );
    const refundedUnits = new Map(books.amounts.map((row) => [row.order, row.refunded]));
    // A client sends these orders in parcels, not always all of their units. A refund of lines that failed adds units.
    const byHand = new Set([
      ...books.requests.filter(({ operation }) => operation === 'shipments.create').map(orderIdOf),
      ...books.lineRefunds.filter(({ status }) => status === 'failed').map((row) => row.order),
    ]);
    for (const order of books.orders) {
      const [labels, events] = [shipments.get(order.id)?.length ?? 0, labelEvents.get(order.id)?.length ?? 0];
      if (labels !== events) report(order.id, `${labels} labels, but ${events} events shipping.label.created`);
      const refundFailed = failedRefunds.has(order.id);
      const isValid = ({ status }: ShipmentRow) => status !== 'cancelled';
      const units = unitsIn({ items: order.items, shipments: (shipments.get(order.id) ?? []).filter(isValid) });
      const mustHaveLabels = order.address && !refundFailed && paidStatuses.includes(order.status);
      const refunded = refundedUnits.get(order.id);
      for (const [index, { sku, quantity }] of order.items.entries()) {
        const count = units[index] ?? 0;
        if (count > quantity && !refundFailed) report(order.id, `labels for ${count} of ${quantity} ${sku}`);
        if (count < quantity - (refunded?.[index] ?? 0) && mustHaveLabels && !byHand.has(order.id))
          report(order.id, `it is paid but has labels for ${count} of ${quantity} ${sku}`);
      }
      if (['shipped', 'delivered'].includes(order.status) && labels === 0)
        report(order.id, 'it is shipped but has no label');
    }
  },
};

const orderIdOf = ({ body }: { body: unknown }): string => textOf(body, 'orderId');

export const orderChecks: Check[] = [explained, lineTotals, parcels];
