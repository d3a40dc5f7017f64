import * as z from 'zod';
import { currency, id, money, time } from '../base/fields.ts';
import { priceList } from '../domain/catalog/price-lists.ts';
import { product } from '../domain/catalog/products.ts';
import { campaign } from '../domain/group-commerce/campaigns.ts';
import { team } from '../domain/group-commerce/teams.ts';
import { orderedItem } from '../domain/orders/order.ts';

/** The services that have their own queue, bound as `<NAME>_QUEUE`. */
export type Service = 'catalog' | 'group-commerce' | 'inventory' | 'orders' | 'payments' | 'shipping';

export type Topic = {
  retentionDays: number;
  partitions: number;
  /** The payload field that is the record's key. */
  key: string;
  payload: z.ZodType;
  /** Our services that consume the event. */
  consumers: Service[];
};

const orderId = id;
const endedOrder = z.object({ orderId, reason: z.string() });
const paymentRef = z.object({ paymentId: id, orderId });
const returnedUnits = z.object({ lineId: z.string(), quantity: z.number().int(), restock: z.boolean() });
const refund = paymentRef.extend({ refundId: id, amount: money, currency });

/** Events of older releases lack the fields that were added later. */
const productPayload = product.partial({
  ...{ groupId: true, options: true, slug: true, images: true, weight: true, taxCategory: true },
  ...{ compareAtPrice: true, collections: true, metadata: true },
});

const campaignPayload = campaign.partial({
  ...{
    mode: true,
    skus: true,
    securedUnits: true,
    maxPerCustomer: true,
    joiners: true,
    tiers: true,
    settledPrice: true,
  },
  ...{ currentPrice: true, nextTier: true, teamSize: true, teamSeconds: true, onShort: true },
  ...{ formingTeams: true, successfulTeams: true },
});
const participation = z.object({ campaign: campaignPayload, userId: z.string() });
const teamPayload = z.object({ team });
const membership = teamPayload.extend({ userId: z.string() });

/**
 * Every topic: its payload, how long Kafka keeps it and which of our services consume it. The relay publishes no
 * others.
 */
