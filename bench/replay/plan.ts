import { ReplayError, readRows } from './file.ts';
import { canCharge, createJudge, type Judged, mostLines, type Reason } from './rows.ts';

/** A SKU as it comes into the catalog. `opening`: units of all its sale lines. */
export type PlannedProduct = { sku: string; name: string; pence: number; opening: number };

type Invoice = { kind: 'sale' | 'cancellation'; lines: number; pence: bigint; refused: Reason | undefined };

/** A line of a cancellation: units of a SKU that came back. `row` is its row in the file. */
export type Cancellation = { row: number; invoice: string; sku: string; units: number };

/** What is to be done with a file, and what must be found when it is done. */
export type Plan = {
  path: string;
  /** The first 16 hexadecimal digits of the SHA-256 of the uncompressed content: what tells this file from others. */
  id: string;
  sha256: string;
  rows: number;
  products: Map<string, PlannedProduct>;
  invoices: Map<string, Invoice>;
  /** How many invoices become orders. */
  orders: number;
  /** Their sum by the file's prices. */
  pence: bigint;
  cancellations: Cancellation[];
  /** How many rows came to what; the sum is `rows`. */
  counts: Map<'sale' | 'cancellation' | Reason, number>;
};

/** An invoice's sale lines as one order, in the file's order. */
export type PlannedOrder = {
  invoice: string;
  customer: string;
  lines: { sku: string; units: number; pence: number }[];
};

/** Who bought where the file does not say. */
export const standIn = 'guest';

/** Marks all that this file's replay writes: an order's organizationId, and the beginning of an adjustment's reason. */
export const markOf = (plan: Pick<Plan, 'id'>): string => `replay-${plan.id}`;

type Tally = { name: string; opening: number; sold: Map<number, number>; other: Map<number, number> };

/** The most frequent price; of several, the one that the file has first. */
function usual(prices: Map<number, number>): number | undefined {
  let best: [number, number] | undefined;
  for (const entry of prices) if (!best || entry[1] > best[1]) best = entry;
  return best?.[0];
}

function count<K>(counts: Map<K, number>, key: K, by = 1): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}

/** What the catalog learns of a row. What is no goods (an adjustment) or has no SKU stays out of it. */
function tally(products: Map<string, Tally>, read: Judged): void {
  if (read.kind === 'refused' && ['columns', 'adjustment', 'invoice', 'sku'].includes(read.reason)) return;
  const product = products.get(read.sku) ?? { name: '', opening: 0, sold: new Map(), other: new Map() };
  products.set(read.sku, product);
  product.name ||= read.description;
  if (read.pence !== undefined) count(read.kind === 'sale' ? product.sold : product.other, read.pence);
  if (read.kind === 'sale') product.opening += read.units;
}

function toProducts(tallies: Map<string, Tally>): Plan['products'] {
  const products: Plan['products'] = new Map();
  for (const [sku, { name, opening, sold, other }] of tallies) {
    const pence = usual(sold) ?? usual(other);
    if (pence !== undefined) products.set(sku, { sku, name: name || sku, pence, opening });
  }
  return products;
}

/**
 * The first reading of a file. What is kept is a few hundred bytes for each SKU and invoice, and each cancelled line;
 * no sale line. A refused invoice's units stay in the opening stock: there may be more than is sold, never less.
 * `limit`: only the file's first so many invoices, sales and cancellations alike.
 * @throws ReplayError see readRows
 */
export async function makePlan(
  path: string,
  limit = Number.POSITIVE_INFINITY,
  onRead: (share: number) => void = () => undefined,
): Promise<Plan> {
  const judge = createJudge();
  const tallies = new Map<string, Tally>();
  const invoices: Plan['invoices'] = new Map();
  const cancellations: Cancellation[] = [];
  const counts: Plan['counts'] = new Map();
  let rows = 0;
  let sha256 = '';
  for await (const row of readRows(path, { onRead, onEnd: (digest) => (sha256 = digest) })) {
    const read = judge(row);
    rows++;
    tally(tallies, read);
    if (read.kind === 'refused') {
      count(counts, read.reason);
      continue;
    }
    const { kind, sku, units, pence = 0 } = read;
    const invoice = invoices.get(read.invoice) ?? { kind, lines: 0, pence: 0n, refused: undefined };
    if (invoices.size >= limit && invoice.lines === 0) invoice.refused = 'limit';
    invoices.set(read.invoice, invoice);
    invoice.lines++;
    invoice.pence += BigInt(units) * BigInt(pence);
    if (kind === 'cancellation' && !invoice.refused)
      cancellations.push({ row: read.row, invoice: read.invoice, sku, units });
  }
  let orders = 0;
  let pence = 0n;
  for (const invoice of invoices.values()) {
    if (invoice.kind === 'sale') {
      if (invoice.lines > mostLines) invoice.refused ??= 'orderLines';
      else if (!canCharge(invoice.pence)) invoice.refused ??= 'orderTotal';
      if (!invoice.refused) {
        orders++;
        pence += invoice.pence;
      }
    }
    count(counts, invoice.refused ?? invoice.kind, invoice.lines);
  }
  const products = toProducts(tallies);
  return { path, id: sha256.slice(0, 16), sha256, rows, products, invoices, orders, pence, cancellations, counts };
}

/**
 * A further reading: the orders, each as soon as its last line was read. Lines of one invoice need not be adjacent; an
 * invoice is held from its first line to its last, so a file whose invoices are scattered costs memory, not correctness.
 * @throws ReplayError the file is no longer the one that was planned
 */
export async function* readOrders(plan: Plan): AsyncGenerator<PlannedOrder> {
  const judge = createJudge();
  const open = new Map<string, PlannedOrder>();
  const changed = () => new ReplayError(`${plan.path} was changed while it was read`);
  let sha256 = '';
  for await (const row of readRows(plan.path, { onEnd: (digest) => (sha256 = digest) })) {
    const read = judge(row);
    if (read.kind !== 'sale') continue;
    const invoice = plan.invoices.get(read.invoice);
    if (!invoice) throw changed();
    if (invoice.refused) continue;
    const order = open.get(read.invoice) ?? { invoice: read.invoice, customer: '', lines: [] };
    order.customer ||= read.customer;
    order.lines.push({ sku: read.sku, units: read.units, pence: read.pence ?? 0 });
    if (order.lines.length < invoice.lines) open.set(read.invoice, order);
    else {
      open.delete(read.invoice);
      yield { ...order, customer: order.customer || standIn };
    }
  }
  if (open.size > 0 || sha256 !== plan.sha256) throw changed();
}
