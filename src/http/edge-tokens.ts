// Tokens tell whether a cached product is still current. They are entries of the cache, which all isolates of a data
// center share: each product has one, and each tenant has one. A read looks at both tokens before it asks the database,
// and its product is cached together with them. It is served only while both tokens are still there. A change deletes
// or replaces a token after its commit. So if a read began before the change, its product is never served, however late
// it is cached. No clocks are compared for this, and a token that the cache loses only costs another database read.

import type { QualifiedTenant } from '../base/cells.ts';

const origin = 'https://edge.fusioncommerce.internal';
export const urlOf = (...path: string[]): string => [origin, ...path.map(encodeURIComponent)].join('/');

// Our types do not declare `caches.default`: it needs the DOM's types.
export const cache = (): Cache => (caches as unknown as { default: Cache }).default;

/** The tokens of a product and of its tenant, as they were before the product was read. */
export type Tokens = { product: string; tenant: string };

export const areEqual = (one: Tokens, other: Partial<Tokens>): boolean =>
  one.product === other.product && one.tenant === other.tenant;

type Token = { value: string; since: number };

const lifeSeconds = 3_600;
const productUrl = (tenant: QualifiedTenant, sku: string): string => urlOf(tenant, 'token', sku);
const tenantUrl = (tenant: QualifiedTenant): string => urlOf(tenant, 'token');

async function readToken(url: string): Promise<Token | undefined> {
  const headers = (await cache().match(url))?.headers;
  return headers && { value: headers.get('x-token') ?? '', since: Number(headers.get('x-since')) };
}

/** Stores a new token. It counts only for reads of the database that begin after this has resolved. */
async function renewToken(url: string): Promise<Token> {
  const token = { value: crypto.randomUUID(), since: Date.now() };
  const headers = { 'x-token': token.value, 'x-since': String(token.since) };
  await cache().put(url, new Response(null, { headers: { ...headers, 'cache-control': `max-age=${lifeSeconds}` } }));
  return token;
}

/** The tokens of a product. A missing one is undefined. */
export async function readTokens(tenant: QualifiedTenant, sku: string): Promise<Partial<Tokens>> {
  const [product, tenantToken] = await Promise.all([readToken(productUrl(tenant, sku)), readTenantToken(tenant)]);
  return { ...(product && { product: product.value }), ...(tenantToken && { tenant: tenantToken }) };
}

/**
 * Adds the missing tokens. Undefined if the cache does not take them: what is read then cannot be cached. `areNew`: one
 * was missing.
 */
export async function completeTokens(
  tenant: QualifiedTenant,
  sku: string,
  { product, tenant: tenantToken }: Partial<Tokens>,
): Promise<(Tokens & { areNew: boolean }) | undefined> {
  const renew = async (url: string) => (await renewToken(url)).value;
  try {
    return {
      product: product ?? (await renew(productUrl(tenant, sku))),
      tenant: tenantToken ?? (await renew(tenantUrl(tenant))),
      areNew: product === undefined || tenantToken === undefined,
    };
  } catch {
    return undefined;
  }
}

// A lookup is the largest part of a hit's cost. Only large changes replace a tenant's token, so an isolate remembers it
// for a moment if the tenant has had none recently. The first large change does not resolve before every isolate has
// looked again. From then on, all isolates find a new token, and look at it for each read.

/** How long an isolate may use a tenant's token without looking again. */
const watchMs = 500;
/** A token must be this old to be remembered. */
const quietMs = 10_000;
/**
 * A large change need not wait if this isolate has made another one at most this long ago. It is shorter than `quietMs`
 * because clocks differ and storing a token takes time.
 */
const recentMs = 5_000;
/** `Date.now()` stands still while a Worker computes, so an isolate may remember a token a little longer. */
const marginMs = 500;

const maxTenants = 10_000;
const watched = new Map<string, Token & { lookedAt: number }>();

function remember<T>(memory: Map<string, T>, tenant: QualifiedTenant, value: T): void {
  if (memory.size >= maxTenants) memory.clear();
  memory.set(tenant, value);
}

/** Whether this isolate knows the tenant's token without a lookup. */
export function knowsTenantToken(tenant: QualifiedTenant): boolean {
  const token = watched.get(tenant);
  const now = Date.now();
  return token !== undefined && now - token.lookedAt < watchMs && now - token.since >= quietMs;
}

async function readTenantToken(tenant: QualifiedTenant): Promise<string | undefined> {
  if (knowsTenantToken(tenant)) return watched.get(tenant)?.value;
  const lookedAt = Date.now();
  const token = await readToken(tenantUrl(tenant));
  if (token) remember(watched, tenant, { ...token, lookedAt });
  return token?.value;
}

/** A change of at most this many products deletes the token of each. A larger one replaces the tenant's token. */
const maxDeletes = 5;
/** The first large change deletes the token of each of up to this many products instead of waiting. */
const maxFirstDeletes = 40;
/** Tenants with large changes by this isolate. From `from` to `until`, no isolate remembers the tenant's token. */
const largeChanges = new Map<string, { from: number; until: number }>();

const deleteProductTokens = (tenant: QualifiedTenant, skus: string[]) =>
  Promise.allSettled(skus.map((sku) => cache().delete(productUrl(tenant, sku))));

/**
 * Invalidates changed products: each of them or, if they are many, all products of their tenant. After it has resolved,
 * no read that begins in this data center gets an older state. Never throws.
 */
export async function invalidateTokens(tenant: QualifiedTenant, skus: string[]): Promise<void> {
  if (skus.length <= maxDeletes) {
    await deleteProductTokens(tenant, skus);
    return;
  }
  const last = largeChanges.get(tenant);
  const follows = last !== undefined && Date.now() < last.until;
  const isWatched = follows && Date.now() >= last.from;
  const renewed = await renewToken(tenantUrl(tenant)).catch(() => undefined);
  const from = follows ? last.from : Date.now() + watchMs + marginMs;
  if (renewed) remember(largeChanges, tenant, { from, until: renewed.since + recentMs });
  if (isWatched && renewed) return;
  if (skus.length <= maxFirstDeletes) await deleteProductTokens(tenant, skus);
  else if (renewed) await new Promise((resolve) => setTimeout(resolve, from - Date.now()));
}