export const topics: Record<string, Topic> = {
  'order.created': orderTopic(
    z.object({ orderId, customerId: z.string(), total: money, currency, items: z.array(orderedItem) }),
    ['inventory'],
  ),
  'order.confirmed': {
    retentionDays: 7,
    partitions: 12,
    key: 'orderId',
    payload: z.object({ orderId }),
    consumers: ['shipping'],
  },
  'order.failed': orderTopic(endedOrder, ['group-commerce']),
  'order.cancelled': orderTopic(endedOrder.partial({ reason: true }), ['group-commerce']),
  'order.refunded': orderTopic(z.object({ orderId })),
  'order.refund.failed': orderTopic(z.object({ orderId, status: z.enum(['confirmed', 'shipped', 'delivered']) })),
  'cart.expired': {
    retentionDays: 7,
    partitions: 6,
    key: 'cartId',
    payload: z.object({
      cartId: id,
      customerId: z.string().nullable().meta({ description: "The customer's id. null: the cart of a guest" }),
    }),
    consumers: [],
  },
  'return.requested': orderTopic(
    z.object({ orderId, returnId: id, items: z.array(returnedUnits.omit({ restock: true })) }),
  ),
  'return.received': orderTopic(
    z.object({ orderId, returnId: id, refundId: id.optional(), items: z.array(returnedUnits) }),
  ),
  'return.cancelled': orderTopic(z.object({ orderId, returnId: id })),
  'inventory.reserved': orderTopic(z.object({ orderId, status: z.literal('reserved') }), ['payments']),
  'inventory.insufficient': {
    retentionDays: 7,
    partitions: 6,
    key: 'orderId',
    payload: z.object({ orderId, status: z.literal('insufficient'), sku: z.string(), quantity: z.number().int() }),
    consumers: ['orders'],
  },
  'inventory.released': orderTopic(endedOrder.extend({ status: z.literal('released') })),
  'inventory.low': {
    retentionDays: 7,
    partitions: 6,
    key: 'sku',
    payload: z.object({ sku: z.string(), quantity: z.number().int(), lowStockThreshold: z.number().int() }),
    consumers: [],
  },
  'product.created': productTopic(productPayload),
  'product.updated': productTopic(product),
  'product.archived': productTopic(product),
  'price-list.updated': {
    retentionDays: 30,
    partitions: 6,
    key: 'id',
    payload: priceList.extend({
      change: z.enum(['created', 'changed', 'prices', 'deleted']),
      changedPrices: z.number().int(),
    }),
    consumers: [],
  },
  'customer.erased': {
    retentionDays: 30,
    partitions: 6,
    key: 'customerId',
    payload: z.object({ customerId: id }),
    consumers: ['shipping'],
  },
  'product.image.requested': imageTopic(
    z.object({
      productId: id,
      url: z.string(),
      alt: z.string().optional(),
      position: z.number().int().optional().meta({ description: 'Its place among the images. The first is 1' }),
    }),
  ),
  'product.image.deleted': imageTopic(z.object({ productId: id, imageId: id, path: z.string() })),
  'customer.vat.requested': {
    retentionDays: 7,
    partitions: 6,
    key: 'customerId',
    payload: z.object({ customerId: id }),
    consumers: ['orders'],
  },
  'group-commerce.campaign.created': campaignTopic(30, campaignPayload),
  'group-commerce.campaign.joined': campaignTopic(7, participation, ['payments'], 'campaign.id'),
  'group-commerce.campaign.left': campaignTopic(7, participation.extend({ reason: z.string() }), [], 'campaign.id'),
  'group-commerce.campaign.successful': campaignTopic(30, campaignPayload, ['group-commerce']),
  'group-commerce.campaign.priced': campaignTopic(30, campaignPayload, ['group-commerce']),
  'group-commerce.campaign.expired': campaignTopic(30, campaignPayload, ['group-commerce']),
  'group-commerce.campaign.failed': campaignTopic(30, campaignPayload, ['group-commerce']),
  'group-commerce.place.offered': campaignTopic(
    7,
    z.object({ campaignId: id, userId: z.string(), offeredUntil: time }),
    [],
    'campaignId',
  ),
  'group-commerce.team.created': teamTopic(7, membership, ['payments']),
  'group-commerce.team.joined': teamTopic(7, membership, ['payments']),
  'group-commerce.team.left': teamTopic(7, membership.extend({ reason: z.string() })),
  'group-commerce.team.successful': teamTopic(30, teamPayload, ['group-commerce']),
  'group-commerce.team.expired': teamTopic(7, teamPayload, ['group-commerce']),
  'group-commerce.team.merged': teamTopic(7, teamPayload.extend({ into: team })),
  'group-commerce.team.cancelled': teamTopic(7, teamPayload, ['group-commerce']),
  'payment.created': paymentTopic(paymentRef.extend({ amount: money, currency, status: z.string() })),
  'payment.capture.requested': paymentTopic(paymentRef, ['payments']),
  'payment.action.required': paymentTopic(paymentRef),
  'payment.succeeded': paymentTopic(
    paymentRef.extend({ amount: money, currency }).partial({ amount: true, currency: true }),
  ),
  'payment.failed': paymentTopic(paymentRef.extend({ reason: z.string() }), ['payments']),
  'payment.cancelled': paymentTopic(paymentRef, ['payments']),
  'payment.refund.requested': paymentTopic(refund.extend({ reason: z.string().optional() }), ['payments']),
  'payment.refunded': paymentTopic(refund),
  'payment.refund.failed': paymentTopic(refund.omit({ currency: true }).extend({ reason: z.string() })),
  'payment.dispute.changed': paymentTopic(paymentRef.extend({ status: z.enum(['open', 'won', 'lost']) })),
  'shipping.label.requested': shippingTopic(z.object({ orderId }), ['shipping']),
  'shipping.label.created': shippingTopic(
    z.object({ orderId, trackingNumber: z.string(), carrier: z.string(), labelUrl: z.string() }),
  ),
  'shipping.cancelled': shippingTopic(z.object({ orderId, trackingNumber: z.string() })),
  'shipping.status.changed': shippingTopic(
    z.object({
      orderId,
      trackingNumber: z.string(),
      status: z.enum(['created', 'in_transit', 'delivered', 'exception']),
    }),
  ),
};

function campaignTopic(retentionDays: number, payload: z.ZodType, consumers: Service[] = [], key = 'id'): Topic {
  return { retentionDays, partitions: 6, key, payload, consumers };
}

function teamTopic(retentionDays: number, payload: z.ZodType, consumers: Service[] = []): Topic {
  return { retentionDays, partitions: 6, key: 'team.id', payload, consumers };
}

function imageTopic(payload: z.ZodType): Topic {
  return { retentionDays: 7, partitions: 6, key: 'productId', payload, consumers: ['catalog'] };
}

function orderTopic(payload: z.ZodType, consumers: Service[] = []): Topic {
  return { retentionDays: 7, partitions: 12, key: 'orderId', payload, consumers };
}

function paymentTopic(payload: z.ZodType, consumers: Service[] = []): Topic {
  return { retentionDays: 90, partitions: 12, key: 'paymentId', payload, consumers };
}

function productTopic(payload: z.ZodType): Topic {
  return { retentionDays: 30, partitions: 6, key: 'id', payload, consumers: [] };
}

function shippingTopic(payload: z.ZodType, consumers: Service[] = []): Topic {
  return { retentionDays: 30, partitions: 6, key: 'orderId', payload, consumers };
}
