import { ApiError } from '../base/errors.ts';
import { type Bindings, settingsOf } from '../env.ts';

/** Requests of a key per period, in one data center. The same numbers as in wrangler.toml. */
export const keyLimit = { requests: 20_000, seconds: 10 };
/**
 * Requests of one cart or one customer's session per period, in one isolate. A page of a shop loads dozens of things at
 * once. All requests that an address sends with publishable keys and sessions are limited by `keyLimit` too.
 */
const shopperLimit = { requests: 1_000, seconds: 10 };
/**
 * Rejected requests of an address per period: invalid keys, keys that were not seen before, forged webhooks, and
 * `/readyz`. Keys that the database accepted do not count, so a server that uses the keys of many tenants is limited
 * only by each key's limit.
 */
export const addressLimit = { requests: 100, seconds: 10 };

type Limit = typeof keyLimit;

/**
 * Cloudflare's limiter counts a whole period, so a key could send all of its requests at once and delay everybody else.
 * Each isolate therefore spreads them evenly (a token bucket) and lets at most half a second's worth through at once.
 * The rejected requests of an address are spread in the same way.
 */
const burstSeconds = 0.5;

/** Reports how a request ended. The caller does not wait for the promise, and only keeps it alive. */
export type Report = (outcome: Outcome) => Promise<void> | undefined;

/** Whether the key or signature of a request was accepted (`good`) or rejected (`bad`), or was never decided. */
export type Outcome = 'good' | 'bad' | 'undecided';

const rejectedForMs = 10_000;
const acceptedForMs = 600_000;
/** A trial stops counting after this long: its client has gone, or the database did not respond in time. */
const maxTrialMs = 10_000;
const maxEntries = 20_000;
/** A token bucket: how many requests are left, and when that was computed. */
type Bucket = { left: number; at: number };
// The memory of this isolate, by key hash or network.
/** Until when each accepted key counts as known. */
const acceptedUntil = new Map<string, number>();
/** Until when each rejected key is rejected here, without a database call. */
const rejectedUntil = new Map<string, number>();
/** Apart for each kind, so that invented Cart-Tokens push out no bucket of a key or address. */
const buckets = {
  key: new Map<string, Bucket>(),
  address: new Map<string, Bucket>(),
  shopper: new Map<string, Bucket>(),
};
const trials = new Map<string, Bucket & { inProgress: Set<{ since: number }> }>();

function remember<T>(memory: Map<string, T>, name: string, value: T): T {
  if (memory.size >= maxEntries) memory.clear();
  memory.set(name, value);
  return value;
}

function reject(name: string, { requests, seconds }: Limit, wait = seconds): never {
  throw new ApiError('rate_limited', undefined, {
    headers: {
      'Retry-After': String(wait),
      RateLimit: `"${name}";r=0;t=${wait}`,
      'RateLimit-Policy': `"${name}";q=${requests};w=${seconds}`,
    },
  });
}

/** Adds to a bucket the requests that its limit allows for the time that has passed, up to `capacity`. */
function refill(bucket: Bucket, { requests, seconds }: Limit, capacity: number, now: number): void {
  bucket.left = Math.min(capacity, bucket.left + ((now - bucket.at) / 1000) * (requests / seconds));
  bucket.at = now;
}

/** Takes one request from a bucket. `kind`: whose it is. @throws ApiError rate_limited, with `Retry-After: 1` */
export function takeRequest(name: string, limit: Limit, now: number, kind: keyof typeof buckets = 'key'): void {
  const capacity = Math.max(1, (limit.requests / limit.seconds) * burstSeconds);
  const bucket = buckets[kind].get(name) ?? remember(buckets[kind], name, { left: capacity, at: now });
  refill(bucket, limit, capacity, now);
  if (bucket.left < 1) reject(kind, limit, 1);
  bucket.left--;
}

/** The network that one subscriber has: an IPv4 address itself, or the /64 of an IPv6 address. */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const [left = [], right] = address.split('::').map((part) => part.split(':').filter((group) => group !== ''));
  const zeros = right ? Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0') : [];
  return [...left, ...zeros, ...(right ?? [])].slice(0, 4).join(':');
}

