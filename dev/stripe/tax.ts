import type Stripe from 'stripe';
import type { Call, Route } from './account.ts';
import { readCurrency } from './currencies.ts';
import { listTaxLines } from './lists.ts';
import { newId, type TaxCalculation, type TaxLine } from './store.ts';
import { badRequest, invalid, missing, type Params } from './wire.ts';

// Stripe Tax with one percentage for a country, or for a state of the United States. Any other place has no tax, as one
// where the account is not registered.

type Rate = { percentage: string; reduced?: string; type: string };
const RATES: Record<string, Rate> = {
  AT: { percentage: '20.0', reduced: '10.0', type: 'vat' },
  AU: { percentage: '10.0', type: 'gst' },
  DE: { percentage: '19.0', reduced: '7.0', type: 'vat' },
  FR: { percentage: '20.0', reduced: '5.5', type: 'vat' },
  GB: { percentage: '20.0', reduced: '0.0', type: 'vat' },
  JP: { percentage: '10.0', reduced: '8.0', type: 'jct' },
  'US-CA': { percentage: '8.625', type: 'sales_tax' },
  'US-WA': { percentage: '10.25', type: 'sales_tax' },
};
/** The tax code of printed books, which have the reduced rate. */
const BOOKS = 'txcd_35010000';
const GENERAL = 'txcd_99999999';
const SHIPPING = 'txcd_92010001';
const KEPT_SECONDS = 90 * 86_400;
const ADDRESS = ['city', 'country', 'line1', 'line2', 'postal_code', 'state'];
const BEHAVIORS = ['exclusive', 'inclusive'] as const;

/** amount × percent ÷ whole, in whole minor units, rounded half up. */
function share(amount: number, percentage: string, isIncluded: boolean): number {
  const scaled = BigInt(Math.round(Number(percentage) * 10_000));
  const whole = 1_000_000n + (isIncluded ? scaled : 0n);
  return Number((2n * BigInt(amount) * scaled + whole) / (2n * whole));
}

function readAddress(details: Params): Record<string, string | null> & { country: string } {
  const address = details.child('address');
  if (address === undefined) {
    const name = 'customer_details[address]';
    throw invalid(`Missing required param: ${name}.`, name, 'parameter_missing');
  }
  address.allowOnly(ADDRESS);
  const fields = Object.fromEntries(ADDRESS.map((name) => [name, address.text(name) ?? null]));
  const country = address.required('country');
  if (country === 'US' && !fields.postal_code) {
    throw badRequest(
      "We could not determine the customer's tax location based on the provided customer address. Please make sure the address is valid.",
      { code: 'customer_tax_location_invalid', param: 'customer_details[address]' },
    );
  }
  return { ...fields, country };
}

type Basis = { amount: number; tax_behavior: (typeof BEHAVIORS)[number]; tax_code: string };

function readBasis(params: Params, code: string): Basis {
  return {
    amount: params.requiredInteger('amount'),
    tax_behavior: params.choice('tax_behavior', BEHAVIORS) ?? 'exclusive',
    tax_code: params.optional('tax_code') ?? code,
  };
}

/**
 * Computes the tax of one request. The total is rounded for each rate, not for each line: so both may differ by cents.
 */
