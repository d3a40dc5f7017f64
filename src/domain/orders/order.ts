import * as z from 'zod';
import { address, currency, email, id, metadata, money, reference, sku, text, time, whole } from '../../base/fields.ts';
import { productOf } from '../../base/money.ts';
import type { Line, OrderRow } from '../../db/orders/queries.ts';
import { payment, refund, toPayment, toRefund } from '../payments.ts';
import { shipment, toShipment } from '../shipping.ts';
import { discountCode } from './discounts.ts';
import { orderNumber } from './number.ts';

export const orderStatus = z.enum(['created', 'confirmed', 'shipped', 'delivered', 'failed', 'cancelled', 'refunded']);

const quantity = whole.min(1).max(1_000_000);

/** Where an order came from, such as a shop or a marketplace. */
export const orderSource = z.strictObject({ channel: text(64), id: text(255).optional() }).meta({ id: 'OrderSource' });

export const taxLine = z
  .object({
    name: z.string(),
    rate: z.number().meta({ description: 'Percent' }),
    taxable: money.meta({ description: 'The sum that is taxed at this rate, without the tax' }),
    amount: money,
  })
  .meta({ id: 'TaxLine' });

export const appliedDiscount = z
  .object({
    id,
    code: z.string().nullable(),
    name: z.string(),
    amount: money,
    allocations: z.array(
      z.object({ lineId: z.string().meta({ description: 'The id of a line, or `shipping`' }), amount: money }),
    ),
  })
  .meta({ id: 'AppliedDiscount' });

/** A line as the events have it. */
export const orderedItem = z.object({ sku, quantity, price: money });

const orderLine = z
  .object({
    sku,
    quantity,
    price: money.meta({ description: 'Of one unit' }),
    id: z.string().meta({ description: 'Unique in its order' }),
    name: z.string().nullable().meta({ description: "The product's name when the order was placed" }),
    discount: money,
    tax: money,
    total: money.meta({ description: 'What is paid for the line' }),
    refundedQuantity: whole,
    fulfilledQuantity: whole.meta({ description: 'Units in parcels whose label is requested or made' }),
  })
  .meta({ id: 'OrderLine' });

export const order = z
  .object({
    id,
    customerId: z.string().meta({
      description: 'The buyer: the id of a customer, or an id of your own. The id of the cart, if it has no customer',
    }),
    items: z.array(orderLine),
    total: money,
    currency: z.string(),
    status: orderStatus,
    failureReason: z.string().nullable(),
    organizationId: z.string().nullable(),
    purchaseOrderNumber: z.string().nullable(),
    shippingAddress: address.nullable(),
    campaignId: id.nullable(),
    reservation: z
      .object({ status: z.enum(['held', 'committed', 'released']), expiresAt: time.nullable() })
      .nullable()
      .meta({ description: 'null while the hold is undecided, and when there was not enough stock' }),
    payment: payment.nullable(),
    shipment: shipment.nullable().meta({ description: 'The latest shipment that has left, otherwise the latest one' }),
    shipments: z.array(shipment).meta({ description: 'All shipments, cancelled ones too, oldest first' }),
    refunds: z.array(refund).meta({ description: 'Oldest first' }),
    number: z
      .string()
      .meta({ description: 'For people to say and write: shorter than the id', examples: ['K7QF2-M9X4T'] }),
    cartId: id.nullable(),
    source: orderSource.nullable(),
    email: z.string().nullable(),
    subtotal: money.meta({ description: 'The lines before discounts' }),
    discountTotal: money.meta({ description: 'What the discounts take off the lines' }),
    shippingTotal: money.meta({ description: 'The price of shipping, less its discounts' }),
    shippingTax: money,
    taxTotal: money.meta({ description: 'The tax of the lines and of shipping' }),
    taxIncluded: z.boolean().meta({
      description:
        'Whether the amounts contain the tax. `total` = `subtotal` − `discountTotal` + `shippingTotal`, + `taxTotal` if not',
    }),
    taxLines: z.array(taxLine),
    discounts: z.array(appliedDiscount),
    shippingOption: z.object({ id, name: z.string() }).nullable(),
    billingAddress: address.nullable(),
    metadata,
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'Order' });

