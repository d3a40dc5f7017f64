import type { HttpContext } from './app-env.ts';

/** A response without an ETag, for a result that is not a resource which can be read again. */
export function showResult(
  c: HttpContext,
  result: unknown,
  { status = 200, replayed }: { status?: 200 | 201 | 202; replayed?: boolean } = {},
): Response {
  if (replayed) c.header('Idempotent-Replayed', 'true');
  return c.json(result, status);
}
