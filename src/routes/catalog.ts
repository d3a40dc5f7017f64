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
import {
  cacheProduct,
  invalidateProducts,
  knownReader,
  readCachedProduct,
  rememberReader,
} from '../http/edge-cache.ts';
import { versionsIn } from '../http/etag.ts';
import { byId, pageOf, positionOf } from '../http/paging.ts';
import { type Answer, type Http, route } from '../http/route.ts';
import { listOf, sampleProduct } from './examples.ts';

const params = z.object({ id });

/** A product from the edge if it is kept there, else from the database, and then kept. */
async function fromEdge(http: Http, by: 'id' | 'sku', name: string, read: () => Promise<Versioned>): Promise<Answer> {
  const { context, reader } = http.var;
  const now = context.now();
  const known = knownReader(reader, now);
  const kept = known === undefined ? undefined : await readCachedProduct(known, by, name, now);
  if (known !== undefined && kept !== undefined) {
    const headers = { 'Cache-Status': 'fusioncommerce; hit' };
    return { status: 200, body: JSON.parse(kept.body), version: kept.version, resource: true, tenant: known, headers };
  }
  const { product: found, version, tenant } = await read();
  rememberReader(reader, tenant, now);
  const fresh = { body: JSON.stringify(found), version, readAt: now.getTime() };
  http.executionCtx.waitUntil(cacheProduct(tenant, found, fresh));
  const headers = { 'Cache-Status': 'fusioncommerce; fwd=miss' };
  return { status: 200, body: found, version, resource: true, tenant, headers };
}

export const catalogRoutes = [
  route({
    id: 'createProduct',
    method: 'post',
    path: '/v1/products',
    tag: 'Catalog',
    summary: "Add a product and its SKU's opening stock",
    scope: 'catalog:write',
    idempotency: 'taken',
    body: newProduct,
    example: { sku: 'TEE-BLACK-M', name: 'Black T-shirt, M', price: 29.99, currency: 'USD', inventory: 100 },
    answers: { 201: { description: 'Added', schema: product, example: sampleProduct } },
    errors: ['sku_taken'],
    async run({ body, context }) {
      const { product: added, version, tenant, replayed } = await createProduct(context, body);
      const headers = { Location: `/v1/products/${added.id}` };
      return { status: 201, body: added, version, resource: true, tenant, replayed, headers };
    },
  }),
  route({
    id: 'listProducts',
    method: 'get',
    path: '/v1/products',
    tag: 'Catalog',
    summary: 'List or search products for sale, newest first',
    scope: 'catalog:read',
    query: z.object({
      ...page,
      q: exact(200).optional().meta({ description: 'Words of name and description, or a part of name or SKU' }),
      currency: currency.optional(),
    }),
    answers: { 200: { description: 'A page', schema: listOf(product) } },
    errors: ['invalid_cursor'],
    async run({ query: { limit, cursor, ...filter }, context, http }) {
      const rows = await listProducts(context, filter, positionOf(http, cursor, byId), limit + 1);
      return pageOf(http, rows, limit, (row) => row.id);
    },
  }),
  route({
    id: 'getProductBySku',
    method: 'get',
    path: '/v1/products/by-sku/{sku}',
    tag: 'Catalog',
    summary: 'Read a product by its SKU',
    description: 'Kept at the edge for 30 s at most; fresh at once where it was changed.',
    scope: 'catalog:read',
    params: z.object({ sku }),
    answers: { 200: { description: 'The product', schema: product, example: sampleProduct } },
    errors: ['not_found'],
    run: ({ params: { sku: of }, context, http }) => fromEdge(http, 'sku', of, () => readProductBySku(context, of)),
  }),
  route({
    id: 'getProduct',
    method: 'get',
    path: '/v1/products/{id}',
    tag: 'Catalog',
    summary: 'Read a product',
    description: 'Kept at the edge for 30 s at most; fresh at once where it was changed.',
    scope: 'catalog:read',
    params,
    answers: { 200: { description: 'The product', schema: product, example: sampleProduct } },
    errors: ['not_found'],
    run: ({ params: { id: of }, context, http }) => fromEdge(http, 'id', of, () => readProduct(context, of)),
  }),
  route({
    id: 'archiveProduct',
    method: 'delete',
    path: '/v1/products/{id}',
    tag: 'Catalog',
    summary: 'Archive a product',
    description: 'It can be read and can no longer be ordered. Its SKU stays taken.',
    scope: 'catalog:write',
    ifMatch: true,
    params,
    answers: { 204: { description: 'Archived' } },
    errors: ['not_found', 'version_mismatch'],
    async run({ params: { id: of }, context, http }) {
      const { product: archived, tenant } = await updateProduct(context, of, { status: 'archived' }, versionsIn(http));
      await invalidateProducts(tenant, [archived.sku]);
      return { status: 204, tenant };
    },
  }),
  route({
    id: 'updateProduct',
    method: 'patch',
    path: '/v1/products/{id}',
    tag: 'Catalog',
    summary: 'Change a product',
    description: 'Its SKU stays; its stock is the inventory’s. `status` brings an archived product back.',
    scope: 'catalog:write',
    ifMatch: true,
    params,
    body: productChange,
    example: { price: 24.99, status: 'active' },
    answers: { 200: { description: 'Changed', schema: product, example: sampleProduct } },
    errors: ['not_found', 'version_mismatch'],
    async run({ params: { id: of }, body, context, http }) {
      const { product: changed, version, tenant } = await updateProduct(context, of, body, versionsIn(http));
      await invalidateProducts(tenant, [changed.sku]);
      return { status: 200, body: changed, version, resource: true, tenant };
    },
  }),
  route({
    id: 'importProducts',
    method: 'post',
    path: '/v1/products/import',
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
    answers: { 200: { description: 'What became of the lines', schema: importReport } },
    errors: ['unsupported_media_type'],
    async run({ context, http }) {
      const { report, tenant, replayed } = await importProducts(context, http.req.raw, (of, skus) =>
        invalidateProducts(of, skus),
      );
      return { status: 200, body: report, tenant, replayed };
    },
  }),
];
