import { Hono } from 'hono';
import * as z from 'zod';
import { ApiError } from '../base/errors.ts';
import { currency, id, sku } from '../base/fields.ts';
import {
  listProducts,
  productPageFields,
  productPositions,
  productQuery,
  toPosition,
} from '../domain/catalog/lists.ts';
import {
  createProduct,
  newProduct,
  product,
  productChange,
  readProduct,
  readProductBySku,
  updateProduct,
  type Versioned,
} from '../domain/catalog/products.ts';
import { exportFormat } from '../domain/exports/format.ts';
import { exportProducts } from '../domain/exports/products.ts';
import { importProducts, importReport } from '../domain/imports/imports.ts';
import type { AppEnv } from '../http/app-env.ts';
import { shopperOf } from '../http/credentials.ts';
import { showDownload } from '../http/download.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { showFromEdge } from '../http/edge-response.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { positionOf, showPart } from '../http/paging.ts';
import { showResult } from '../http/result.ts';
import { listOf, sampleProduct, sampleProductExport } from './examples.ts';

const params = z.object({ id });

const toFound = ({ product: resource, version, tenant }: Versioned) => ({
  ...{ resource, version, tenant },
  ...{ sku: resource.sku, id: resource.id },
});

/** Products: `/v1/products`. */
export const products = new Hono<AppEnv>();

