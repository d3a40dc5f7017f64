import type { TaxQuestion } from '../tax-quotes.ts';

/** A line of a cart. What is not known yet, or does not exist for a line that cannot be sold, is null. */
type CartItemRow = {
  id: string;
  sku: string;
  name: string | null;
  image: string | null;
  quantity: number;
  price: number | null;
  compareAtPrice: number | null;
  subtotal: number | null;
  discount: number | null;
  tax: number | null;
  total: number | null;
  available: number;
};

/** A cart as `orders.cart_json` returns it. */
export type CartRow = {
  id: string;
  status: 'open' | 'ordered' | 'completed' | 'cancelled' | 'expired';
  currency: string;
  customerId: string | null;
  email: string | null;
  phone: string | null;
  items: CartItemRow[];
  shippingAddress: Record<string, string> | null;
  billingAddress: Record<string, string> | null;
  shippingOptions: { id: string; name: string; price: number; minDays: number | null; maxDays: number | null }[];
  shippingOptionId: string | null;
  discountCodes: string[];
  discounts: {
    id: string;
    code?: string;
    name: string;
    amount: number;
    allocations: { lineId: string; amount: number }[];
  }[];
  taxLines: { name: string; rate: number; taxable: number; amount: number }[] | null;
  taxIncluded: boolean;
  totals: {
    subtotal: number;
    discount: number;
    shipping: number | null;
    tax: number | null;
    total: number | null;
  };
  messages: {
    type: 'error' | 'warning' | 'info';
    severity?: 'recoverable' | 'requires_buyer_input' | 'requires_buyer_review';
    code: string;
    pointer: string;
    detail: string;
  }[];
  organizationId: string | null;
  purchaseOrderNumber: string | null;
  metadata: Record<string, string>;
  source: { channel: string; id?: string } | null;
  orderId: string | null;
  expiresAt: string;
  createdAt: string;
  updatedAt: string;
  version: number;
  /** Only while the tenant's tax provider has to be asked. */
  taxQuestion?: TaxQuestion;
};
