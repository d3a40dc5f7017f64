// Caches single products, and the storefront as if it were one, for 30 s in the data center that reads them, with
// Cloudflare's Cache API. Tokens tell whether a product has changed since it was read (edge-tokens.ts). A hit needs one
// lookup, of the product's token, if this isolate has served the product before and has looked at the tenant's token a
// moment ago. It never needs more than two: where it would, the product is read from the database.

import { type QualifiedTenant, qualifyTenant } from '../base/cells.ts';
import type { Database } from '../db/client.ts';
import {
  areEqual,
  cache,
  completeTokens,
  invalidateTokens,
  knowsTenantToken,
  readTokens,
  type Tokens,
  urlOf,
} from './edge-tokens.ts';
import type { Representation } from './etag.ts';

/** A cached read is served for at most this long. */
const maxAgeMs = 30_000;

/** `readAt`: when the read began, in milliseconds. `tokens`: the tokens that it found before. */
export type CachedProduct = Representation & { readAt: number; tokens: Tokens };

/** `cached`: a product that may be served. If there is none, a read that begins now can be cached with `tokens`. */
export type Lookup = { cached?: CachedProduct; tokens?: Awaited<ReturnType<typeof completeTokens>> };

/** The name of the tenant's storefront among the products. No SKU is as long. */
export const storefrontName = 'storefront'.padEnd(256, '-');

const maxEntries = 10_000;
/** The SKUs of the products that this isolate has read by id. A product's SKU never changes. */
const skus = new Map<string, string>();
const maxProducts = 1_000;
/** Products that this isolate has served. */
const products = new Map<string, CachedProduct>();
/** Clients that the database has allowed to read the catalog, and until when they need not be checked again. */
const readers = new Map<string, { tenant: QualifiedTenant; until: number }>();

const nameOf = (tenant: QualifiedTenant, name: string): string => `${tenant} ${name}`;
const productUrl = (tenant: QualifiedTenant, sku: string): string => urlOf(tenant, 'product', sku);

function remember<T>(memory: Map<string, T>, max: number, name: string, value: T): void {
  if (memory.size >= max) memory.clear();
  memory.set(name, value);
}

/** The tenant of a key that has read the catalog through this isolate. `isAllowed`: it did so in the last 30 s. */
export function knownReader(reader: string, now: Date): { tenant: QualifiedTenant; isAllowed: boolean } | undefined {
  const known = readers.get(reader);
  return known && { tenant: known.tenant, isAllowed: known.until > now.getTime() };
}

export function rememberReader(reader: string, tenant: QualifiedTenant, now: Date): void {
  remember(readers, maxEntries, reader, { tenant, until: now.getTime() + maxAgeMs });
}

async function readShared(tenant: QualifiedTenant, sku: string): Promise<CachedProduct | undefined> {
  const found = await cache().match(productUrl(tenant, sku));
  if (!found) return undefined;
  const header = (name: string): string => found.headers.get(name) ?? '';
  return {
    body: await found.text(),
    etag: header('x-etag'),
    readAt: Number(header('x-read-at')),
    tokens: { product: header('x-product-token'), tenant: header('x-tenant-token') },
  };
}

/**
 * Looks for a product that was read less than 30 s ago and has not changed since in this data center. The first read
 * by id in an isolate finds nothing, because the isolate does not know the product's SKU.
 */
export async function lookUpProduct(
  tenant: QualifiedTenant,
  by: 'sku' | 'id',
  name: string,
  now: Date,
): Promise<Lookup> {
  const sku = by === 'sku' ? name : skus.get(nameOf(tenant, name));
  if (sku === undefined) return {};
  const isYoung = ({ readAt }: CachedProduct): boolean => now.getTime() - readAt < maxAgeMs;
  const own = products.get(nameOf(tenant, sku));
  const held = own && isYoung(own) ? own : undefined;
  const isOneLookup = knowsTenantToken(tenant);
  const [tokens, shared] = await Promise.all([
    readTokens(tenant, sku),
    held === undefined && isOneLookup ? readShared(tenant, sku) : undefined,
  ]);
  const isCurrent = (found: CachedProduct | undefined): found is CachedProduct =>
    found !== undefined && isYoung(found) && areEqual(found.tokens, tokens);
  if (isCurrent(held)) return { cached: held };
  // Another isolate may have read the product since it changed.
  const newer = held !== undefined && isOneLookup ? await readShared(tenant, sku) : shared;
  if (isCurrent(newer)) {
    remember(products, maxProducts, nameOf(tenant, sku), newer);
    return { cached: newer };
  }
  return { tokens: await completeTokens(tenant, sku, tokens) };
}

/** Remembers the SKU of a product that was read, so that the next read of its id finds it in the cache. */
export function rememberSku(tenant: QualifiedTenant, { id, sku }: { id: string; sku: string }): void {
  remember(skus, maxEntries, nameOf(tenant, id), sku);
}

/**
 * Caches a product for the rest of the 30 s that began with its read. If its read has made a token, others may have
 * made one at the same time. Then only a read whose tokens are still there is cached. If there is none, because the two
 * tokens that stayed are of different reads, the next read is cached.
 */
export async function cacheProduct(
  tenant: QualifiedTenant,
  sku: string,
  read: CachedProduct & { tokens: { areNew: boolean } },
): Promise<void> {
  if (read.tokens.areNew && !areEqual(read.tokens, await readTokens(tenant, sku))) return;
  remember(products, maxProducts, nameOf(tenant, sku), read);
  const secondsLeft = Math.floor((read.readAt + maxAgeMs - Date.now()) / 1000);
  if (secondsLeft <= 0) return;
  const headers = {
    'x-etag': read.etag,
    'x-read-at': String(read.readAt),
    'x-product-token': read.tokens.product,
    'x-tenant-token': read.tokens.tenant,
    'cache-control': `max-age=${secondsLeft}`,
  };
  await cache().put(productUrl(tenant, sku), new Response(read.body, { headers }));
}

/**
 * Invalidates products whose catalog entry or stock has changed: once it resolves, their next read in this data center
 * is fresh. Call it after the commit. Never throws: the change is already made, and a cached read expires after 30 s
 * anyway.
 */
export const invalidateProducts = (
  { db }: { db: Pick<Database, 'cell'> },
  tenant: string,
  changed: string[],
): Promise<void> => invalidateTokens(qualifyTenant(tenant, db.cell), [...new Set(changed)]);

/** Invalidates what GET /v1/storefront shows, in the same way. */
export const invalidateStorefront = (context: { db: Pick<Database, 'cell'> }, tenant: string): Promise<void> =>
  invalidateProducts(context, tenant, [storefrontName]);
