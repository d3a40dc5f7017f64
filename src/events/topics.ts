import * as z from 'zod';
import { currency, id, money } from '../base/fields.ts';
import { product } from '../domain/catalog.ts';
import { campaign } from '../domain/group-commerce.ts';
import { order } from '../domain/orders.ts';

/** The services that have a queue of their own; its binding is `<NAME>_QUEUE`. */
export type Service = 'group-commerce' | 'inventory' | 'orders' | 'payments' | 'shipping';

export type Topic = {
  retentionDays: number;
  partitions: number;
  /** Which member of the payload is the record's key. */
  key: string;
  payload: z.ZodType;
  /** Our own services that have something to do when it happens. */
  consumers: Service[];
};

const orderId = id;
const reasoned = z.object({ orderId, reason: z.string() });
const paid = z.object({ paymentId: id, orderId });
const refund = paid.extend({ refundId: id, amount: money, currency });

const joined = z.object({ campaign, userId: z.string() });

/** Every topic: what is published, how long Kafka keeps it, and who of us consumes it. The relay knows no other. */
export const topics: Record<string, Topic> = {
  'order.created': orderTopic(
    z.object({ orderId, customerId: z.string(), total: money, currency, items: order.shape.items }),
    ['inventory'],
  ),
  'order.confirmed': {
    retentionDays: 7,
    partitions: 12,
    key: 'orderId',
    payload: z.object({ orderId }),
    consumers: ['shipping'],
  },
  'order.failed': orderTopic(reasoned, ['group-commerce']),
  'order.cancelled': orderTopic(reasoned.partial({ reason: true }), ['group-commerce']),
  'order.refunded': orderTopic(z.object({ orderId })),
  'order.refund.failed': orderTopic(z.object({ orderId, status: z.enum(['confirmed', 'shipped', 'delivered']) })),
  'inventory.reserved': orderTopic(z.object({ orderId, status: z.literal('reserved') }), ['payments']),
  'inventory.insufficient': {
    retentionDays: 7,
    partitions: 6,
    key: 'orderId',
    payload: z.object({ orderId, status: z.literal('insufficient'), sku: z.string(), quantity: z.number().int() }),
    consumers: ['orders'],
  },
  'inventory.released': orderTopic(reasoned.extend({ status: z.literal('released') })),
  'product.created': { retentionDays: 30, partitions: 6, key: 'id', payload: product, consumers: [] },
  'group-commerce.campaign.created': campaignTopic(30, campaign),
  'group-commerce.campaign.joined': campaignTopic(7, joined, ['payments'], 'campaign.id'),
  'group-commerce.campaign.left': campaignTopic(7, joined.extend({ reason: z.string() }), [], 'campaign.id'),
  'group-commerce.campaign.successful': campaignTopic(30, campaign, ['group-commerce']),
  'group-commerce.campaign.expired': campaignTopic(30, campaign, ['group-commerce']),
  'group-commerce.campaign.failed': campaignTopic(30, campaign, ['group-commerce']),
  'payment.created': paymentTopic(paid.extend({ amount: money, currency, status: z.string() })),
  'payment.capture.requested': paymentTopic(paid, ['payments']),
  'payment.succeeded': paymentTopic(paid),
  'payment.failed': paymentTopic(paid.extend({ reason: z.string() }), ['payments']),
  'payment.cancelled': paymentTopic(paid, ['payments']),
  'payment.refund.requested': paymentTopic(refund.extend({ reason: z.string().optional() }), ['payments']),
  'payment.refunded': paymentTopic(refund),
  'payment.refund.failed': paymentTopic(refund.omit({ currency: true }).extend({ reason: z.string() })),
  'payment.dispute.changed': paymentTopic(paid.extend({ status: z.enum(['open', 'won', 'lost']) })),
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

function orderTopic(payload: z.ZodType, consumers: Service[] = []): Topic {
  return { retentionDays: 7, partitions: 12, key: 'orderId', payload, consumers };
}

function paymentTopic(payload: z.ZodType, consumers: Service[] = []): Topic {
  return { retentionDays: 90, partitions: 12, key: 'paymentId', payload, consumers };
}

function shippingTopic(payload: z.ZodType, consumers: Service[] = []): Topic {
  return { retentionDays: 30, partitions: 6, key: 'orderId', payload, consumers };
}
