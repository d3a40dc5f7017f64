import type { TaxProviderName } from '../platform/tenants.ts';

/** What a tax provider must know, as `orders.tax_question` returns it. Amounts are decimals, after discounts. */
export type TaxQuestion = {
  /** A hash of all the rest. An answer holds for the same key only. */
  key: string;
  provider: Exclude<TaxProviderName, 'table'>;
  tenant: string;
  /** The tenant's own account at Stripe; null: the platform's. */
  account: string | null;
  currency: string;
  /** Whether the amounts contain the tax. */
  included: boolean;
  address: { country: string } & Partial<Record<'line1' | 'line2' | 'city' | 'state' | 'postalCode', string>>;
  addressSource: 'shipping' | 'billing';
  /** A number of a member state of the European Union, or of Northern Ireland, that VIES has confirmed. */
  vatNumber: string | null;
  lines: { id: string; quantity: number; amount: string; category: string | null }[];
  shipping: { amount: string; category: string | null } | null;
};

/** The answer of a tax provider, as `orders.settle` takes it. Amounts are decimals. */
export type TaxQuote = {
  key: string;
  /** Null if its total is not the sum of its lines, so that no payment can be recorded with it. */
  calculationId: string | null;
  expiresAt: string;
  lines: { id: string; amount: string }[];
  shipping: string;
  taxLines: { name: string; rate: string; taxable: string; amount: string }[];
};
