import type { ChaosPlatform } from './platform.ts';

type Amount = string | number;
type Allocation = { lineId: string; amount: number };

/** What an order has frozen. All amounts are null for a plain order: its total is the sum of its items. */
export type AmountsRow = {
  order: string;
  cart: string | null;
  items: { sku: string; quantity: number; price: number }[];
  total: Amount;
  subtotal: Amount | null;
  discount: Amount | null;
  shipping: Amount | null;
  shippingTax: Amount | null;
  tax: Amount | null;
  included: boolean | null;
  taxLines: { rate: number; taxable: number; amount: number }[] | null;
  discounts: { id: string; amount: number; allocations: Allocation[] }[] | null;
  lines: { id: string; subtotal: number; discount: number; tax: number; total: number }[] | null;
  /** Of each line, the units and the money that refunds of lines have returned, and the units back in stock. */
  refunded: number[] | null;
  refundedAmounts: Amount[] | null;
  restocked: number[] | null;
};
/** `order`: the latest order of the cart. */
export type CartRow = { id: string; tenant: string; status: string; order: string | null };
/** `used`: the counter of a discount with a limit. */
export type DiscountRow = { id: string; limit: number | null; customerLimit: number | null; used: number | null };
export type CustomerUsesRow = { discount: string; customer: string; used: number };
export type UseRow = { order: string; discount: string; customer: string; taken: boolean };
export type LineRefundRow = {
  id: string;
  order: string;
  status: string;
  amount: string;
  shipping: string;
  items: { lineId: string; quantity: number; amount: number; restocked: number }[];
};

/** What the audit checks about carts, discounts, taxes and refunds by lines. */
export type SaleBooks = {
  amounts: AmountsRow[];
  carts: CartRow[];
  discounts: DiscountRow[];
  customerUses: CustomerUsesRow[];
  uses: UseRow[];
  lineRefunds: LineRefundRow[];
  /** Stored responses with a token of a cart or a session. */
  storedTokens: { operation: string; key: string }[];
};

export const saleQueries = {
  amounts: `select id as "order", cart_id as cart, items, total, subtotal, discount_total as discount,
    shipping_total as shipping, shipping_tax as "shippingTax", tax_total as tax, tax_included as included,
    tax_lines as "taxLines", discounts, lines, refunded_quantities as refunded, refunded_amounts as "refundedAmounts",
    restocked_quantities as restocked from orders.orders order by id`,
  carts: 'select id, tenant_id as tenant, status, order_id as "order" from orders.carts order by id',
  discounts: `select d.id, usage_limit as "limit", per_customer_limit as "customerLimit", c.used
    from orders.discounts d left join orders.discount_counters c on c.discount_id = d.id`,
  customerUses: 'select discount_id as discount, customer_key as customer, used from orders.discount_customers',
  uses: `select order_id as "order", discount_id as discount, customer_key as customer, is_taken as taken
    from orders.discount_uses`,
  lineRefunds: `select r.id, p.order_id as "order", r.status, r.amount, coalesce(r.shipping, 0) as shipping, r.items
    from payments.refunds r join payments.payments p using (payment_id) where r.items is not null`,
} as const;

/** Looks for tokens in stored responses. Call it before they expire. */
export const findStoredTokens = (platform: ChaosPlatform) =>
  platform.query<SaleBooks['storedTokens'][number]>(
    String.raw`select operation, key from platform.idempotency where answer::text ~ '\m(ct|cs)_[0-9A-Za-z]'`,
  );
