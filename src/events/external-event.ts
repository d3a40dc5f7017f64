import * as z from 'zod';
import { exact, instant, sku, text, unitsMoved } from '../base/fields.ts';
import type { Service } from './topics.ts';

export type ExternalEventType = {
  /** The service that acts upon it. */
  consumer: Service;
  /** Which member of the payload is the record's key. */
  key: string;
  payload: z.ZodType;
};

/**
 * What others may tell us: facts of their own that our services act upon, by event type. None of them says what only we
 * know (that an order is paid), and none depends on its place among others: queues keep no order.
 */
export const externalEventTypes: Record<string, ExternalEventType> = {
  /** A warehouse or an ERP has counted units in or out. */
  'inventory.adjusted': {
    consumer: 'inventory',
    key: 'sku',
    payload: z.object({ sku, delta: unitsMoved, reason: text(255) }),
  },
  /** Where a parcel is; without `provider`, one that the merchant ships without an account at a carrier. */
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
