import type { PlannedOrder, PlannedPrice, PlannedProduct } from './planned.ts';
import { grouped } from './progress.ts';
import { maxUnits } from './rows.ts';

/** The API's limit of the prices in a list. */
export const maxPrices = 100_000;

/** The units of each SKU in an invoice. `pence`: their price; undefined if its lines have different prices. */
function sumBySku({ lines }: PlannedOrder): Map<string, { units: number; pence: number | undefined }> {
  const sums = new Map<string, { units: number; pence: number | undefined }>();
  for (const { sku, units, pence } of lines) {
    const sum = sums.get(sku);
    if (!sum) sums.set(sku, { units, pence });
    else {
      sum.units += units;
      if (sum.pence !== pence) sum.pence = undefined;
    }
  }
  return sums;
}

/** The prices of a SKU by quantity: for each quantity, how many invoices have which price. */
type Quantities = Map<number, Map<number, number>>;

/** Each quantity costs what most invoices with that quantity paid (the first price of equally frequent ones). */
function toBreaks({ sku, pence }: PlannedProduct, quantities: Quantities): PlannedPrice[] {
  const rows: PlannedPrice[] = [];
  let current = pence;
  for (const [minQuantity, counts] of [...quantities].sort(([a], [b]) => a - b)) {
    const [mostFrequent] = [...counts].sort(([, a], [, b]) => b - a);
    if (!mostFrequent || mostFrequent[0] === current) continue;
    [current] = mostFrequent;
    rows.push({ sku, minQuantity, pence: current });
  }
  return rows;
}

/**
 * Makes the price list of the SKUs that were sold at several prices. A row begins at each quantity from which the most
 * frequent price is another one. Below the first row the price of the catalog applies. An invoice with a SKU at two
 * prices does not count for that SKU, because no list gives one SKU two prices in one order.
 */
export async function collectPrices(
  sales: AsyncIterable<PlannedOrder>,
  products: Map<string, PlannedProduct>,
): Promise<{ prices: PlannedPrice[]; notes: string[] }> {
  const quantitiesOf = new Map<string, Quantities>();
  for await (const sale of sales) {
    for (const [sku, { units, pence }] of sumBySku(sale)) {
      if (pence === undefined || units > maxUnits) continue;
      const quantities = quantitiesOf.get(sku) ?? new Map<number, Map<number, number>>();
      const counts = quantities.get(units) ?? new Map<number, number>();
      quantitiesOf.set(sku, quantities.set(units, counts.set(pence, (counts.get(pence) ?? 0) + 1)));
    }
  }
  const rows: PlannedPrice[] = [];
  for (const product of products.values()) rows.push(...toBreaks(product, quantitiesOf.get(product.sku) ?? new Map()));
  const rest = rows.length - maxPrices;
  const notes = rest > 0 ? [`${grouped(rest)} prices are not in the price list: it has ${grouped(maxPrices)}.`] : [];
  return { prices: rows.slice(0, maxPrices), notes };
}

/**
 * The price of a SKU for all its units in an order: the row of the price list with the highest quantity that the order
 * reaches, otherwise the price of the catalog. This is the platform's rule, written again to compare with it.
 */
export function createPriceRule(plan: {
  prices: PlannedPrice[];
  products: Map<string, PlannedProduct>;
}): (sku: string, units: number) => number | undefined {
  const rowsOf = Map.groupBy(plan.prices, ({ sku }) => sku);
  return (sku, units) => {
    const row = rowsOf.get(sku)?.findLast(({ minQuantity }) => minQuantity <= units);
    return row?.pence ?? plan.products.get(sku)?.pence;
  };
}

/** Whether all lines of an order have the prices of the rule. */
export const hasPricesOf = (priceOf: ReturnType<typeof createPriceRule>, order: PlannedOrder): boolean =>
  [...sumBySku(order)].every(([sku, { units, pence }]) => pence !== undefined && priceOf(sku, units) === pence);
