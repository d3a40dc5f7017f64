import { ReplayError, readRows } from './file.ts';
import { groupVariants } from './groups.ts';
import type { PlannedOrder, PlannedPrice, PlannedProduct } from './planned.ts';
import { collectPrices } from './prices.ts';
import { type ClassifiedRow, canCharge, createClassifier, maxLines, type Reason } from './rows.ts';

type Invoice = { kind: 'sale' | 'cancellation'; lines: number; pence: bigint; rejected: Reason | undefined };

/** A line of a cancellation: returned units of a SKU. `row` is its row in the file. */
export type Cancellation = { row: number; invoice: string; sku: string; units: number };

/** The content of a file: what the replay sends, and what the audit expects. */
export type Plan = {
  path: string;
  /** Identifies the file: the first 16 hexadecimal digits of the SHA-256 of its uncompressed content. */
  id: string;
  sha256: string;
  rows: number;
  products: Map<string, PlannedProduct>;
  /** The rows of the price list. */
  prices: PlannedPrice[];
  invoices: Map<string, Invoice>;
  /** The number of invoices that become orders. */
  orders: number;
  /** The total of these orders at the file's prices. */
  pence: bigint;
  cancellations: Cancellation[];
  /** The number of rows by outcome. They add up to `rows`. */
  counts: Map<'sale' | 'cancellation' | Reason, number>;
  /** What the limits of the API leave out. */
  notes: string[];
};

/** The customer of an order if the file has none. */
export const guestCustomer = 'guest';

/** Marks the rows of this file's replay: the organizationId of orders, and the start of the reasons of adjustments. */
export const markOf = (plan: Pick<Plan, 'id'>): string => `replay-${plan.id}`;

type Tally = { name: string; opening: number; sold: Map<number, number>; other: Map<number, number> };

/** The most frequent price. If several are equally frequent, the one that the file has first. */
function mostFrequent(prices: Map<number, number>): number | undefined {
  let best: [number, number] | undefined;
  for (const entry of prices) if (!best || entry[1] > best[1]) best = entry;
  return best?.[0];
}

function count<K>(counts: Map<K, number>, key: K, by = 1): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}

/** Adds a row to the tally of its product. Rows without goods (adjustments) or without a valid SKU are skipped. */
function tally(products: Map<string, Tally>, classified: ClassifiedRow): void {
  if (classified.kind === 'rejected' && ['columns', 'adjustment', 'invoice', 'sku'].includes(classified.reason)) return;
  const product = products.get(classified.sku) ?? { name: '', opening: 0, sold: new Map(), other: new Map() };
  products.set(classified.sku, product);
  product.name ||= classified.description;
  if (classified.pence !== undefined)
    count(classified.kind === 'sale' ? product.sold : product.other, classified.pence);
  if (classified.kind === 'sale') product.opening += classified.units;
}

function toProducts(tallies: Map<string, Tally>): Plan['products'] {
  const products: Plan['products'] = new Map();
  for (const [sku, { name, opening, sold, other }] of tallies) {
    const pence = mostFrequent(sold) ?? mostFrequent(other);
    if (pence !== undefined) products.set(sku, { sku, name: name || sku, pence, opening });
  }
  return products;
}

/** Why an invoice cannot become an order. */
function orderFault({ lines, pence }: Invoice): Reason | undefined {
  if (lines > maxLines) return 'orderLines';
  return canCharge(pence) ? undefined : 'orderTotal';
}

/**
 * Reads a file twice: first its rows, then the invoices for the price list. Keeps a few hundred bytes for each SKU,
 * invoice and cancelled line and for each quantity and price of a SKU, but no sale lines. The units of a rejected invoice
 * stay in the opening stock, which may be too large but never too small. `limit`: only this number of invoices, sales
 * and cancellations, from the start of the file. The catalog and the price list do not depend on it.
 * @throws ReplayError as readRows does
 */
