import type Stripe from 'stripe';
import { log } from '../base/log.ts';
import { fromMinor } from '../base/money.ts';
import type { Context } from '../context.ts';
import type { TaxQuestion, TaxQuote } from '../db/orders/tax-quotes.ts';
import { callStripe, minorOf, openStripe, StripeCallError } from './client.ts';

/** A calculation is used again for a day. Stripe keeps it longer, but rates change. */
const longestMs = 24 * 60 * 60 * 1000;

/** Stripe's tax codes (docs.stripe.com/tax/tax-codes). Stripe does not know any other category. */
const isTaxCode = (category: string | null): category is string => category !== null && /^txcd_\d+$/.test(category);

const taxCode = (category: string | null) => (isTaxCode(category) ? { tax_code: category } : {});

/** The request for a calculation. @throws StripeCallError (permanent) if an amount has too many decimals */
export function calculationRequest(question: TaxQuestion): Stripe.Tax.CalculationCreateParams {
  const { currency, address, vatNumber, shipping } = question;
  const behavior = { tax_behavior: question.included ? ('inclusive' as const) : ('exclusive' as const) };
  return {
    currency: currency.toLowerCase(),
    customer_details: {
      address: {
        country: address.country,
        ...(address.line1 === undefined ? {} : { line1: address.line1 }),
        ...(address.line2 === undefined ? {} : { line2: address.line2 }),
        ...(address.city === undefined ? {} : { city: address.city }),
        ...(address.state === undefined ? {} : { state: address.state }),
        ...(address.postalCode === undefined ? {} : { postal_code: address.postalCode }),
      },
      address_source: question.addressSource,
      ...(vatNumber === null ? {} : { tax_ids: [{ type: 'eu_vat' as const, value: vatNumber }] }),
    },
    line_items: question.lines.map(({ id, quantity, amount, category }) => ({
      ...{ reference: id, quantity, amount: minorOf({ amount, currency }), ...behavior, ...taxCode(category) },
    })),
    ...(shipping && {
      shipping_cost: {
        ...{ amount: minorOf({ amount: shipping.amount, currency }), ...behavior, ...taxCode(shipping.category) },
      },
    }),
    expand: ['line_items'],
  };
}

const shortNames = ['vat', 'gst', 'hst', 'pst', 'qst', 'rst', 'jct', 'igst'];

/** How the buyer reads a tax: "VAT DE", "Sales tax US-WA". */
function nameOf({ taxability_reason: reason, tax_rate_details: rate }: Stripe.Tax.Calculation.TaxBreakdown): string {
  if (reason === 'reverse_charge') return 'Reverse charge';
  const type = rate.tax_type ?? 'tax';
  const words = shortNames.includes(type) ? type.toUpperCase() : `${type[0]?.toUpperCase()}${type.slice(1)}`;
  const place = [rate.country, rate.state].filter((part) => part !== null && part !== undefined).join('-');
  return `${words.replaceAll('_', ' ')} ${place}`.trim();
}

/** Taxes that are not due are hidden, unless the buyer must read the reason. */
const isShown = ({ amount, taxability_reason: reason }: Stripe.Tax.Calculation.TaxBreakdown) =>
  amount > 0 || reason === 'reverse_charge' || reason === 'zero_rated';

type Answered = Pick<
  Stripe.Tax.Calculation,
  'id' | 'expires_at' | 'shipping_cost' | 'tax_amount_exclusive' | 'tax_amount_inclusive' | 'tax_breakdown'
>;
type AnsweredLine = Pick<Stripe.Tax.CalculationLineItem, 'reference' | 'amount' | 'amount_tax'>;

/**
 * The answer that a calculation has for a question. The taxes of the lines are taken as they are. If Stripe's own total
 * differs from their sum, the lines count, and the difference is logged: every sum of an order must agree. Stripe does
 * not report such a calculation, because the payment has another amount.
 * @throws StripeCallError if a line has no tax, or one that no line can have
 */
export function toQuote(
  { key, tenant, currency, included, lines, shipping }: TaxQuestion,
  calculation: Answered,
  answered: AnsweredLine[],
  now: Date,
): TaxQuote {
  const mostOf = (amount: string) => (included ? minorOf({ amount, currency }) : Number.MAX_SAFE_INTEGER);
  const checked = (tax: number | undefined, most: number): number => {
    if (tax !== undefined && Number.isSafeInteger(tax) && tax >= 0 && tax <= most) return tax;
    throw new StripeCallError('tax_answer_invalid', {});
  };
  const taxes = lines.map(({ id, amount }) => {
    const found = answered.find(({ reference }) => reference === id);
    return { id, tax: checked(found?.amount_tax, mostOf(amount)) };
  });
  const shippingTax = shipping === null ? 0 : checked(calculation.shipping_cost?.amount_tax, mostOf(shipping.amount));
  const sum = taxes.reduce((total, { tax }) => total + tax, shippingTax);
  const stated = calculation.tax_amount_exclusive + calculation.tax_amount_inclusive;
  if (sum !== stated) {
    const line = { kind: 'tax', id: calculation.id ?? key.slice(0, 16), tenant, outcome: 'sums_differ' } as const;
    log({ ...line, durationMs: 0, dbCalls: 0, lines: sum, total: stated, currency });
  }
  const endsAt = Math.min(now.getTime() + longestMs, (calculation.expires_at ?? Number.POSITIVE_INFINITY) * 1000);
  return {
    ...{ key, calculationId: sum === stated ? calculation.id : null, expiresAt: new Date(endsAt).toISOString() },
    lines: taxes.map(({ id, tax }) => ({ id, amount: fromMinor(tax, currency) })),
    shipping: fromMinor(shippingTax, currency),
    taxLines: calculation.tax_breakdown.filter(isShown).map((part) => ({
      name: nameOf(part),
      rate: part.tax_rate_details.percentage_decimal,
      taxable: fromMinor(part.taxable_amount, currency),
      amount: fromMinor(part.amount, currency),
    })),
  };
}

/** Asks Stripe Tax: `POST /v1/tax/calculations`, on the tenant's own account if it has one. @throws StripeCallError */
export async function calculateTax({ settings, now }: Context, question: TaxQuestion): Promise<TaxQuote> {
  const stripe = openStripe(settings, question.account);
  const calculation = await callStripe(stripe.tax.calculations.create(calculationRequest(question)));
  const listed = calculation.line_items;
  // Stripe shows the first lines only; the others are read page by page.
  const more =
    listed?.has_more === false || calculation.id === null
      ? []
      : await callStripe(readLines(stripe, calculation.id, listed?.data.at(-1)?.id));
  return toQuote(question, calculation, [...(listed?.data ?? []), ...more], now());
}

const readLines = (stripe: Stripe, id: string, after: string | undefined): Promise<Stripe.Tax.CalculationLineItem[]> =>
  stripe.tax.calculations
    .listLineItems(id, { limit: 100, ...(after === undefined ? {} : { starting_after: after }) })
    .autoPagingToArray({ limit: 200 });
