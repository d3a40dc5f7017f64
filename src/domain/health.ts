import * as z from 'zod';
import type { Context } from '../context.ts';

/** An event that waits longer than this means that a relay or a sink is in trouble. */
const tolerableSeconds = 300;

export const readiness = z
  .object({
    status: z.enum(['ok', 'degraded']),
    outboxAgeSeconds: z.number().int().meta({ description: 'Age of the oldest event that is not delivered yet' }),
    outboxCount: z.number().int().meta({ description: 'Undelivered rows, counted up to 10,000' }),
    deadLetters: z.number().int().meta({ description: 'Dead letters that were not replayed, counted up to 10,000' }),
  })
  .meta({ id: 'Readiness' });

/** @throws ApiError unavailable, if the database does not answer */
export async function readHealth(context: Context): Promise<z.infer<typeof readiness>> {
  const { outboxAgeSeconds, outboxCount, deadLetters } = await context.db.health();
  const status = outboxAgeSeconds > tolerableSeconds ? 'degraded' : 'ok';
  return { status, outboxAgeSeconds, outboxCount, deadLetters };
}
