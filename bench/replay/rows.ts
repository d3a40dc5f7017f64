import { reference, sku as skuForm } from '../../src/base/fields.ts';
import type { Row } from './file.ts';

/** A row with its classification. Prices in pence. Units are always positive. */
export type ClassifiedRow = {
  row: number;
  invoice: string;
  sku: string;
  description: string;
  customer: string;
  /** Undefined if the catalog does not accept the price. */
  pence: number | undefined;
  units: number;
} & ({ kind: 'sale' | 'cancellation' } | { kind: 'rejected'; reason: Reason });

/** Why a row is rejected. */
export const reasons = {
  columns: 'other number of columns than the header line',
  adjustment: 'accounting adjustment, not a sale (invoice A…, or bad debt)',
  invoice: 'invoice number of neither a sale (digits) nor a cancellation (C…)',
  sku: 'SKU that the catalog does not accept (1 to 64 characters)',
  quantityForm: 'quantity is not a whole number',
  quantityZero: 'quantity of zero',
  quantityNegative: 'negative quantity outside a cancellation (written off)',
  quantityPositive: 'positive quantity in a cancellation',
  quantityLarge: 'quantity above 1,000,000, the limit of an order line',
  priceForm: 'price is not a number',
  priceNegative: 'negative price',
  priceDecimals: 'price with more than two decimals',
  priceLarge: 'price of 100,000,000.00 or more',
  stock: 'more units of a SKU than this replay can stock (1,000,000,000)',
  orderLines: 'invoice with more than 1,200 lines, the limit of an order',
  orderTotal: 'invoice of less than 0.30 or more than 999,999.99, which Stripe cannot charge',
  limit: 'beyond --limit',
} as const;

export type Reason = keyof typeof reasons;

/** The API's limits of an order line, an order and a price. */
export const maxUnits = 1_000_000;
export const maxLines = 1_200;
const priceLimit = 10_000_000_000n;
/** Whether Stripe can charge this amount in GBP, or the order is free. */
export const canCharge = (pence: bigint): boolean => pence === 0n || (pence >= 30n && pence <= 99_999_999n);
const maxStock = 1_000_000_000;

/** The exact price in pence, or the reason why it is invalid. Zeros after the second decimal are accepted. */
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

/** Collapses white space and removes characters that the catalog does not accept in a name. */
const clean = (text: string): string =>
  text
    .toWellFormed()
    .replaceAll(/[\s\p{Cc}]+/gu, ' ')
    .trim()
    .slice(0, 500);

/** Accepts `17850.0` for 17850, as programs write a column of numbers with missing values. */
const readCustomer = (text: string): string => {
  const customer = text.trim().replace(/^(\d+)\.0$/, '$1');
  return reference.safeParse(customer).success ? customer : '';
};

/**
 * Classifies rows in the order of the file. Every reading of the file gives the same result. Each reading needs its own
 * classifier, because it counts the units of each SKU.
 */
export function createClassifier(): (row: Row) => ClassifiedRow {
  const skus = new Map<string, { valid: boolean; units: number }>();

  const skuState = (sku: string) => {
    const found = skus.get(sku) ?? { valid: skuForm.safeParse(sku).success, units: 0 };
    skus.set(sku, found);
    return found;
  };

  return ({ row, fields }) => {
    const emptyRow = { row, invoice: '', sku: '', description: '', customer: '', pence: undefined, units: 0 };
    if (!fields) return { ...emptyRow, kind: 'rejected', reason: 'columns' };
    const invoice = fields.InvoiceNo.trim().toUpperCase();
    const sku = fields.StockCode.trim();
    const description = clean(fields.Description);
    const price = readPence(fields.UnitPrice.trim());
    const quantity = readUnits(fields.Quantity.trim());
    const stock = skuState(sku);
    const pence = typeof price === 'number' ? price : undefined;
    const units = typeof quantity === 'number' ? Math.abs(quantity) : 0;
    const classified = { row, invoice, sku, description, customer: readCustomer(fields.CustomerID), pence, units };
    const isCancellation = invoice.startsWith('C');

    const problem = ((): Reason | undefined => {
      if (invoice.startsWith('A') || /\bbad debt\b/i.test(description)) return 'adjustment';
      if (!/^C?\d{1,30}$/.test(invoice)) return 'invoice';
      if (!stock.valid) return 'sku';
      if (typeof quantity !== 'number') return quantity;
      if (typeof price !== 'number') return price;
      if (isCancellation && quantity > 0) return 'quantityPositive';
      if (!isCancellation && quantity < 0) return 'quantityNegative';
      if (!isCancellation && units > maxUnits) return 'quantityLarge';
      return stock.units + units > maxStock ? 'stock' : undefined;
    })();
    if (problem) return { ...classified, kind: 'rejected', reason: problem };
    stock.units += units;
    return { ...classified, kind: isCancellation ? 'cancellation' : 'sale' };
  };
}