function createCalculation({ account, params }: Call): Stripe.Tax.Calculation {
  params.allowOnly(['currency', 'customer_details', 'line_items', 'shipping_cost']);
  const currency = readCurrency(params.required('currency'));
  const details = params.child('customer_details');
  if (details === undefined) {
    throw invalid('Missing required param: customer_details.', 'customer_details', 'parameter_missing');
  }
  details.allowOnly(['address', 'address_source', 'tax_ids']);
  const address = readAddress(details);
  const source = details.choice('address_source', ['billing', 'shipping']) ?? 'shipping';
  const ids = Object.values(details.form.tax_ids ?? {}) as unknown as { type: string; value: string }[];
  const isReverse = ids.some(({ type }) => type === 'eu_vat');
  const rate = RATES[address.country === 'US' ? `US-${address.state}` : address.country];
  const percentageOf = (code: string) =>
    rate === undefined || isReverse ? '0.0' : ((code === BOOKS ? rate.reduced : undefined) ?? rate.percentage);
  const taxOf = ({ amount, tax_behavior, tax_code }: Basis) =>
    share(amount, percentageOf(tax_code), tax_behavior === 'inclusive');

  const items = params.child('line_items');
  const lines: TaxLine[] = Object.keys(items?.form ?? {}).map((index) => {
    const item = items?.child(index);
    if (item === undefined) throw invalid('Invalid array', 'line_items');
    item.allowOnly(['amount', 'quantity', 'reference', 'tax_behavior', 'tax_code']);
    const basis = readBasis(item, GENERAL);
    return {
      ...{ id: newId('tax_li'), object: 'tax.calculation_line_item', amount: basis.amount, amount_tax: taxOf(basis) },
      ...{ livemode: false, metadata: null, performance_location: null, product: null },
      ...{ quantity: item.integer('quantity', 1) ?? 1, reference: item.required('reference') },
      ...{ tax_behavior: basis.tax_behavior, tax_breakdown: null, tax_code: basis.tax_code },
    };
  });
  const shipping = params.child('shipping_cost');
  shipping?.allowOnly(['amount', 'tax_behavior', 'tax_code']);
  const shippingBasis = shipping && readBasis(shipping, SHIPPING);

  const bases: Basis[] = [...lines, ...(shippingBasis ? [shippingBasis] : [])].map((each) => ({
    ...{ amount: each.amount, tax_code: each.tax_code },
    tax_behavior: each.tax_behavior === 'inclusive' ? 'inclusive' : 'exclusive',
  }));
  const groups = Map.groupBy(bases, ({ tax_behavior, tax_code }) => `${tax_behavior} ${percentageOf(tax_code)}`);
  const breakdown = [...groups.values()].map(([first, ...rest]): Stripe.Tax.Calculation.TaxBreakdown => {
    const { tax_behavior, tax_code } = first ?? { tax_behavior: 'exclusive', tax_code: GENERAL };
    const amount = rest.reduce((sum, each) => sum + each.amount, first?.amount ?? 0);
    const tax = taxOf({ amount, tax_behavior, tax_code });
    const reason = percentageOf(tax_code) === rate?.percentage ? 'standard_rated' : 'reduced_rated';
    return {
      amount: tax,
      inclusive: tax_behavior === 'inclusive',
      tax_rate_details: {
        ...{ country: address.country, state: address.country === 'US' ? (address.state ?? null) : null },
        ...{ flat_amount: null, percentage_decimal: percentageOf(tax_code), rate_type: 'percentage' },
        tax_type: rate?.type ?? null,
      },
      taxability_reason: rate === undefined ? 'not_collecting' : isReverse ? 'reverse_charge' : reason,
      taxable_amount: tax_behavior === 'inclusive' ? amount - tax : amount,
    };
  });
  const sumOf = (isInclusive: boolean) =>
    breakdown.filter(({ inclusive }) => inclusive === isInclusive).reduce((sum, { amount }) => sum + amount, 0);
  const calculation: TaxCalculation = {
    id: newId('taxcalc'),
    object: 'tax.calculation',
    amount_total: bases.reduce((sum, { amount }) => sum + amount, sumOf(false)),
    currency,
    customer: null,
    customer_details: {
      address: address as unknown as Stripe.Address,
      ...{ address_source: source, ip_address: null, tax_ids: ids, taxability_override: 'none' },
    },
    expires_at: account.seconds() + KEPT_SECONDS,
    livemode: false,
    ship_from_details: null,
    shipping_cost: shippingBasis ? { ...shippingBasis, amount_tax: taxOf(shippingBasis) } : null,
    ...{ tax_amount_exclusive: sumOf(false), tax_amount_inclusive: sumOf(true), tax_breakdown: breakdown },
    tax_date: account.seconds(),
    lines,
  };
  account.store.put('tax_calculation', calculation);
  return show(calculation);
}

/** A calculation as Stripe shows it: with its lines only if the request expands them. */
const show = ({ lines: _lines, ...calculation }: TaxCalculation): Stripe.Tax.Calculation => calculation;

function load({ account, id }: Call): TaxCalculation {
  const found = account.store.get('tax_calculation', id);
  if (found === undefined) throw missing('tax calculation', id, 'calculation', 404);
  return found;
}

function listLines(call: Call) {
  const { params } = call;
  params.allowOnly(['limit', 'starting_after']);
  const calculation = load(call);
  const after = params.optional('starting_after');
  const from = after === undefined ? 0 : calculation.lines.findIndex((line) => line.id === after) + 1;
  return listTaxLines(calculation, from, params.integer('limit', 1) ?? 10);
}

export const taxRoutes: Route[] = [
  { method: 'POST', path: '/v1/tax/calculations', handle: createCalculation },
  { method: 'GET', path: '/v1/tax/calculations/:id', handle: (call) => show(load(call)) },
  { method: 'GET', path: '/v1/tax/calculations/:id/line_items', handle: listLines },
];
