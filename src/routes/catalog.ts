import { Hono } from 'hono';
import * as z from 'zod';
import { currency, exact, id, page, sku } from '../base/fields.ts';
import {
  createProduct,
  listProducts,
  newProduct,
  product,
  productChange,
  readProduct,
  readProductBySku,
  updateProduct,
  type Versioned,
} from '../domain/catalog.ts';
import { importProducts, importReport } from '../domain/imports/imports.ts';
import type { AppEnv, Http } from '../http/app-env.ts';
import {
  cacheProduct,
  invalidateProducts,
  knownReader,
  readCachedProduct,
  rememberReader,
} from '../http/edge-cache.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { byId, positionOf, showPage } from '../http/paging.ts';
import { showResult } from '../http/result.ts';
import { listOf, sampleProduct } from './examples.ts';

const params = z.object({ id });

/** Shows a product from the edge cache, or reads it from the database and caches it. */
async function showFromEdge(
  c: Http,
  by: 'id' | 'sku',
  name: string,
  read: () => Promise<Versioned>,
): Promise<Response> {
  const { context, reader } = c.var;
  const now = context.now();
  const tenant = knownReader(reader, now);
  const cached = tenant === undefined ? undefined : await readCachedProduct(tenant, by, name, now);
  if (tenant !== undefined && cached !== undefined) {
    c.set('tenant', tenant);
    c.header('Cache-Status', 'fusioncommerce; hit');
    return showResource(c, JSON.parse(cached.body), { version: cached.version });
  }
  const { product: found, version, tenant: owner } = await read();
  rememberReader(reader, owner, now);
  const fresh = { body: JSON.stringify(found), version, readAt: now.getTime() };
  c.executionCtx.waitUntil(cacheProduct(owner, found, fresh));
  c.header('Cache-Status', 'fusioncommerce; fwd=miss');
  return showResource(c, found, { version });
}

/** Products: `/v1/products`. */
export const catalog = new Hono<AppEnv>();

catalog.post(
  '/',
  operation({
    id: 'createProduct',
    tag: 'Catalog',
    summary: "Add a product and its SKU's opening stock",
    scope: 'catalog:write',
    idempotency: 'taken',
    body: newProduct,
    example: { sku: 'TEE-BLACK-M', name: 'Black T-shirt, M', price: 29.99, currency: 'USD', inventory: 100 },
    responses: { 201: { description: 'Added', schema: product, example: sampleProduct } },
    errors: ['sku_taken'],
  }),
  async (c) => {
    const { product: added, version, replayed } = await createProduct(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/products/${added.id}`);
    return showResource(c, added, { status: 201, version, replayed });
  },
);

catalog.get(
  '/',
  operation({
    id: 'listProducts',
    tag: 'Catalog',
    summary: 'List or search products for sale, newest first',
    scope: 'catalog:read',
    query: z.object({
      ...page,
      q: exact(200).optional().meta({ description: 'Words of name and description, or a part of name or SKU' }),
      currency: currency.optional(),
    }),
    responses: { 200: { description: 'A page', schema: listOf(product) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    const rows = await listProducts(c.var.context, filter, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

catalog.get(
  '/by-sku/:sku',
  operation({
    id: 'getProductBySku',
    tag: 'Catalog',
    summary: 'Read a product by its SKU',
    description: 'Kept at the edge for 30 s at most; fresh at once where it was changed.',
    scope: 'catalog:read',
    params: z.object({ sku }),
    responses: { 200: { description: 'The product', schema: product, example: sampleProduct } },
    errors: ['not_found'],
  }),
  (c) => {
    const { sku: name } = c.req.valid('param');
    return showFromEdge(c, 'sku', name, () => readProductBySku(c.var.context, name));
  },
);

catalog.get(
  '/:id',
  operation({
    id: 'getProduct',
    tag: 'Catalog',
    summary: 'Read a product',
    description: 'Kept at the edge for 30 s at most; fresh at once where it was changed.',
    scope: 'catalog:read',
    params,
    responses: { 200: { description: 'The product', schema: product, example: sampleProduct } },
    errors: ['not_found'],
  }),
  (c) => {
    const { id: productId } = c.req.valid('param');
    return showFromEdge(c, 'id', productId, () => readProduct(c.var.context, productId));
  },
);

catalog.delete(
  '/:id',
  operation({
    id: 'archiveProduct',
    tag: 'Catalog',
    summary: 'Archive a product',
    description: 'It can be read and can no longer be ordered. Its SKU stays taken.',
    scope: 'catalog:write',
    ifMatch: true,
    params,
    responses: { 204: { description: 'Archived' } },
    errors: ['not_found', 'version_mismatch'],
  }),
  async (c) => {
    const { id: productId } = c.req.valid('param');
    const versions = versionsIn(c.req.header('if-match'));
    const { product: archived, tenant } = await updateProduct(
      c.var.context,
      productId,
      { status: 'archived' },
      versions,
    );
    await invalidateProducts(tenant, [archived.sku]);
    return c.body(null, 204);
  },
);

catalog.patch(
  '/:id',
  operation({
    id: 'updateProduct',
    tag: 'Catalog',
    summary: 'Change a product',
    description: 'Its SKU stays; its stock is the inventory’s. `status` brings an archived product back.',
    scope: 'catalog:write',
    ifMatch: true,
    params,
    body: productChange,
    example: { price: 24.99, status: 'active' },
    responses: { 200: { description: 'Changed', schema: product, example: sampleProduct } },
    errors: ['not_found', 'version_mismatch'],
  }),
  async (c) => {
    const { id: productId } = c.req.valid('param');
    const versions = versionsIn(c.req.header('if-match'));
    const changed = await updateProduct(c.var.context, productId, c.req.valid('json'), versions);
    await invalidateProducts(changed.tenant, [changed.product.sku]);
    return showResource(c, changed.product, { version: changed.version });
  },
);

catalog.post(
  '/import',
  operation({
    id: 'importProducts',
    tag: 'Catalog',
    summary: 'Import products as a stream',
    description:
      'NDJSON (one product a line) or CSV (first line names the columns) of any length. A SKU that exists is updated, and ' +
      'what its line leaves out stays as it is. A bad line costs that line only; an `inventory` sets the count. If the ' +
      'import breaks off half-way, what was imported stays. Send it again within 24 hours: a count that it has set for a ' +
      'SKU is not set again, since units may have been sold. Nor is it if a later import has set another count. After an ' +
      'answer was lost, use the same Idempotency-Key.',
    scope: 'catalog:write',
    idempotency: 'taken',
    stream: ['application/x-ndjson', 'text/csv'],
    example: {
      'application/x-ndjson':
        '{"sku":"TEE-BLACK-M","name":"Black T-shirt, M","price":29.99,"currency":"USD","inventory":100}\n',
      'text/csv': 'sku,name,price,currency,inventory\nTEE-BLACK-M,"Black T-shirt, M",29.99,USD,100\n',
    },
    responses: { 200: { description: 'What became of the lines', schema: importReport } },
    errors: ['unsupported_media_type'],
  }),
  async (c) => {
    const { report, replayed } = await importProducts(c.var.context, c.req.raw, invalidateProducts);
    return showResult(c, report, { replayed });
  },
);
