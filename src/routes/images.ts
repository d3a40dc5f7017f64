import { Hono } from 'hono';
import * as z from 'zod';
import { readBytes } from '../base/body.ts';
import { ApiError } from '../base/errors.ts';
import { id } from '../base/fields.ts';
import { sha256 } from '../base/sha256.ts';
import { imageTooLarge, maxImageBytes } from '../domain/catalog/image-content.ts';
import {
  addImage,
  arrangeImages,
  bucketOf,
  fileFormat,
  imageAlt,
  imageOrder,
  removeImage,
  typeOf,
} from '../domain/catalog/images.ts';
import { image, product } from '../domain/catalog/products.ts';
import type { AppEnv } from '../http/app-env.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { addIdempotencyKey } from '../http/idempotency.ts';
import { operation } from '../http/operation.ts';
import { showResult } from '../http/result.ts';
import { sampleImage, sampleProduct } from './examples.ts';

const params = z.object({ id });

/** The images of products, `/v1/products/{id}/images`, and their files, `/media`. */
export const images = new Hono<AppEnv>();

images.post(
  '/v1/products/:id/images',
  operation({
    id: 'addProductImage',
    tag: 'Catalog',
    summary: 'Add an image to a product',
    description:
      'The body is the file: PNG, JPEG, WebP or AVIF, at most 10 MB, 50 megapixels and 16,384 pixels a side. Its content ' +
      'decides what it is, not its `Content-Type`. SVG is refused. The file is stored unchanged, with its metadata. A ' +
      'product has at most 20 images, and a new one is the last.',
    scope: 'catalog:write',
    idempotency: 'optional',
    params,
    query: z.object({
      alt: imageAlt.optional().meta({ description: 'What the image shows, for people who do not see it' }),
    }),
    stream: ['image/webp', 'image/png', 'image/jpeg', 'image/avif'],
    responses: { 201: { description: 'The image', schema: image, example: sampleImage } },
    errors: ['not_found', 'conflict', 'body_too_large', 'unsupported_media_type', 'validation_failed'],
  }),
  async (c) => {
    const { context } = c.var;
    const { call, db } = context;
    const { id: productId } = c.req.valid('param');
    const { alt = null } = c.req.valid('query');
    bucketOf(context);
    // Nobody may store a file without a key that may write.
    if (!c.get('isKeyKnown')) await db.authenticate(call, 'catalog:write');
    const bytes = await readBytes(c.req.raw, { bytes: maxImageBytes, detail: imageTooLarge });
    const key = call.idempotencyKey;
    if (key !== undefined) addIdempotencyKey(call, key, c.req.method, c.req.path, [alt, sha256(bytes)]);
    const { image: added, sku, tenant, replayed } = await addImage(context, productId, bytes, alt);
    await invalidateProducts(context, tenant, [sku]);
    c.header('Location', added.path);
    return showResult(c, added, { status: 201, replayed });
  },
);

images.put(
  '/v1/products/:id/images',
  operation({
    id: 'arrangeProductImages',
    tag: 'Catalog',
    summary: 'Set the order and the alternative texts of a product’s images',
    description: 'Name every image of the product once.',
    scope: 'catalog:write',
    ifMatch: true,
    params,
    body: imageOrder,
    example: { images: [{ id: sampleImage.id, alt: 'A black T-shirt' }] },
    responses: { 200: { description: 'The changed product', schema: product, example: sampleProduct } },
    errors: ['not_found', 'version_mismatch'],
  }),
  async (c) => {
    const { context } = c.var;
    const versions = versionsIn(c.req.header('if-match'));
    const changed = await arrangeImages(context, c.req.valid('param').id, c.req.valid('json'), versions);
    await invalidateProducts(context, changed.tenant, [changed.product.sku]);
    return showResource(c, changed.product, { version: changed.version });
  },
);

/** The headers of a file. The policy keeps a file that a browser opens as a page from doing anything. */
const headersOf = (file: string, object: R2Object): Record<string, string> => ({
  'Content-Type': typeOf(file),
  'Content-Disposition': 'inline',
  'Cache-Control': 'public, max-age=31536000, immutable',
  'Content-Security-Policy': "default-src 'none'; sandbox",
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'Accept-Ranges': 'bytes',
  ETag: object.httpEtag,
  'Last-Modified': object.uploaded.toUTCString(),
});

