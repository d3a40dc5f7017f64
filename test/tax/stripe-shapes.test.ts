import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type Stripe from 'stripe';
import { describe, expect, test } from 'vitest';
import type { TaxQuestion } from '../../src/db/orders/tax-quotes.ts';
import { calculationRequest, toQuote } from '../../src/stripe/tax.ts';
import { failure, startFixture } from '../support/stripe.ts';

// The response of docs.stripe.com/api/tax/calculations/object, as Stripe documents it.
const recorded: Stripe.Tax.Calculation = JSON.parse(
  await readFile(join(import.meta.dirname, 'recorded/exclusive.json'), 'utf8'),
);
const lines = recorded.line_items?.data ?? [];
const now = new Date('2024-01-29T13:33:25Z');

const question: TaxQuestion = {
  ...{ key: 'k'.repeat(64), provider: 'stripe', tenant: 'shop', account: null, currency: 'USD', included: false },
  address: { line1: '920 5th Ave', city: 'Seattle', state: 'WA', postalCode: '98104', country: 'US' },
  ...{ addressSource: 'shipping', vatNumber: null },
  lines: [{ id: 'Music Streaming Coupon', quantity: 1, amount: '14.99', category: 'txcd_10000000' }],
  shipping: { amount: '3.00', category: 'parcels' },
};

describe('Stripe’s documented response', () => {
  test('has the tax of each line, of shipping, and what the buyer reads about it', () => {
    expect(toQuote(question, recorded, lines, now)).toEqual({
      key: question.key,
      calculationId: 'taxcalc_1OduxkBUZ691iUZ4iWvpMApI',
      expiresAt: '2024-01-30T13:33:25.000Z',
      lines: [{ id: 'Music Streaming Coupon', amount: '1.54' }],
      shipping: '0.00',
      taxLines: [
        { name: 'Sales tax US-WA', rate: '10.25', taxable: '14.99', amount: '1.54' },
        { name: 'VAT DE', rate: '0.0', taxable: '3.00', amount: '0.00' },
      ],
    });
  });

  test('is used until Stripe’s own time, if that is less than a day away', () => {
    const soon = { ...recorded, expires_at: now.getTime() / 1000 + 60 };
    expect(toQuote(question, soon, lines, now).expiresAt).toBe('2024-01-29T13:34:25.000Z');
  });

  const bad: [
    what: string,
    change: (line: Stripe.Tax.CalculationLineItem) => Partial<Stripe.Tax.CalculationLineItem>,
  ][] = [
    ['is missing', () => ({ reference: 'another' })],
    ['is negative', () => ({ amount_tax: -1 })],
    ['is no whole number', () => ({ amount_tax: 0.5 })],
  ];
  test.each(bad)('is rejected if the tax of a line %s', (_what, change) => {
    const changed = lines.map((line) => ({ ...line, ...change(line) }));
    expect(() => toQuote(question, recorded, changed, now)).toThrow('tax_answer_invalid');
  });

  test('is rejected if an included tax is more than its price', () => {
    const changed = lines.map((line) => ({ ...line, amount_tax: 1500 }));
    expect(() => toQuote({ ...question, included: true }, recorded, changed, now)).toThrow('tax_answer_invalid');
  });
});

describe('the request', () => {
  test('has Stripe’s tax codes only, minor units, and how prices are meant', () => {
    expect(calculationRequest({ ...question, included: true, vatNumber: 'DE136695976' })).toEqual({
      currency: 'usd',
      customer_details: {
        address: { line1: '920 5th Ave', city: 'Seattle', state: 'WA', postal_code: '98104', country: 'US' },
        address_source: 'shipping',
        tax_ids: [{ type: 'eu_vat', value: 'DE136695976' }],
      },
      line_items: [
        {
          ...{ reference: 'Music Streaming Coupon', quantity: 1, amount: 1499 },
          ...{ tax_behavior: 'inclusive', tax_code: 'txcd_10000000' },
        },
      ],
      shipping_cost: { amount: 300, tax_behavior: 'inclusive' },
      expand: ['line_items'],
    });
  });

  test('has whole units of a currency without decimals', () => {
    const yen = {
      ...question,
      currency: 'JPY',
      lines: [{ ...lines[0], id: '1', quantity: 1, amount: '105', category: null }],
    };
    expect(calculationRequest({ ...yen, shipping: null }).line_items[0]?.amount).toBe(105);
  });
});

describe('the emulator of Stripe Tax', () => {
  test('answers the documented request in the documented shape', async () => {
    const { stripe } = await startFixture();
    const calculation = await stripe.tax.calculations.create(calculationRequest(question));
    const { expires_at: _end, id: _id, tax_date: _date, ...emulated } = calculation;
    const { line_items: emulatedLines, ...rest } = emulated;
    for (const [name, value] of Object.entries(rest)) {
      if (name === 'tax_breakdown' || name === 'shipping_cost') continue;
      const documented = recorded[name as keyof Stripe.Tax.Calculation];
      expect([name, typeof value]).toEqual([name, typeof documented]);
    }
    expect(Object.keys(calculation).sort()).toEqual(Object.keys(recorded).sort());
    expect(emulatedLines?.data[0]).toMatchObject({
      amount: 1499,
      amount_tax: 154,
      reference: 'Music Streaming Coupon',
    });
    for (const name of Object.keys(lines[0] ?? {})) expect(emulatedLines?.data[0]).toHaveProperty(name);
    const [documented] = recorded.tax_breakdown;
    expect(calculation.tax_breakdown[0]).toMatchObject({
      inclusive: false,
      tax_rate_details: documented?.tax_rate_details,
    });
    for (const name of Object.keys(recorded.shipping_cost ?? {}))
      expect(calculation.shipping_cost).toHaveProperty(name);
  });

  test('shows lines only if the request expands them, and reads them page by page', async () => {
    const { stripe } = await startFixture();
    const { expand: _expand, ...plain } = calculationRequest({
      ...question,
      lines: Array.from({ length: 25 }, (_, n) => ({ id: `${n}`, quantity: 1, amount: '1.00', category: null })),
    });
    const { id, line_items: shown } = await stripe.tax.calculations.create(plain);
    expect(shown).toBeUndefined();
    const read = await stripe.tax.calculations.listLineItems(id ?? '', { limit: 10 }).autoPagingToArray({ limit: 100 });
    expect(read.map(({ reference }) => reference)).toEqual(Array.from({ length: 25 }, (_, n) => `${n}`));
  });

  test('knows no tax for an American address without a postcode', async () => {
    const { stripe } = await startFixture();
    const request = calculationRequest({ ...question, address: { country: 'US', state: 'WA' } });
    const { code, statusCode } = await failure(stripe.tax.calculations.create(request));
    expect([code, statusCode]).toEqual(['customer_tax_location_invalid', 400]);
  });
});
