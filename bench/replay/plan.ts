import { ReplayError, readRows } from './file.ts';
import { type ClassifiedRow, canCharge, createClassifier, maxLines, type Reason } from './rows.ts';

/** A SKU to import. `opening`: its opening stock, the units of all its sale lines. */
export type PlannedProduct = { sku: string; name: string; pence: number; opening: number };

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
  invoices: Map<string, Invoice>;
  /** The number of invoices that become orders. */
  orders: number;
  /** The total of these orders at the file's prices. */
  pence: bigint;
  cancellations: Cancellation[];
  /** The number of rows by outcome. They add up to `rows`. */
  counts: Map<'sale' | 'cancellation' | Reason, number>;
};

/** The sale lines of an invoice as one order, in the order of the file. */
export type PlannedOrder = {
  invoice: string;
  customer: string;
  lines: { sku: string; units: number; pence: number }[];
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
function tally(products: Map<string, Tally>, read: ClassifiedRow): void {
  if (read.kind === 'rejected' && ['columns', 'adjustment', 'invoice', 'sku'].includes(read.reason)) return;
  const product = products.get(read.sku) ?? { name: '', opening: 0, sold: new Map(), other: new Map() };
  products.set(read.sku, product);
  product.name ||= read.description;
  if (read.pence !== undefined) count(read.kind === 'sale' ? product.sold : product.other, read.pence);
  if (read.kind === 'sale') product.opening += read.units;
}

function toProducts(tallies: Map<string, Tally>): Plan['products'] {
  const products: Plan['products'] = new Map();
  for (const [sku, { name, opening, sold, other }] of tallies) {
    const pence = mostFrequent(sold) ?? mostFrequent(other);
    if (pence !== undefined) products.set(sku, { sku, name: name || sku, pence, opening });
  }
  return products;
}

/**
 * Reads a file for the first time. Keeps a few hundred bytes for each SKU, invoice and cancelled line, but no sale
 * lines. The units of a rejected invoice stay in the opening stock, which may be too large but never too small.
 * `limit`: only this number of invoices, sales and cancellations, from the start of the file.
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
  for await (const row of readRows(path, { onRead, onEnd: (digest) => (sha256 = digest) })) {
    const read = classify(row);
    rows++;
    tally(tallies, read);
    if (read.kind === 'rejected') {
      count(counts, read.reason);
      continue;
    }
    const { kind, sku, units, pence = 0 } = read;
    const invoice = invoices.get(read.invoice) ?? { kind, lines: 0, pence: 0n, rejected: undefined };
    if (invoices.size >= limit && invoice.lines === 0) invoice.rejected = 'limit';
    invoices.set(read.invoice, invoice);
    invoice.lines++;
    invoice.pence += BigInt(units) * BigInt(pence);
    if (kind === 'cancellation' && !invoice.rejected)
      cancellations.push({ row: read.row, invoice: read.invoice, sku, units });
  }
  let orders = 0;
  let pence = 0n;
  for (const invoice of invoices.values()) {
    if (invoice.kind === 'sale') {
      if (invoice.lines > maxLines) invoice.rejected ??= 'orderLines';
      else if (!canCharge(invoice.pence)) invoice.rejected ??= 'orderTotal';
      if (!invoice.rejected) {
        orders++;
        pence += invoice.pence;
      }
    }
    count(counts, invoice.rejected ?? invoice.kind, invoice.lines);
  }
  const products = toProducts(tallies);
  return { path, id: sha256.slice(0, 16), sha256, rows, products, invoices, orders, pence, cancellations, counts };
}

/**
 * Reads the file again and yields each order once its last line is read. Lines of one invoice need not be adjacent: an
 * invoice is kept in memory from its first line to its last.
 * @throws ReplayError if the file has changed since the plan was made
 */
export async function* readOrders(plan: Plan): AsyncGenerator<PlannedOrder> {
  const classify = createClassifier();
  const open = new Map<string, PlannedOrder>();
  const changed = () => new ReplayError(`${plan.path} has changed during the replay`);
  let sha256 = '';
  for await (const row of readRows(plan.path, { onEnd: (digest) => (sha256 = digest) })) {
    const read = classify(row);
    if (read.kind !== 'sale') continue;
    const invoice = plan.invoices.get(read.invoice);
    if (!invoice) throw changed();
    if (invoice.rejected) continue;
    const order = open.get(read.invoice) ?? { invoice: read.invoice, customer: '', lines: [] };
    order.customer ||= read.customer;
    order.lines.push({ sku: read.sku, units: read.units, pence: read.pence ?? 0 });
    if (order.lines.length < invoice.lines) open.set(read.invoice, order);
    else {
      open.delete(read.invoice);
      yield { ...order, customer: order.customer || guestCustomer };
    }
  }
  if (open.size > 0 || sha256 !== plan.sha256) throw changed();
}
