import * as z from 'zod';
import type { Context } from '../context.ts';

/** If an event waits longer than this, the relay or the sink has a problem. */
const maxWaitSeconds = 300;

const problem = z.object({
  code: z
    .enum(['outbox_late', 'dead_letters', 'jobs_not_sealed'])
    .meta({ description: "The problem's name in docs/runbook.md" }),
  detail: z.string(),
});

export const readiness = z
  .object({
    status: z.enum(['ok', 'degraded']),
    outboxAgeSeconds: z.number().int().meta({ description: 'Age of the oldest undelivered event' }),
    outboxCount: z.number().int().meta({ description: 'Undelivered rows, counted up to 10,000' }),
    deadLetters: z.number().int().meta({ description: 'Dead letters that were not replayed, counted up to 10,000' }),
    problems: z.array(problem).meta({ description: 'What is wrong and how to fix it. Empty if the status is `ok`' }),
  })
  .meta({ id: 'Readiness' });

/** @throws ApiError unavailable if the database does not respond */
export async function readHealth(context: Context): Promise<z.infer<typeof readiness>> {
  const { outboxAgeSeconds, outboxCount, deadLetters, sinks, sealed } = await context.db.health();
  const problems: z.infer<typeof problem>[] = sinks
    .filter(({ ageSeconds }) => ageSeconds > maxWaitSeconds)
    .map(({ sink, ageSeconds, failures, pausedUntil }) => ({
      code: 'outbox_late',
      detail:
        `The oldest event for ${sink} has waited for ${ageSeconds} s.` +
        (failures > 0 ? ` It has failed ${failures} times in a row` : ' It has not failed: is the cron running?') +
        (failures > 0 ? `${pausedUntil === null ? '' : ` and is retried at ${pausedUntil}`}.` : ''),
    }));
  if (deadLetters > 0) {
    const detail = `Dead letters not replayed: ${deadLetters}. List them with GET /v1/dead-letters and each tenant's key.`;
    problems.push({ code: 'dead_letters', detail });
  }
  if (!sealed) {
    const detail = 'This database runs jobs without a job secret. Run npm run keys -- jobs seal.';
    problems.push({ code: 'jobs_not_sealed', detail });
  }
  return { status: problems.length > 0 ? 'degraded' : 'ok', outboxAgeSeconds, outboxCount, deadLetters, problems };
}
