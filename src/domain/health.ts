import * as z from 'zod';
import { defaultCell } from '../base/cells.ts';
import { ApiError } from '../base/errors.ts';
import { type Context, inCell } from '../context.ts';
import type { Health } from '../db/client.ts';

/** If an event waits longer than this, the relay or the sink has a problem. */
const maxWaitSeconds = 300;

const problem = z.object({
  code: z
    .enum(['cell_unavailable', 'outbox_late', 'dead_letters', 'jobs_not_sealed'])
    .meta({ description: "The problem's name in docs/runbook.md" }),
  cell: z.string().optional().meta({ description: 'The cell that has the problem. Absent for the default cell' }),
  detail: z.string(),
});

export const readiness = z
  .object({
    status: z.enum(['ok', 'degraded']),
    outboxAgeSeconds: z.number().int().meta({ description: 'Age of the oldest undelivered event of any cell' }),
    outboxCount: z.number().int().meta({ description: 'Undelivered rows, counted up to 10,000 in each cell' }),
    deadLetters: z
      .number()
      .int()
      .meta({ description: 'Dead letters that were not replayed, counted up to 10,000 in each cell' }),
    cells: z
      .array(z.object({ cell: z.string(), status: z.enum(['ok', 'degraded', 'unavailable']) }))
      .meta({ description: 'The state of each cell. `default` is the cell of `DATABASE_URL`' }),
    problems: z.array(problem).meta({ description: 'What is wrong and how to fix it. Empty if the status is `ok`' }),
  })
  .meta({ id: 'Readiness' });

type Problem = z.infer<typeof problem>;

/** What is wrong in one cell. */
function problemsOf({ sinks, deadLetters, sealed }: Health, cell: string): Problem[] {
  const place = cell === defaultCell ? {} : { cell };
  const option = cell === defaultCell ? '' : ` --cell ${cell}`;
  const problems: Problem[] = sinks
    .filter(({ ageSeconds }) => ageSeconds > maxWaitSeconds)
    .map(({ sink, ageSeconds, failures, pausedUntil }) => ({
      code: 'outbox_late',
      ...place,
      detail:
        `The oldest event for ${sink} has waited for ${ageSeconds} s.` +
        (failures > 0 ? ` It has failed ${failures} times in a row` : ' It has not failed: is the cron running?') +
        (failures > 0 ? `${pausedUntil === null ? '' : ` and is retried at ${pausedUntil}`}.` : ''),
    }));
  if (deadLetters > 0) {
    const detail = `Dead letters not replayed: ${deadLetters}. List them with GET /v1/dead-letters and each tenant's key.`;
    problems.push({ code: 'dead_letters', ...place, detail });
  }
  if (!sealed) {
    const detail = `This database runs jobs without a job secret. Run npm run keys --${option} jobs seal.`;
    problems.push({ code: 'jobs_not_sealed', ...place, detail });
  }
  return problems;
}

/** If one of several cells does not respond for this long, the others are reported without it. */
const maxWaitMs = 5_000;

async function healthOf({ db }: Context, isOnly: boolean): Promise<Health> {
  if (isOnly) return db.health();
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new ApiError('unavailable')), maxWaitMs);
  return Promise.race([db.health(), promise]).finally(() => clearTimeout(timer));
}

/**
 * The state of all cells. A cell that does not respond makes the service `degraded`, because it goes on for the tenants
 * of the others.
 * @throws ApiError unavailable if no cell responds
 */
export async function readHealth(context: Context): Promise<z.infer<typeof readiness>> {
  const names = [...context.settings.cells.keys()];
  const results = await Promise.allSettled(names.map((cell) => healthOf(inCell(context, cell), names.length === 1)));
  const [first] = results;
  if (first?.status === 'rejected' && results.every(({ status }) => status === 'rejected')) throw first.reason;
  const cells = names.map((cell, index): { cell: string; problems: Problem[]; health?: Health } => {
    const result = results[index];
    if (result?.status === 'fulfilled') {
      return { cell, problems: problemsOf(result.value, cell), health: result.value };
    }
    const detail = `The database of the cell ${cell} does not respond. The other cells go on.`;
    return { cell, problems: [{ code: 'cell_unavailable', ...(cell === defaultCell ? {} : { cell }), detail }] };
  });
  const found = cells.flatMap(({ health }) => health ?? []);
  const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);
  const problems = cells.flatMap((cell) => cell.problems);
  return {
    status: problems.length > 0 ? 'degraded' : 'ok',
    outboxAgeSeconds: Math.max(...found.map(({ outboxAgeSeconds }) => outboxAgeSeconds)),
    outboxCount: sum(found.map(({ outboxCount }) => outboxCount)),
    deadLetters: sum(found.map(({ deadLetters }) => deadLetters)),
    cells: cells.map(({ cell, problems: own, health }) => ({
      cell,
      status: health === undefined ? 'unavailable' : own.length > 0 ? 'degraded' : 'ok',
    })),
    problems,
  };
}
