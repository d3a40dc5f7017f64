import { qualifyTenant, tenantIdOf } from '../base/cells.ts';
import type { HttpContext } from './app-env.ts';
import { cacheProduct, knownReader, type Lookup, lookUpProduct, rememberReader, rememberSku } from './edge-cache.ts';
import { represent, showRepresentation } from './etag.ts';

/** A resource that was read from the database. `sku`: its name in the edge cache. `id`: if it can be read by that too. */
type Found = { resource: unknown; sku: string; tenant: string; version?: number; id?: string };

/**
 * Shows a product, or the storefront, from the edge cache, or reads it from the database and caches it. Only for what
 * every key with catalog:read may see.
 */
export async function showFromEdge(
  c: HttpContext,
  by: 'id' | 'sku',
  name: string,
  read: () => Promise<Found>,
): Promise<Response> {
  const [context, reader] = [c.get('context'), c.get('reader')];
  const now = context.now();
  const known = knownReader(reader, now);
  const { cached, tokens }: Lookup = known ? await lookUpProduct(known.tenant, by, name, now) : {};
  if (known?.isAllowed && cached) {
    c.set('tenant', tenantIdOf(known.tenant));
    c.header('Cache-Status', 'fusioncommerce; hit');
    return showRepresentation(c, cached);
  }
  const found = await read();
  const tenant = qualifyTenant(found.tenant, context.db.cell);
  rememberReader(reader, tenant, now);
  if (found.id !== undefined) rememberSku(tenant, { id: found.id, sku: found.sku });
  const shown = await represent(found.resource, found.version);
  if (tokens && known?.tenant === tenant)
    c.executionCtx.waitUntil(cacheProduct(tenant, found.sku, { ...shown, readAt: now.getTime(), tokens }));
  c.header('Cache-Status', 'fusioncommerce; fwd=miss');
  return showRepresentation(c, shown);
}
