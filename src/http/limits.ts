import { ApiError } from '../base/errors.ts';
import { type Bindings, settingsOf } from '../env.ts';

/** The same numbers as in wrangler.toml: requests in a period of seconds, for a key, in one data center. */
export const keyLimit = { requests: 20_000, seconds: 10 };
/**
 * Of an address, but only what might be a flood: keys that turn out bad or are not known to be good yet, forged webhooks,
 * `/readyz`. Keys that the database has let in do not count, so a server of many tenants has no limit but its keys'.
 */
export const addressLimit = { requests: 100, seconds: 10 };

type Limit = typeof keyLimit;

/**
 * Cloudflare's limiter counts a whole period, so a key could use all of its requests in the first moment and hold up everybody
 * else for as long as these take. So each isolate spreads them: a key gets its requests evenly, and half a second's worth of
 * them at once. An address gets its trials of keys that failed in the same way.
 */
const burstSeconds = 0.5;

/** Reports how a request ended. The caller does not wait for the promise, and only keeps it alive. */
export type Report = (outcome: Outcome) => Promise<void> | undefined;

/** How a request ended: `open` if the database was not asked, or could not say. */
export type Outcome = 'good' | 'bad' | 'open';

const badForMs = 10_000;
const goodForMs = 600_000;
/** A trial that has been under way for so long counts no more: its client has gone, or the database did not answer in time. */
const longestTrialMs = 10_000;
const most = 20_000;
/** How many requests may be made now; `at`: when that was worked out. */
type Share = { left: number; at: number };
/** Of this isolate: until when a key, by hash, is taken to be good or bad, its share, and an address's trials. */
const good = new Map<string, number>();
const bad = new Map<string, number>();
const shares = new Map<string, Share>();
const trials = new Map<string, Share & { underway: Set<{ since: number }> }>();

function remember<T>(in_: Map<string, T>, name: string, value: T): T {
  if (in_.size >= most) in_.clear();
  in_.set(name, value);
  return value;
}

function refuse(name: string, { requests, seconds }: Limit, wait = seconds): never {
  throw new ApiError('rate_limited', undefined, {
    headers: {
      'Retry-After': String(wait),
      RateLimit: `"${name}";r=0;t=${wait}`,
      'RateLimit-Policy': `"${name}";q=${requests};w=${seconds}`,
    },
  });
}

/** Adds to a share what its limit has given since then, up to `most`. */
function refill(share: Share, { requests, seconds }: Limit, most: number, now: number): void {
  share.left = Math.min(most, share.left + ((now - share.at) / 1000) * (requests / seconds));
  share.at = now;
}

/** Takes one of a key's requests of this moment, in this isolate. @throws ApiError rate_limited, to come again in a second */
export function takeShare(keyHash: string, limit: Limit, now: number): void {
  const most = Math.max(1, (limit.requests / limit.seconds) * burstSeconds);
  const mine = shares.get(keyHash) ?? remember(shares, keyHash, { left: most, at: now });
  refill(mine, limit, most, now);
  if (mine.left < 1) refuse('key', limit, 1);
  mine.left--;
}

/** Whom an address belongs to: itself, or of IPv6 the /64 that one subscriber has. */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const [left = [], right] = address.split('::').map((part) => part.split(':').filter((group) => group !== ''));
  const zeros = right ? Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0') : [];
  return [...left, ...zeros, ...(right ?? [])].slice(0, 4).join(':');
}

/**
 * Takes one of an address's trials, before what it may cost. With `free` it costs nothing until it is known to be good: only
 * what has failed counts, not what is under way, and all of the limit may be used at once. What turns out bad is counted for
 * the whole data center, by Cloudflare's rate limiter.
 * @throws ApiError rate_limited, with when to come again
 */
export function takeTrial(env: Bindings, address: string | undefined, free = false, now = Date.now()): Report {
  if (address === undefined || !env.ADDRESS_LIMIT) return () => undefined;
  const limiter = env.ADDRESS_LIMIT;
  const { requests, seconds } = addressLimit;
  const network = networkOf(address);
  const name = free ? `free ${network}` : network;
  const most = free ? requests : (requests / seconds) * burstSeconds;
  const mine = trials.get(name) ?? remember(trials, name, { left: most, at: now, underway: new Set() });
  refill(mine, addressLimit, most, now);
  for (const each of mine.underway) if (each.since <= now - longestTrialMs) mine.underway.delete(each);
  const failed = most - mine.left;
  if (mine.left < 1 || failed + (free ? 0 : mine.underway.size) >= requests) {
    refuse('address', addressLimit, Math.max(1, Math.ceil(((1 - mine.left) * seconds) / requests)));
  }
  const trial = { since: now };
  if (!free) mine.underway.add(trial);
  return (outcome) => {
    mine.underway.delete(trial);
    if (outcome !== 'bad') return undefined;
    mine.left--;
    return limiter.limit({ key: network }).then(
      ({ success }) => {
        if (!success) mine.left = Math.min(mine.left, 1 - requests);
      },
      () => undefined, // the isolate's own count stands
    );
  };
}

/**
 * Counts a request against its key's limit, and against its address's limit while the key is not known to be good, before
 * the database is asked. A key that the database has just rejected is rejected here for 10 s. The caller reports the outcome.
 * @returns whether the key is known to be good
 * @throws ApiError rate_limited, with when to come again; unauthenticated
 */
export async function limitKey(
  env: Bindings,
  keyHash: string,
  address: string | undefined,
): Promise<{ isKnown: boolean; report: Report }> {
  const now = Date.now();
  if ((bad.get(keyHash) ?? 0) > now) throw new ApiError('unauthenticated');
  const isKnown = (good.get(keyHash) ?? 0) > now;
  const limit = { ...keyLimit, requests: settingsOf(env).KEY_LIMIT_REQUESTS };
  takeShare(keyHash, limit, now);
  const reportTrial = isKnown ? undefined : takeTrial(env, address);
  if (env.KEY_LIMIT && !(await env.KEY_LIMIT.limit({ key: keyHash })).success) {
    reportTrial?.('open');
    refuse('key', limit);
  }
  const report: Report = (outcome) => {
    if (outcome === 'bad') remember(bad, keyHash, now + badForMs);
    if (outcome === 'bad') good.delete(keyHash);
    if (outcome === 'good' && !isKnown) remember(good, keyHash, now + goodForMs);
    return reportTrial?.(outcome);
  };
  return { isKnown, report };
}
