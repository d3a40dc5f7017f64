import * as z from 'zod';
import type { EventRow } from './db/events.ts';
import { product } from './domain/catalog.ts';
import { currency, id, money } from './domain/fields.ts';
import { order } from './domain/orders.ts';

/** An event as queues carry it and consumers get it: CloudEvents 1.0, structured. `subject` is the key. */
export type Event = Omit<EventRow, 'data'> & { data?: unknown; dataref?: string };

/** The services that have a queue of their own; its binding is `<NAME>_QUEUE`. */
export type Service = 'inventory' | 'orders';

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

/** Every topic: what is published, how long Kafka keeps it, and who of us consumes it. The relay knows no other. */
export const topics: Record<string, Topic> = {
  'order.created': {
    retentionDays: 7,
    partitions: 12,
    key: 'orderId',
    payload: z.object({
      orderId,
      customerId: z.string(),
      total: money,
      currency,
      items: order.shape.items,
    }),
    consumers: ['inventory'],
  },
  'order.confirmed': {
    retentionDays: 7,
    partitions: 12,
    key: 'orderId',
    payload: z.object({ orderId }),
    consumers: [],
  },
  'order.failed': { retentionDays: 7, partitions: 12, key: 'orderId', payload: reasoned, consumers: [] },
  'order.cancelled': {
    retentionDays: 7,
    partitions: 12,
    key: 'orderId',
    payload: reasoned.partial({ reason: true }),
    consumers: [],
  },
  'inventory.reserved': {
    retentionDays: 7,
    partitions: 12,
    key: 'orderId',
    payload: z.object({ orderId, status: z.literal('reserved') }),
    consumers: [],
  },
  'inventory.insufficient': {
    retentionDays: 7,
    partitions: 6,
    key: 'orderId',
    payload: z.object({ orderId, status: z.literal('insufficient'), sku: z.string(), quantity: z.number().int() }),
    consumers: ['orders'],
  },
  'inventory.released': {
    retentionDays: 7,
    partitions: 12,
    key: 'orderId',
    payload: reasoned.extend({ status: z.literal('released') }),
    consumers: [],
  },
  'product.created': { retentionDays: 30, partitions: 6, key: 'id', payload: product, consumers: [] },
  'group-commerce.campaign.created': campaignTopic(30, z.looseObject({ id })),
  'group-commerce.campaign.joined': campaignTopic(
    7,
    z.object({ campaign: z.looseObject({ id }), userId: z.string() }),
    'campaign.id',
  ),
  'group-commerce.campaign.successful': campaignTopic(30, z.looseObject({ id })),
  'group-commerce.campaign.expired': campaignTopic(30, z.looseObject({ id })),
  'group-commerce.campaign.failed': campaignTopic(30, z.looseObject({ id })),
  'payment.created': paymentTopic(paid.extend({ amount: money, currency, status: z.string() })),
  'payment.succeeded': paymentTopic(paid),
  'payment.failed': paymentTopic(paid.extend({ reason: z.string() })),
  'payment.refunded': paymentTopic(paid.extend({ amount: money, currency })),
  'shipping.label.created': {
    retentionDays: 30,
    partitions: 6,
    key: 'orderId',
    payload: z.object({ orderId, trackingNumber: z.string(), carrier: z.string(), labelUrl: z.string() }),
    consumers: [],
  },
  'shipping.status.changed': {
    retentionDays: 30,
    partitions: 6,
    key: 'orderId',
    payload: z.object({ orderId, trackingNumber: z.string(), status: z.string() }),
    consumers: [],
  },
};

function campaignTopic(retentionDays: number, payload: z.ZodType, key = 'id'): Topic {
  return { retentionDays, partitions: 6, key, payload, consumers: [] };
}

function paymentTopic(payload: z.ZodType): Topic {
  return { retentionDays: 90, partitions: 12, key: 'paymentId', payload, consumers: [] };
}
