import type { EventRow, OrderRow } from '../books.ts';
import { type Check, cents, groupBy, sum } from '../finding.ts';

type Saga = { status: string; stock: string; visited: Set<string>; faults: string[] };

const paidStates = ['confirmed', 'shipped', 'delivered'];

/** What each event does to an order's status: from which ones, and to which. */
const steps: Record<string, { from: string[]; to: string }> = {
  'order.confirmed': { from: ['created', 'failed'], to: 'confirmed' },
  'order.failed': { from: ['created'], to: 'failed' },
  'order.cancelled': { from: ['created', 'confirmed', 'refunded'], to: 'cancelled' },
  'order.refunded': { from: paidStates, to: 'refunded' },
};

/** And to its stock. An order of a campaign begins with the unit that its place holds. */
const stockSteps: Record<string, { from: string[]; to: string }> = {
  'inventory.reserved': { from: ['none', 'released'], to: 'held' },
  'inventory.insufficient': { from: ['none'], to: 'refused' },
  'inventory.released': { from: ['held', 'committed'], to: 'released' },
  'order.confirmed': { from: ['held'], to: 'committed' },
};

/** Lives through the events of one order; `faults` are steps that lead from nowhere. */
export function liveThrough(events: readonly EventRow[], place: boolean): Saga {
  let [status, stock] = ['none', place ? 'held' : 'none'];
  const visited = new Set<string>();
  const faults: string[] = [];
  for (const { topic, payload, seq } of events) {
    if (topic === 'order.created') {
      if (status !== 'none') faults.push(`created again by event ${seq}`);
      status = 'created';
    }
    const step = steps[topic];
    if (step) {
      if (!step.from.includes(status)) faults.push(`${topic} (event ${seq}) of an order that is ${status}`);
      status = step.to;
    }
    // A bank has sent the money of a refund back.
    if (topic === 'order.refund.failed') {
      if (status !== 'refunded') faults.push(`${topic} (event ${seq}) of an order that is ${status}`);
      status = String(payload.status);
      if (stock === 'held') stock = 'committed';
    }
    const stockStep = stockSteps[topic];
    const announced = place && topic === 'inventory.reserved' && stock === 'held';
    if (stockStep && !announced) {
      if (!stockStep.from.includes(stock)) faults.push(`${topic} (event ${seq}) of stock that is ${stock}`);
      stock = stockStep.to;
    }
    if (topic === 'shipping.status.changed') {
      const reached = payload.status;
      if (reached === 'in_transit' && status === 'confirmed') status = 'shipped';
      if (reached === 'delivered' && ['confirmed', 'shipped'].includes(status)) status = 'delivered';
    }
    visited.add(status);
  }
  return { status, stock, visited, faults };
}

const explained: Check = {
  name: 'every order is in a state that its history explains',
  run(books, find) {
    const byKey = groupBy(books.events, (event) => event.key);
    const holds = new Map(books.reservations.map((row) => [row.order, row]));
    const places = new Set(books.participants.map((row) => row.order));
    // The units of an order that ended after its label was made stay out of the stock.
    const labelled = new Set(books.shipments.map((row) => row.order));
    for (const order of books.orders) {
      const { status, stock, faults } = liveThrough(byKey.get(order.id) ?? [], places.has(order.id));
      for (const fault of faults) find(order.id, fault);
      if (status !== order.status) find(order.id, `the order is ${order.status}, its events say ${status}`);
      const hold = holds.get(order.id);
      // A hold that ends before it was decided tells nobody: nothing was held.
      const undecided = stock === 'none' && (hold?.status === 'released' || hold?.status === 'pending');
      if (!undecided && hold?.status !== stock) {
        find(order.id, `its stock is ${hold?.status ?? 'not there'}, its events say ${stock}`);
      }
      const sold = paidStates.includes(order.status);
      if (sold !== (hold?.status === 'committed') && order.status !== 'refunded' && !labelled.has(order.id)) {
        find(order.id, `the order is ${order.status}, its stock ${hold?.status ?? 'not there'}`);
      }
    }
    const known = new Set(books.orders.map((order) => order.id));
    for (const { order, status } of books.reservations) {
      if (!known.has(order) && !places.has(order)) find(order, `stock that is ${status} for no order`);
      if (!known.has(order) && status === 'committed') find(order, 'stock committed without an order');
    }
  },
};

const unitsOf = (order: OrderRow): Map<string, number> => {
  const units = new Map<string, number>();
  for (const { sku, quantity } of order.items) units.set(sku, (units.get(sku) ?? 0) + quantity);
  return units;
};

const lines: Check = {
  name: 'an order, its hold and its total are of the same lines',
  run(books, find) {
    const holds = new Map(books.reservations.map((row) => [row.order, row]));
    for (const order of books.orders) {
      const total = sum(order.items, ({ quantity, price }) => quantity * cents(price));
      if (total !== cents(order.total))
        find(order.id, `its lines add up to ${total} cents, its total is ${order.total}`);
      const hold = holds.get(order.id);
      const units = unitsOf(order);
      const same =
        hold?.skus.length === units.size && hold.skus.every((sku, at) => units.get(sku) === hold.quantities[at]);
      if (!same) find(order.id, 'its stock is of other lines');
    }
  },
};

const parcels: Check = {
  name: 'one label for an order that has its address and its money',
  run(books, find) {
    const made = groupBy(books.shipments, (row) => row.order);
    const told = groupBy(
      books.events.filter((event) => event.topic === 'shipping.label.created'),
      (event) => event.key,
    );
    // Nothing is sent by itself for an order that the merchant meant to refund.
    const sent = new Set(books.events.filter(({ topic }) => topic === 'order.refund.failed').map(({ key }) => key));
    for (const order of books.orders) {
      const [labels, events] = [made.get(order.id)?.length ?? 0, told.get(order.id)?.length ?? 0];
      if (labels !== events) find(order.id, `${labels} labels, ${events} events of labels`);
      const refundFailed = sent.has(order.id);
      if (labels > 1 && !refundFailed) find(order.id, `${labels} labels`);
      if (order.address && !refundFailed && paidStates.includes(order.status) && labels === 0)
        find(order.id, 'paid, and without a label');
      if (['shipped', 'delivered'].includes(order.status) && labels === 0) find(order.id, 'shipped without a label');
    }
  },
};

export const orderChecks: Check[] = [explained, lines, parcels];