export async function makePlan(
  path: string,
  limit = Number.POSITIVE_INFINITY,
  onRead: (share: number) => void = () => undefined,
): Promise<Plan> {
  const classify = createClassifier();
  const tallies = new Map<string, Tally>();
  const invoices: Plan['invoices'] = new Map();
  const cancellations: Cancellation[] = [];
  const counts: Plan['counts'] = new Map();
  let rows = 0;
  let sha256 = '';
  const onFirstRead = (share: number): void => onRead(share / 2);
  for await (const row of readRows(path, { onRead: onFirstRead, onEnd: (digest) => (sha256 = digest) })) {
    const classified = classify(row);
    rows++;
    tally(tallies, classified);
    if (classified.kind === 'rejected') {
      count(counts, classified.reason);
      continue;
    }
    const { kind, sku, units, pence = 0 } = classified;
    const invoice = invoices.get(classified.invoice) ?? { kind, lines: 0, pence: 0n, rejected: undefined };
    if (invoices.size >= limit && invoice.lines === 0) invoice.rejected = 'limit';
    invoices.set(classified.invoice, invoice);
    invoice.lines++;
    invoice.pence += BigInt(units) * BigInt(pence);
    if (kind === 'cancellation' && !invoice.rejected)
      cancellations.push({ row: classified.row, invoice: classified.invoice, sku, units });
  }
  let orders = 0;
  let pence = 0n;
  for (const invoice of invoices.values()) {
    if (invoice.kind === 'sale') {
      invoice.rejected ??= orderFault(invoice);
      if (!invoice.rejected) {
        orders++;
        pence += invoice.pence;
      }
    }
    count(counts, invoice.rejected ?? invoice.kind, invoice.lines);
  }
  const products = toProducts(tallies);
  const notes = groupVariants(products);
  const read = {
    path,
    id: sha256.slice(0, 16),
    sha256,
    rows,
    products,
    invoices,
    orders,
    pence,
    cancellations,
    counts,
  };
  const { prices, notes: priceNotes } = await collectPrices(
    readSales(read, (share) => onRead((1 + share) / 2)),
    products,
  );
  return { ...read, prices, notes: [...notes, ...priceNotes] };
}

/**
 * Reads the file again and yields each invoice that can become an order, also those beyond `limit`, once its last line
 * is read. Lines of one invoice need not be adjacent: an invoice is kept in memory from its first line to its last.
 * @throws ReplayError if the file has changed since it was read first
 */
async function* readSales(
  plan: Pick<Plan, 'path' | 'sha256' | 'invoices'>,
  onRead: (share: number) => void = () => undefined,
): AsyncGenerator<PlannedOrder> {
  const classify = createClassifier();
  const open = new Map<string, PlannedOrder>();
  const changed = () => new ReplayError(`${plan.path} has changed during the replay`);
  let sha256 = '';
  for await (const row of readRows(plan.path, { onRead, onEnd: (digest) => (sha256 = digest) })) {
    const classified = classify(row);
    if (classified.kind !== 'sale') continue;
    const invoice = plan.invoices.get(classified.invoice);
    if (!invoice) throw changed();
    if (orderFault(invoice) !== undefined) continue;
    const order = open.get(classified.invoice) ?? { invoice: classified.invoice, customer: '', lines: [] };
    order.customer ||= classified.customer;
    order.lines.push({ sku: classified.sku, units: classified.units, pence: classified.pence ?? 0 });
    if (order.lines.length < invoice.lines) open.set(classified.invoice, order);
    else {
      open.delete(classified.invoice);
      yield { ...order, customer: order.customer || guestCustomer };
    }
  }
  if (open.size > 0 || sha256 !== plan.sha256) throw changed();
}

/** Reads the file again and yields each order. @throws ReplayError as readSales does */
export async function* readOrders(plan: Plan): AsyncGenerator<PlannedOrder> {
  for await (const order of readSales(plan)) {
    if (plan.invoices.get(order.invoice)?.rejected === undefined) yield order;
  }
}
