/** Reads of one product, kept in the data center where they were asked for. Nothing in it outlives `maxAge`. */
const maxAge = 30;
// A reader that asked the database before a change may come back after it: what it read is not kept for that long.
const settling = 2;

const origin = 'https://edge.fusioncommerce.internal';
const urlOf = (tenant: string, kind: 'sku' | 'id', name: string) =>
  `${origin}/${encodeURIComponent(tenant)}/${kind}/${encodeURIComponent(name)}`;

// The types know no `default` when the DOM's are not loaded, and a Node test has no caches at all.
const cache = (): Cache => (caches as unknown as { default: Cache }).default;

export type Kept = { body: string; version: number };

const keyLifetimeMs = 30_000;
const mostKeys = 10_000;
/** Keys that the database has just let read the catalog, by hash: an answer from the edge needs no call at all. */
const readers = new Map<string, { tenant: string; until: number }>();

/** The tenant of a key that was seen to read the catalog in the last 30 s, by this isolate. */
export function knownReader(keyHash: string, now: Date): string | undefined {
  const known = readers.get(keyHash);
  return known !== undefined && known.until > now.getTime() ? known.tenant : undefined;
}

export function rememberReader(keyHash: string, tenant: string, now: Date): void {
  if (readers.size >= mostKeys) readers.clear();
  readers.set(keyHash, { tenant, until: now.getTime() + keyLifetimeMs });
}

/** A product as it was kept less than 30 s ago. By id it takes two look-ups: the id's SKU, then the product. */
export async function recallProduct(tenant: string, by: 'sku' | 'id', name: string): Promise<Kept | undefined> {
  let sku = name;
  if (by === 'id') {
    const pointer = await cache().match(urlOf(tenant, 'id', name));
    if (!pointer) return undefined;
    sku = await pointer.text();
  }
  const kept = await cache().match(urlOf(tenant, 'sku', sku));
  const version = kept?.headers.get('x-version');
  if (!kept || !version) return undefined;
  return { body: await kept.text(), version: Number(version) };
}

/** Keeps what was read, unless the product has just been changed here. */
export async function keepProduct(tenant: string, product: { id: string; sku: string }, kept: Kept): Promise<void> {
  const url = urlOf(tenant, 'sku', product.sku);
  if (await cache().match(url)) return;
  const headers = { 'cache-control': `max-age=${maxAge}`, 'content-type': 'application/json' };
  await Promise.all([
    cache().put(url, new Response(kept.body, { headers: { ...headers, 'x-version': String(kept.version) } })),
    cache().put(urlOf(tenant, 'id', product.id), new Response(product.sku, { headers })),
  ]);
}

/** Forgets products whose catalog entry or stock was changed here: the next read is fresh. */
export async function forgetStock(tenant: string, skus: string[]): Promise<void> {
  const headers = { 'cache-control': `max-age=${settling}` };
  await Promise.all(
    [...new Set(skus)].map((sku) => cache().put(urlOf(tenant, 'sku', sku), new Response('changed', { headers }))),
  );
}
