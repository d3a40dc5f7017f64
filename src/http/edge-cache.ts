// Caches single products in the data center that reads them, with Cloudflare's Cache API. A cached read is not served
// if it began before the product's last change in this data center, even if it was cached after that change.

/** A cached read is served for at most this long. */
const maxAgeMs = 30_000;
/** How far the clocks of a data center's machines may differ. */
const skewMs = 100;
/** If more products change at once, one mark invalidates the whole tenant, because the response waits for each mark. */
const maxMarks = 5;

const origin = 'https://edge.fusioncommerce.internal';
const urlOf = (tenant: string, ...path: string[]) => [origin, ...[tenant, ...path].map(encodeURIComponent)].join('/');

// Our types do not declare `caches.default`: it needs the DOM's types.
const cache = (): Cache => (caches as unknown as { default: Cache }).default;

const put = (url: string, body: string, maxAge: number, headers: Record<string, string> = {}) =>
  cache().put(url, new Response(body, { headers: { ...headers, 'cache-control': `max-age=${maxAge}` } }));

/** `readAt`: when the read began, in milliseconds. */
export type CachedProduct = { body: string; version: number; readAt: number };

const maxReaders = 10_000;
/** Clients that the database recently allowed to read the catalog. A cached read for them needs no database call. */
const readers = new Map<string, { tenant: string; until: number }>();

/** The tenant of a key that read the catalog through this isolate in the last 30 s. */
export function knownReader(reader: string, now: Date): string | undefined {
  const known = readers.get(reader);
  return known !== undefined && known.until > now.getTime() ? known.tenant : undefined;
}

export function rememberReader(reader: string, tenant: string, now: Date): void {
  if (readers.size >= maxReaders) readers.clear();
  readers.set(reader, { tenant, until: now.getTime() + maxAgeMs });
}

const lastChangeAt = async (url: string) =>
  Number((await (await cache().match(url))?.text()) ?? Number.NEGATIVE_INFINITY);

/**
 * Finds a product that was read less than 30 s ago and has not changed here since. An id is resolved to a SKU first.
 */
export async function readCachedProduct(
  tenant: string,
  by: 'sku' | 'id',
  name: string,
  now: Date,
): Promise<CachedProduct | undefined> {
  const sku = by === 'sku' ? name : await (await cache().match(urlOf(tenant, 'id', name)))?.text();
  if (sku === undefined) return undefined;
  const [cached, ...changes] = await Promise.all([
    cache().match(urlOf(tenant, 'sku', sku)),
    lastChangeAt(urlOf(tenant, 'changed')),
    lastChangeAt(urlOf(tenant, 'changed', sku)),
  ]);
  if (cached === undefined) return undefined;
  const body = await cached.text();
  const readAt = Number(cached.headers.get('x-read-at'));
  if (now.getTime() - readAt >= maxAgeMs || readAt <= Math.max(...changes) + skewMs) return undefined;
  return { body, version: Number(cached.headers.get('x-version')), readAt };
}

/** Caches a product for the rest of the 30 s that began with its read. */
export async function cacheProduct(
  tenant: string,
  product: { id: string; sku: string },
  read: CachedProduct,
): Promise<void> {
  const secondsLeft = Math.floor((read.readAt + maxAgeMs - Date.now()) / 1000);
  if (secondsLeft <= 0) return;
  const headers = { 'x-version': String(read.version), 'x-read-at': String(read.readAt) };
  await Promise.all([
    put(urlOf(tenant, 'sku', product.sku), read.body, secondsLeft, headers),
    put(urlOf(tenant, 'id', product.id), product.sku, maxAgeMs / 1000),
  ]);
}

/**
 * Marks products whose catalog entry or stock has changed, so that their next read in this data center is fresh. Call
 * it after the commit. Never throws: the change is already made, and a cached read expires after 30 s anyway.
 */
export async function invalidateProducts(tenant: string, skus: string[]): Promise<void> {
  const changed = [...new Set(skus)];
  const urls =
    changed.length > maxMarks ? [urlOf(tenant, 'changed')] : changed.map((sku) => urlOf(tenant, 'changed', sku));
  await Promise.allSettled(urls.map((url) => put(url, String(Date.now()), maxAgeMs / 1000 + 1)));
}
