import * as z from 'zod';
import type { Context } from '../context.ts';

/** An event that waits longer than this means that a relay or a sink is in trouble. */
const tolerableSeconds = 300;

const problem = z.object({
  code: z
    .enum(['outbox_late', 'dead_letters', 'jobs_not_sealed'])
    .meta({ description: 'What docs/runbook.md calls it' }),
  detail: z.string(),
});

export const readiness = z
  .object({
    status: z.enum(['ok', 'degraded']),
    outboxAgeSeconds: z.number().int().meta({ description: 'Age of the oldest event that is not delivered yet' }),
    outboxCount: z.number().int().meta({ description: 'Undelivered rows, counted up to 10,000' }),
    deadLetters: z.number().int().meta({ description: 'Dead letters that were not replayed, counted up to 10,000' }),
    problems: z.array(problem).meta({ description: 'What is wrong, for who is woken by it; none: `ok`' }),
  })
  .meta({ id: 'Readiness' });

/** @throws ApiError unavailable, if the database does not answer */
export async function readHealth(context: Context): Promise<z.infer<typeof readiness>> {
  const { outboxAgeSeconds, outboxCount, deadLetters, sinks, sealed } = await context.db.health();
  const problems: z.infer<typeof problem>[] = sinks
    .filter(({ ageSeconds }) => ageSeconds > tolerableSeconds)
    .map(({ sink, ageSeconds, failures, pausedUntil }) => ({
      code: 'outbox_late',
      detail:
        `The oldest event for ${sink} has waited for ${ageSeconds} s.` +
        (failures > 0 ? ` It has failed ${failures} times in a row` : ' It has not failed: is the cron running?') +
        (failures > 0 ? `${pausedUntil === null ? '' : ` and is tried again at ${pausedUntil}`}.` : ''),
    }));
  if (deadLetters > 0) {
    const detail = `${deadLetters} dead letters wait for somebody: GET /v1/dead-letters with each tenant's key.`;
    problems.push({ code: 'dead_letters', detail });
  }
  if (!sealed) {
    const detail = 'Jobs need no secret in this database: npm run keys -- jobs seal.';
    problems.push({ code: 'jobs_not_sealed', detail });
  }
  return { status: problems.length > 0 ? 'degraded' : 'ok', outboxAgeSeconds, outboxCount, deadLetters, problems };
}