export type Order = z.infer<typeof order>;

/** Codes of discounts. They ignore case. */
export const discountCodes = z.array(discountCode).max(10);

export const newOrder = z.strictObject({
  customerId: reference,
  items: z
    .array(z.strictObject({ sku, quantity, price: money.optional() }))
    .min(1)
    .max(1_200),
  currency: currency.optional(),
  pricing: z.enum(['catalog', 'quoted']).optional().meta({
    description:
      '`catalog`: the stated prices must match the catalog. `quoted`: the stated prices apply, for negotiated or historical prices. Default: `catalog`.',
  }),
  organizationId: reference.optional(),
  purchaseOrderNumber: reference.optional(),
  shippingAddress: address.optional(),
  billingAddress: address.optional(),
  email: email.optional(),
  metadata: metadata.optional(),
  discountCodes: discountCodes.optional(),
  shippingOptionId: id.optional().meta({ description: 'Adds the price of this shipping option' }),
  expand: z.array(z.literal('payment')).max(1).optional().meta({
    description:
      '`payment`: the response has the payment with its `clientSecret`, as `POST /v1/payments` returns it. Not possible with `Prefer: respond-async`.',
  }),
});

export const restock = z.boolean().optional().meta({
  description: 'Whether paid units go back into stock. Default: true until the label is made, then false.',
});

export const cancellation = z.strictObject({ reason: text(255).optional(), restock });

/** A line with its frozen amounts. A plain order stores only its prices. */
function toLine(row: OrderRow, line: Line, index: number): Order['items'][number] {
  const frozen = row.lines?.[index];
  return {
    sku: line.sku,
    quantity: line.quantity,
    price: line.price,
    id: String(index + 1),
    name: frozen?.name ?? null,
    discount: frozen?.discount ?? 0,
    tax: frozen?.tax ?? 0,
    total: frozen?.total ?? productOf(line.price, line.quantity),
    refundedQuantity: row.refundedQuantities?.[index] ?? 0,
    fulfilledQuantity: row.fulfilledQuantities?.[index] ?? 0,
  };
}

export const toOrder = (row: OrderRow): Order => ({
  id: row.id,
  customerId: row.customerId,
  items: row.items.map((line, index) => toLine(row, line, index)),
  total: row.total,
  currency: row.currency,
  status: row.status,
  failureReason: row.failureReason,
  organizationId: row.organizationId,
  purchaseOrderNumber: row.purchaseOrderNumber,
  shippingAddress: row.shippingAddress as Order['shippingAddress'],
  campaignId: row.campaignId,
  reservation: row.reservation && { status: row.reservation.status, expiresAt: row.reservation.expiresAt },
  payment: row.payment && toPayment(row.payment),
  shipment: row.shipment && toShipment(row.shipment),
  shipments: (row.shipments ?? []).map(toShipment),
  refunds: (row.refunds ?? []).map(toRefund),
  number: orderNumber(row.id),
  cartId: row.cartId ?? null,
  source: row.source ?? null,
  email: row.email ?? null,
  subtotal: row.subtotal ?? row.total,
  discountTotal: row.discountTotal ?? 0,
  shippingTotal: row.shippingTotal ?? 0,
  shippingTax: row.shippingTax ?? 0,
  taxTotal: row.taxTotal ?? 0,
  taxIncluded: row.taxIncluded ?? false,
  taxLines: row.taxLines ?? [],
  discounts: (row.discounts ?? []).map((each) => ({ ...each, code: each.code ?? null })),
  shippingOption: row.shippingOption ?? null,
  billingAddress: (row.billingAddress ?? null) as Order['billingAddress'],
  metadata: row.metadata ?? {},
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});
