/**
 * Caches reads of one product in the data center of the reader, with Cloudflare's Cache API. A read that began before the
 * product's last change here is never served, whatever the order of the two writes. No read is served after 30 s.
 */
const maxAgeMs = 30_000;
/** By how much the clocks of a data center's machines may differ. */
const skewMs = 100;
/** A change of more products than this is one mark for the whole tenant: the response waits for each mark. */
const mostMarks = 5;

const origin = 'https://edge.fusioncommerce.internal';
const urlOf = (tenant: string, ...path: string[]) => [origin, ...[tenant, ...path].map(encodeURIComponent)].join('/');

// The types have no `default` without the DOM's types.
const cache = (): Cache => (caches as unknown as { default: Cache }).default;

const put = (url: string, body: string, maxAge: number, headers: Record<string, string> = {}) =>
  cache().put(url, new Response(body, { headers: { ...headers, 'cache-control': `max-age=${maxAge}` } }));

/** `readAt`: when the read began, in milliseconds. */
export type CachedProduct = { body: string; version: number; readAt: number };

const mostKeys = 10_000;
/** Keys that the database let read the catalog lately, by hash and page origin: a cached read needs no database call. */
const readers = new Map<string, { tenant: string; until: number }>();

/** The tenant of a key that read the catalog through this isolate in the last 30 s. */
export function knownReader(reader: string, now: Date): string | undefined {
  const known = readers.get(reader);
  return known !== undefined && known.until > now.getTime() ? known.tenant : undefined;
}

export function rememberReader(reader: string, tenant: string, now: Date): void {
  if (readers.size >= mostKeys) readers.clear();
  readers.set(reader, { tenant, until: now.getTime() + maxAgeMs });
}

const changeOf = async (url: string) => Number((await (await cache().match(url))?.text()) ?? Number.NEGATIVE_INFINITY);

/** A product that was read less than 30 s ago and has not changed here since. By id, its SKU is looked up first. */
export async function readCachedProduct(
  tenant: string,
  by: 'sku' | 'id',
  name: string,
  now: Date,
): Promise<CachedProduct | undefined> {
  const sku = by === 'sku' ? name : await (await cache().match(urlOf(tenant, 'id', name)))?.text();
  if (sku === undefined) return undefined;
  const [kept, ...changes] = await Promise.all([
    cache().match(urlOf(tenant, 'sku', sku)),
    changeOf(urlOf(tenant, 'changed')),
    changeOf(urlOf(tenant, 'changed', sku)),
  ]);
  if (kept === undefined) return undefined;
  const body = await kept.text();
  const readAt = Number(kept.headers.get('x-read-at'));
  if (now.getTime() - readAt >= maxAgeMs || readAt <= Math.max(...changes) + skewMs) return undefined;
  return { body, version: Number(kept.headers.get('x-version')), readAt };
}

/** Keeps what was read, for what is left of its 30 s. */
export async function cacheProduct(
  tenant: string,
  product: { id: string; sku: string },
  kept: CachedProduct,
): Promise<void> {
  const left = Math.floor((kept.readAt + maxAgeMs - Date.now()) / 1000);
  if (left <= 0) return;
  const about = { 'x-version': String(kept.version), 'x-read-at': String(kept.readAt) };
  await Promise.all([
    put(urlOf(tenant, 'sku', product.sku), kept.body, left, about),
    put(urlOf(tenant, 'id', product.id), product.sku, maxAgeMs / 1000),
  ]);
}

/**
 * Marks products whose catalog entry or stock was changed here, once that is committed: the next read is fresh. It does
 * not fail: what is done is done, and what was kept of it lasts no longer than its 30 s.
 */
export async function invalidateProducts(tenant: string, skus: string[]): Promise<void> {
  const changed = [...new Set(skus)];
  const urls =
    changed.length > mostMarks ? [urlOf(tenant, 'changed')] : changed.map((sku) => urlOf(tenant, 'changed', sku));
  await Promise.allSettled(urls.map((url) => put(url, String(Date.now()), maxAgeMs / 1000 + 1)));
}
