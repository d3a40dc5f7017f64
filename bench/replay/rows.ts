import { reference, sku as skuForm } from '../../src/base/fields.ts';
import type { Row } from './file.ts';

/** What a row is. Prices in pence. Units are always positive. */
export type Judged = {
  row: number;
  invoice: string;
  sku: string;
  description: string;
  customer: string;
  /** Undefined where the price is none that the catalog could have. */
  pence: number | undefined;
  units: number;
} & ({ kind: 'sale' | 'cancellation' } | { kind: 'refused'; reason: Reason });

/** Why a row is neither a line of an order nor a cancellation. */
export const reasons = {
  columns: 'not as many columns as the first line',
  adjustment: 'adjustment, no sale (invoice A…, or bad debt)',
  invoice: 'invoice number neither of a sale (digits) nor of a cancellation (C…)',
  sku: 'no SKU that a catalog can have (1 to 64 characters)',
  quantityForm: 'quantity is no whole number',
  quantityZero: 'quantity of zero',
  quantityNegative: 'negative quantity outside a cancellation (written off)',
  quantityPositive: 'positive quantity in a cancellation',
  quantityLarge: 'quantity above 1,000,000, which no line of an order can have',
  priceForm: 'price is no number',
  priceNegative: 'negative price',
  priceDecimals: 'price of more than two decimals',
  priceLarge: 'price of 100,000,000.00 or more',
  stock: 'more units of a SKU than a stock can count (2,147,483,647)',
  orderLines: 'invoice of more than 1,200 lines, which no order can have',
  orderTotal: 'invoice of less than 0.30 or more than 999,999.99, which Stripe cannot charge',
  limit: 'beyond --limit',
} as const;

export type Reason = keyof typeof reasons;

/** Limits of an order and of a stock, as the API has them. */
export const mostUnits = 1_000_000;
export const mostLines = 1_200;
const priceLimit = 10_000_000_000n;
/** What Stripe can charge in GBP; nothing at all is fine. */
export const canCharge = (pence: bigint): boolean => pence === 0n || (pence >= 30n && pence <= 99_999_999n);
const mostStock = 1_000_000_000;

/** A price in pence, exact; a reason if it is none. Zeros beyond the second decimal say nothing and are taken. */
function readPence(text: string): number | Reason {
  const match = /^(-?)(\d+)(?:\.(\d*?)0*)?$/.exec(text);
  if (!match) return 'priceForm';
  const [, minus, whole = '', decimals = ''] = match;
  const pence = Number(whole) * 100 + Number(decimals.slice(0, 2).padEnd(2, '0'));
  if (minus && (pence > 0 || decimals !== '')) return 'priceNegative';
  if (decimals.length > 2) return 'priceDecimals';
  return BigInt(pence) < priceLimit ? pence : 'priceLarge';
}

function readUnits(text: string): number | Reason {
  if (!/^-?\d+(\.0*)?$/.test(text)) return 'quantityForm';
  const units = Number(text);
  return units === 0 ? 'quantityZero' : units;
}

/** Collapses white space and drops what the catalog does not take in a name. */
const clean = (text: string): string =>
  text
    .toWellFormed()
    .replaceAll(/[\s\p{Cc}]+/gu, ' ')
    .trim()
    .slice(0, 500);

/** `17850.0` is how a table with gaps writes 17850. */
const readCustomer = (text: string): string => {
  const customer = text.trim().replace(/^(\d+)\.0$/, '$1');
  return reference.safeParse(customer).success ? customer : '';
};

/**
 * Judges the rows of one reading of the file, in its order: the same rows get the same judgement in every reading.
 * (A SKU's units are counted, so one judge is for one reading.)
 */
export function createJudge(): (row: Row) => Judged {
  const skus = new Map<string, { valid: boolean; units: number }>();

  const known = (sku: string) => {
    const found = skus.get(sku) ?? { valid: skuForm.safeParse(sku).success, units: 0 };
    skus.set(sku, found);
    return found;
  };

  return ({ row, fields }) => {
    const nothing = { row, invoice: '', sku: '', description: '', customer: '', pence: undefined, units: 0 };
    if (!fields) return { ...nothing, kind: 'refused', reason: 'columns' };
    const invoice = fields.InvoiceNo.trim().toUpperCase();
    const sku = fields.StockCode.trim();
    const description = clean(fields.Description);
    const price = readPence(fields.UnitPrice.trim());
    const quantity = readUnits(fields.Quantity.trim());
    const stock = known(sku);
    const pence = typeof price === 'number' ? price : undefined;
    const units = typeof quantity === 'number' ? Math.abs(quantity) : 0;
    const judged = { row, invoice, sku, description, customer: readCustomer(fields.CustomerID), pence, units };
    const cancels = invoice.startsWith('C');

    const fault = ((): Reason | undefined => {
      if (invoice.startsWith('A') || /\bbad debt\b/i.test(description)) return 'adjustment';
      if (!/^C?\d{1,30}$/.test(invoice)) return 'invoice';
      if (!stock.valid) return 'sku';
      if (typeof quantity !== 'number') return quantity;
      if (typeof price !== 'number') return price;
      if (cancels && quantity > 0) return 'quantityPositive';
      if (!cancels && quantity < 0) return 'quantityNegative';
      if (!cancels && units > mostUnits) return 'quantityLarge';
      return stock.units + units > mostStock ? 'stock' : undefined;
    })();
    if (fault) return { ...judged, kind: 'refused', reason: fault };
    stock.units += units;
    return { ...judged, kind: cancels ? 'cancellation' : 'sale' };
  };
}
