import * as z from 'zod';
import { id, time } from './fields.ts';

export const shipment = z
  .object({
    id,
    orderId: id,
    trackingNumber: z.string(),
    carrier: z.string(),
    labelUrl: z.string(),
    status: z.enum(['created', 'in_transit', 'delivered']),
    createdAt: time,
  })
  .meta({ id: 'Shipment' });

export type Shipment = z.infer<typeof shipment>;
