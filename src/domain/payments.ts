import * as z from 'zod';
import { id, money, time } from './fields.ts';

export const payment = z
  .object({
    id,
    orderId: id,
    amount: money,
    currency: z.string(),
    status: z.enum(['pending', 'succeeded', 'failed', 'cancelled', 'refunded']),
    stripePaymentIntentId: z.string().nullable(),
    clientSecret: z.string().nullable(),
    failureReason: z.string().nullable(),
    createdAt: time,
  })
  .meta({ id: 'Payment' });

export type Payment = z.infer<typeof payment>;