/**
 * Starts a trial of an address: a request that may turn out to be rejected. Trials that are under way count too, unless
 * checking costs nothing (`free`): then only rejected ones count, and the whole limit may be used at once. Cloudflare's
 * rate limiter counts rejected requests for the whole data center.
 * @throws ApiError rate_limited, with `Retry-After`
 */
export function takeTrial(env: Bindings, address: string | undefined, free = false, now = Date.now()): Report {
  if (address === undefined || !env.ADDRESS_LIMIT) return () => undefined;
  const limiter = env.ADDRESS_LIMIT;
  const { requests, seconds } = addressLimit;
  const network = networkOf(address);
  const name = free ? `free ${network}` : network;
  const capacity = free ? requests : (requests / seconds) * burstSeconds;
  const bucket = trials.get(name) ?? remember(trials, name, { left: capacity, at: now, inProgress: new Set() });
  refill(bucket, addressLimit, capacity, now);
  for (const each of bucket.inProgress) if (each.since <= now - maxTrialMs) bucket.inProgress.delete(each);
  const rejected = capacity - bucket.left;
  if (bucket.left < 1 || rejected + (free ? 0 : bucket.inProgress.size) >= requests) {
    reject('address', addressLimit, Math.max(1, Math.ceil(((1 - bucket.left) * seconds) / requests)));
  }
  const trial = { since: now };
  if (!free) bucket.inProgress.add(trial);
  return (outcome) => {
    bucket.inProgress.delete(trial);
    if (outcome !== 'bad') return undefined;
    bucket.left--;
    return limiter.limit({ key: network }).then(
      ({ success }) => {
        if (!success) bucket.left = Math.min(bucket.left, 1 - requests);
      },
      () => undefined, // Cloudflare's limiter failed: the isolate's own count remains
    );
  };
}

/** Who sends a request, as far as its limits are concerned. */
export type Sender = {
  keyHash: string;
  address: string | undefined;
  /** The request comes from a browser: all shoppers of a shop use one publishable key, so the key is not counted. */
  isBrowser: boolean;
  /** The hash of the cart's token or of the session, if there is one. */
  shopper: string | undefined;
};

/**
 * Counts a request against the limit of its key, or of its address and its cart or session if it comes from a browser.
 * While the key is not known it counts as a trial of its address too, before the database is called. A key that the
 * database has just rejected is rejected here for 10 s. The caller reports the outcome.
 * @returns `isKnown`: the database accepted the key in the last 10 minutes
 * @throws ApiError rate_limited, with `Retry-After`; unauthenticated
 */
export async function limitKey(
  env: Bindings,
  { keyHash, address, isBrowser, shopper }: Sender,
): Promise<{ isKnown: boolean; report: Report }> {
  const ofAddress = isBrowser && address !== undefined;
  const counted = ofAddress ? networkOf(address) : keyHash;
  const kind = ofAddress ? 'address' : 'key';
  const now = Date.now();
  if ((rejectedUntil.get(keyHash) ?? 0) > now) throw new ApiError('unauthenticated');
  const isKnown = (acceptedUntil.get(keyHash) ?? 0) > now;
  const limit = { ...keyLimit, requests: settingsOf(env).KEY_LIMIT_REQUESTS };
  takeRequest(counted, limit, now, kind);
  if (shopper !== undefined) {
    const requests = Math.min(shopperLimit.requests, limit.requests);
    takeRequest(shopper, { ...shopperLimit, requests }, now, 'shopper');
  }
  const reportTrial = isKnown ? undefined : takeTrial(env, address);
  if (env.KEY_LIMIT && !(await env.KEY_LIMIT.limit({ key: counted })).success) {
    reportTrial?.('undecided');
    reject(kind, limit);
  }
  const report: Report = (outcome) => {
    if (outcome === 'bad') remember(rejectedUntil, keyHash, now + rejectedForMs);
    if (outcome === 'bad') acceptedUntil.delete(keyHash);
    if (outcome === 'good' && !isKnown) remember(acceptedUntil, keyHash, now + acceptedForMs);
    return reportTrial?.(outcome);
  };
  return { isKnown, report };
}
