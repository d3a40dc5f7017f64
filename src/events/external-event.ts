import * as z from 'zod';
import { exact, instant, sku, text, unitsMoved } from '../base/fields.ts';
import type { Service } from './topics.ts';

export type ExternalEventType = {
  /** The service that consumes it. */
  consumer: Service;
  /** The payload field that is the record's key. */
  key: string;
  payload: z.ZodType;
};

/**
 * The events that external systems may send, by type. None states a fact that only we can know (that an order is paid),
 * and none depends on the order of arrival, because queues do not keep it.
 */
export const externalEventTypes: Record<string, ExternalEventType> = {
  /** A warehouse or an ERP has added or removed units. */
  'inventory.adjusted': {
    consumer: 'inventory',
    key: 'sku',
    payload: z.object({ sku, delta: unitsMoved, reason: text(255) }),
  },
  /** A parcel's position. Without `provider`: a parcel that the merchant ships without a carrier account. */
  'shipping.tracking.updated': {
    consumer: 'shipping',
    key: 'trackingNumber',
    payload: z.object({
      trackingNumber: exact(64),
      provider: z.enum(['manual', 'shippo', 'easypost']).default('manual'),
      status: z.enum(['created', 'in_transit', 'delivered', 'exception']),
      occurredAt: instant,
      detail: text(500).optional(),
    }),
  },
};
