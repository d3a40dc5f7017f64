import type { Http } from './app-env.ts';

/** The response that shows what an operation did, and not a resource that can be read again: it has no ETag. */
export function showResult(
  c: Http,
  result: unknown,
  { status = 200, replayed }: { status?: 200 | 201 | 202; replayed?: boolean } = {},
): Response {
  if (replayed) c.header('Idempotent-Replayed', 'true');
  return c.json(result, status);
}