products.post(
  '/',
  operation({
    id: 'createProduct',
    tag: 'Catalog',
    summary: 'Create a product with its opening stock',
    scope: 'catalog:write',
    idempotency: 'optional',
    body: newProduct,
    example: { sku: 'TEE-BLACK-M', name: 'Black T-shirt, M', price: 29.99, currency: 'USD', inventory: 100 },
    responses: { 201: { description: 'The product', schema: product, example: sampleProduct } },
    errors: ['sku_taken', 'slug_taken', 'variant_taken'],
  }),
  async (c) => {
    const { product: added, version, replayed } = await createProduct(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/products/${added.id}`);
    return showResource(c, added, { status: 201, version, replayed });
  },
);

products.get(
  '/',
  operation({
    id: 'listProducts',
    tag: 'Catalog',
    summary: 'List or search products',
    description:
      'Sorted in one of four orders, with filters, as products or as groups. A page may have fewer rows than `limit`, or ' +
      'none, and still a `nextCursor`: it reads 5,000 products at most to find those that match.',
    scope: 'catalog:read',
    query: productQuery,
    responses: {
      200: {
        description: 'One page',
        schema: listOf(product).extend(productPageFields),
        example: { data: [sampleProduct], nextCursor: null },
      },
    },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    if (filter.status !== 'active' && shopperOf(c.req.header('authorization')) !== undefined)
      throw new ApiError('forbidden', 'Publishable keys and sessions list active products only: use a secret key.');
    const after = positionOf(c, cursor, productPositions[filter.sort]);
    const { rows, next, facets } = await listProducts(c.var.context, filter, after, limit);
    return showPart(c, rows, next && toPosition(next), facets ? { facets } : {});
  },
);

products.get(
  '/export',
  operation({
    id: 'exportProducts',
    tag: 'Catalog',
    summary: 'Download all products as CSV or NDJSON, newest first',
    description:
      'Streamed: of any length, archived products included. An import takes the same file. If the connection breaks ' +
      'off, the file is not complete: download it again. It needs the scope `catalog:write`, because publishable keys ' +
      'have `catalog:read`.',
    scope: 'catalog:write',
    query: z.object({ format: exportFormat }),
    responses: { 200: { description: 'The file', ...sampleProductExport } },
    errors: [],
  }),
  async (c) => {
    const { origin } = new URL(c.req.url);
    return showDownload(c, await exportProducts(c.var.context, c.req.valid('query').format, origin));
  },
);

products.get(
  '/by-sku/:sku',
  operation({
    id: 'getProductBySku',
    tag: 'Catalog',
    summary: 'Read a product by its SKU',
    description: 'Cached at the edge for at most 30 s. A change is visible at once in the data center that made it.',
    scope: 'catalog:read',
    params: z.object({ sku }),
    responses: { 200: { description: 'The product', schema: product, example: sampleProduct } },
    errors: ['not_found'],
  }),
  (c) => {
    const { sku: name } = c.req.valid('param');
    return showFromEdge(c, 'sku', name, async () => toFound(await readProductBySku(c.var.context, name)));
  },
);

products.get(
  '/:id',
  operation({
    id: 'getProduct',
    tag: 'Catalog',
    summary: 'Read a product',
    description: 'Cached at the edge for at most 30 s. A change is visible at once in the data center that made it.',
    scope: 'catalog:read',
    params,
    responses: { 200: { description: 'The product', schema: product, example: sampleProduct } },
    errors: ['not_found'],
  }),
  (c) => {
    const { id: productId } = c.req.valid('param');
    return showFromEdge(c, 'id', productId, async () => toFound(await readProduct(c.var.context, productId)));
  },
);

products.delete(
  '/:id',
  operation({
    id: 'archiveProduct',
    tag: 'Catalog',
    summary: 'Archive a product',
    description: 'The product can still be read but no longer ordered. Its SKU stays taken.',
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
    await invalidateProducts(c.var.context, tenant, [archived.sku]);
    return c.body(null, 204);
  },
);

products.patch(
  '/:id',
  operation({
    id: 'updateProduct',
    tag: 'Catalog',
    summary: 'Change a product',
    description:
      'The SKU cannot be changed. Stock is changed through `/v1/inventory`, images and collections through their own ' +
      'paths. `status: "active"` restores an archived product. `groupId: null` takes a product out of its group.',
    scope: 'catalog:write',
    ifMatch: true,
    params,
    body: productChange,
    example: { price: 24.99, status: 'active' },
    responses: { 200: { description: 'The changed product', schema: product, example: sampleProduct } },
    errors: ['not_found', 'version_mismatch', 'slug_taken', 'variant_taken'],
  }),
  async (c) => {
    const { id: productId } = c.req.valid('param');
    const versions = versionsIn(c.req.header('if-match'));
    const changed = await updateProduct(c.var.context, productId, c.req.valid('json'), versions);
    await invalidateProducts(c.var.context, changed.tenant, [changed.product.sku]);
    return showResource(c, changed.product, { version: changed.version });
  },
);

products.post(
  '/import',
  operation({
    id: 'importProducts',
    tag: 'Catalog',
    summary: 'Import products as a stream',
    description:
      'NDJSON (one product a line) or CSV (the first line names the columns), of any length. A line with an existing SKU ' +
      'updates that product, and fields that the line omits stay as they are. `inventory` sets the stock. A bad line is ' +
      'rejected and does not affect the others. If an import stops half-way, the imported lines stay: send it again ' +
      'within 24 hours. A stock that it has already set is not set again, because units may have been sold since, and ' +
      'neither is one that a later import has set. If the response was lost, use the same Idempotency-Key.\n\n' +
      'The fields are those of an export. `group` is the slug or id of a product group, and `options` (in CSV a column ' +
      '`option:NAME` for each) has the values of its options. A slug that is not known creates the group, with ' +
      '`groupName` and the option names of the line. `collections` are slugs or ids too (in CSV with spaces between ' +
      "them), and replace the product's. `image` are URLs of PNG, JPEG, WebP or AVIF files, at most 20: they must be " +
      'https and public, and are fetched after the response. A URL that the product has an image from is left out. In ' +
      'CSV `metadata` is JSON. `null` in NDJSON takes an optional field away.\n\n' +
      "`?format=shopify` takes Shopify's product CSV, classic or current, as it is. A handle with options becomes a " +
      'product group, and each of its variant rows a product; without options it is one product. HTML becomes plain ' +
      'text. Drafts, archived and unpublished products are archived. Vendor, type, tags, category, barcode and SEO texts ' +
      'become metadata. A variant without a SKU gets one made of its handle and options.',
    scope: 'catalog:write',
    idempotency: 'optional',
    query: z.object({
      format: z.enum(['shopify']).optional().meta({
        description: 'Of a product file of Shopify, sent as text/csv. Otherwise the Content-Type names the format',
      }),
      currency: currency.optional().meta({
        description: "Of the prices in a product file of Shopify. Default: the tenant's currency",
      }),
    }),
    stream: ['application/x-ndjson', 'text/csv'],
    example: {
      'application/x-ndjson':
        '{"sku":"TEE-BLACK-M","name":"Black T-shirt, M","price":29.99,"currency":"USD","inventory":100,' +
        '"weight":180,"collections":["new-arrivals"],"metadata":{"brand":"Nord"}}\n',
      'text/csv':
        'sku,name,price,currency,inventory,group,groupName,option:Size,option:Colour,collections\n' +
        'TEE-BLACK-M,"Black T-shirt, M",29.99,USD,100,t-shirt,T-shirt,M,Black,summer\n',
    },
    responses: {
      200: { description: 'How many lines were applied, and why each other line was rejected', schema: importReport },
    },
    errors: ['unsupported_media_type'],
  }),
  async (c) => {
    const { report, replayed } = await importProducts(
      c.var.context,
      c.req.raw,
      c.req.valid('query'),
      invalidateProducts,
    );
    return showResult(c, report, { replayed });
  },
);
