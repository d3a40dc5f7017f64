import type { Bindings } from './env.ts';
import { ApiError } from './errors.ts';

/** The same numbers as in wrangler.toml: requests in a period of seconds, for a key, in one data center. */
export const keyLimit = { requests: 20_000, seconds: 10 };

/**
 * Counts a request against its key's limit, by Cloudflare's rate limiter, before the database hears of it.
 * @throws ApiError rate_limited, with when to come again
 */
export async function limitRate(env: Bindings, keyHash: string): Promise<void> {
  if (!env.KEY_LIMIT) return;
  const { success } = await env.KEY_LIMIT.limit({ key: keyHash });
  if (success) return;
  throw new ApiError('rate_limited', undefined, {
    headers: {
      'Retry-After': String(keyLimit.seconds),
      RateLimit: `"key";r=0;t=${keyLimit.seconds}`,
      'RateLimit-Policy': `"key";q=${keyLimit.requests};w=${keyLimit.seconds}`,
    },
  });
}
