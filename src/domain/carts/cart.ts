import * as z from 'zod';
import {
  address,
  currency,
  email,
  id,
  metadata,
  money,
  newAddress,
  reference,
  sku,
  text,
  time,
  whole,
} from '../../base/fields.ts';
import type { CartRow } from '../../db/orders/carts/row.ts';
import { appliedDiscount, discountCodes, orderSource, taxLine } from '../orders/order.ts';

const maxLines = 200;

/** A sum. It may be larger than any price, because a cart whose total cannot be charged is shown too. */
const sum = z
  .number()
  .nonnegative()
  .meta({ examples: [59.98] });

const cartItem = z
  .object({
    id: id.meta({ description: 'Stays the same while the SKU is in the cart' }),
    sku,
    name: z.string().nullable(),
    image: z.string().nullable().meta({ description: "The path of the product's first image" }),
    quantity: whole.min(1),
    price: money.nullable().meta({ description: 'Of one unit now. null: the line cannot be sold, see `messages`' }),
    compareAtPrice: money.nullable(),
    subtotal: sum.nullable(),
    discount: sum.nullable(),
    tax: sum.nullable().meta({ description: 'null: not known yet' }),
    total: sum.nullable().meta({ description: 'null: not known yet' }),
    available: whole.meta({ description: 'How many units can be sold now' }),
  })
  .meta({ id: 'CartItem' });

const messageCodes = [
  ...['cart_empty', 'unknown_sku', 'currency_mismatch', 'insufficient_inventory', 'missing'],
  ...['shipping_option_not_offered', 'total_not_chargeable', 'discount_invalid', 'discount_not_used', 'tax_unknown'],
  'tax_not_calculated',
] as const;

const cartMessage = z
  .object({
    type: z
      .enum(['error', 'warning', 'info'])
      .meta({ description: 'The cart cannot be ordered while it has an error' }),
    severity: z
      .enum(['recoverable', 'requires_buyer_input', 'requires_buyer_review'])
      .optional()
      .meta({ description: 'Only of an error: whether a program can correct it or the buyer must' }),
    code: z.enum(messageCodes),
    pointer: z.string().meta({ description: 'A JSON pointer to the field of the cart' }),
    detail: z.string(),
  })
  .meta({ id: 'CartMessage' });

const shippingOption = z
  .object({ id, name: z.string(), price: money, minDays: whole.nullable(), maxDays: whole.nullable() })
  .meta({ id: 'CartShippingOption' });

const cartFields = {
  id,
  status: z.enum(['open', 'ordered', 'completed', 'cancelled', 'expired']),
  currency: z.string(),
  customerId: z.string().nullable(),
  email: z.string().nullable(),
  phone: z.string().nullable(),
  items: z.array(cartItem),
  shippingAddress: address.nullable(),
  billingAddress: address.nullable(),
  shippingOptions: z
    .array(shippingOption)
    .meta({ description: 'Offered for the address, the currency and the weight' }),
  shippingOptionId: id.nullable(),
  discountCodes: z
    .array(z.string())
    .meta({ description: 'As they were entered. An invalid one stays, with a warning' }),
  discounts: z.array(appliedDiscount).meta({ description: 'The discounts that lower the total' }),
  taxLines: z.array(taxLine).nullable().meta({ description: 'null: not known yet' }),
  taxIncluded: z.boolean().meta({ description: 'Whether the amounts contain the tax' }),
  totals: z
    .object({ subtotal: sum, discount: sum, shipping: sum.nullable(), tax: sum.nullable(), total: sum.nullable() })
    .meta({
      description:
        '`total` = `subtotal` − `discount` + `shipping`, + `tax` unless it is included. null: not known yet. Send ' +
        '`total` as `expectedTotal` to check out',
    }),
  messages: z.array(cartMessage),
  organizationId: z.string().nullable(),
  purchaseOrderNumber: z.string().nullable(),
  metadata,
  source: orderSource.nullable(),
  orderId: id.nullable().meta({ description: 'The latest order of the cart' }),
  expiresAt: time.meta({ description: 'Each change of the cart postpones it' }),
  createdAt: time,
  updatedAt: time,
};

export const cart = z.object(cartFields).meta({ id: 'Cart' });
export type Cart = z.infer<typeof cart>;

export const createdCart = z
  .object({
    ...cartFields,
    token: z.string().nullable().meta({
      description: 'Send it as `Cart-Token` with a publishable key. It is shown only here; a repetition has null',
    }),
  })
  .meta({ id: 'CreatedCart' });

const items = z
  .array(z.strictObject({ sku, quantity: whole.min(1).max(1_000_000) }))
  .max(maxLines)
  .meta({ description: 'Lines of one SKU are merged' });

export const newCart = z.strictObject({
  currency: currency.optional().meta({ description: "Default: the shop's currency, otherwise that of the first item" }),
  items: items.optional(),
  email: email.optional(),
  organizationId: reference.optional().meta({ description: 'Only with a secret key' }),
  source: orderSource.optional(),
  customerId: reference.optional().meta({ description: "Only with a secret key. A session's cart is its customer's" }),
});

export const cartChange = z
  .strictObject({
    items: items.meta({ description: 'Replaces all items. Lines of one SKU are merged' }),
    email: email.nullable(),
    phone: text(64).nullable(),
    shippingAddress: newAddress.nullable(),
    billingAddress: newAddress.nullable(),
    shippingOptionId: id.nullable(),
    discountCodes: discountCodes.nullable(),
    purchaseOrderNumber: reference.nullable(),
    metadata: metadata.nullable(),
  })
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must change at least one field' });

export const itemQuantity = z.strictObject({
  quantity: whole.min(0).max(1_000_000).meta({ description: '0 removes the line' }),
});

export const checkout = z.strictObject({
  expectedTotal: money.meta({ description: '`totals.total` of the cart that the shopper has seen' }),
});

/** Puts the fields in the order of the API. jsonb has its own order. */
export const toCart = (row: CartRow): Cart => ({
  id: row.id,
  status: row.status,
  currency: row.currency,
  customerId: row.customerId,
  email: row.email,
  phone: row.phone,
  items: row.items.map((item) => ({
    ...{ id: item.id, sku: item.sku, name: item.name, image: item.image, quantity: item.quantity, price: item.price },
    ...{ compareAtPrice: item.compareAtPrice, subtotal: item.subtotal, discount: item.discount, tax: item.tax },
    ...{ total: item.total, available: item.available },
  })),
  shippingAddress: row.shippingAddress as Cart['shippingAddress'],
  billingAddress: row.billingAddress as Cart['billingAddress'],
  shippingOptions: row.shippingOptions.map(({ id: optionId, name, price, minDays, maxDays }) => ({
    ...{ id: optionId, name, price, minDays, maxDays },
  })),
  shippingOptionId: row.shippingOptionId,
  discountCodes: row.discountCodes,
  discounts: row.discounts.map((each) => ({ ...each, code: each.code ?? null })),
  taxLines: row.taxLines,
  taxIncluded: row.taxIncluded,
  totals: {
    subtotal: row.totals.subtotal,
    discount: row.totals.discount,
    shipping: row.totals.shipping,
    tax: row.totals.tax,
    total: row.totals.total,
  },
  messages: row.messages as Cart['messages'],
  organizationId: row.organizationId,
  purchaseOrderNumber: row.purchaseOrderNumber,
  metadata: row.metadata,
  source: row.source,
  orderId: row.orderId,
  expiresAt: row.expiresAt,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});