/** R2 does not respond. */
function unreadable(error: unknown): never {
  throw Object.assign(new ApiError('unavailable', 'The file cannot be read now. Try again later.'), { cause: error });
}

type Part = { offset: number; length: number };

/**
 * The part of a file that `Range` asks for. Undefined: the whole file, also if several parts are asked for. `outside`:
 * it begins after the end of the file. R2 reads the header too, but does not say which of these it has found.
 */
function partOf(range: string, size: number): Part | 'outside' | undefined {
  const [, from = '', to = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(range) ?? [];
  if (from === '' && to === '') return undefined;
  const offset = from === '' ? Math.max(size - Number(to), 0) : Number(from);
  const end = from === '' || to === '' ? size : Math.min(Number(to) + 1, size);
  if (from !== '' && to !== '' && Number(to) < offset) return undefined;
  return offset >= size ? 'outside' : { offset, length: end - offset };
}

/** The part that a request asks for. With `If-Range` it gets the whole file, which is always right. */
async function askedPart(bucket: R2Bucket, file: string, { method, headers }: Request) {
  const range = headers.get('range');
  if (method !== 'GET' || range === null || headers.has('if-range')) return undefined;
  const object = await bucket.head(file);
  return object && { size: object.size, part: partOf(range, object.size) };
}

const isConditionalRead = (headers: Headers): boolean =>
  headers.has('if-none-match') || headers.has('if-modified-since');

images.get(
  '/media/:file',
  operation({
    id: 'getMedia',
    tag: 'Catalog',
    summary: 'Read the file of an image',
    description:
      'Needs no key. The path is in `images` of a product. A file never changes, so it may be cached for a year. ' +
      '`If-None-Match`, `If-Modified-Since` and `Range` work as usual.',
    params: z.object({
      file: z
        .string()
        .regex(fileFormat)
        .meta({ examples: [sampleImage.path.replace('/media/', '')] }),
    }),
    responses: { 200: { description: 'The file', type: 'image/*' } },
    errors: ['not_found', 'unavailable'],
  }),
  async (c) => {
    const { file } = c.req.valid('param');
    const { headers: asked, method } = c.req.raw;
    const bucket = bucketOf(c.var.context);
    const range = await askedPart(bucket, file, c.req.raw).catch(unreadable);
    if (range?.part === 'outside') return c.body(null, 416, { 'Content-Range': `bytes */${range.size}` });
    const part = range?.part;
    const object = await bucket.get(file, { onlyIf: asked, ...(part && { range: part }) }).catch(unreadable);
    if (!object) throw new ApiError('not_found');
    const headers = headersOf(file, object);
    if (!('body' in object)) return c.body(null, isConditionalRead(asked) ? 304 : 412, headers);
    if (method === 'HEAD') {
      await object.body.cancel();
      return c.body(null, 200, { ...headers, 'Content-Length': String(object.size) });
    }
    if (!part) return c.body(object.body, 200, headers);
    const contentRange = `bytes ${part.offset}-${part.offset + part.length - 1}/${object.size}`;
    return c.body(object.body, 206, { ...headers, 'Content-Range': contentRange });
  },
);

images.delete(
  '/v1/products/:id/images/:imageId',
  operation({
    id: 'deleteProductImage',
    tag: 'Catalog',
    summary: 'Delete an image of a product',
    description: 'Its file is deleted shortly after. Browsers and caches that have the file may keep it for a year.',
    scope: 'catalog:write',
    ifMatch: true,
    params: params.extend({ imageId: id.meta({ examples: [sampleImage.id] }) }),
    responses: { 204: { description: 'Deleted' } },
    errors: ['not_found', 'version_mismatch'],
  }),
  async (c) => {
    const { context } = c.var;
    const { id: productId, imageId } = c.req.valid('param');
    const { tenant, sku } = await removeImage(context, productId, imageId, versionsIn(c.req.header('if-match')));
    await invalidateProducts(context, tenant, [sku]);
    return c.body(null, 204);
  },
);
