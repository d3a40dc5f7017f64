import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { id, text } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import type { ProductRow } from '../../db/catalog/queries.ts';
import type { WriteResult } from '../../db/client.ts';
import { type ErrorResult, toApiError } from '../refusals.ts';
import { type Extension, mediaTypes, readImageContent } from './image-content.ts';
import { type image, toProduct } from './products.ts';

export type Image = z.infer<typeof image>;

export const imageAlt = text(500);

export const imageOrder = z.strictObject({
  images: z
    .array(
      z.strictObject({
        id,
        alt: imageAlt.nullable().optional().meta({ description: 'Stays as it is if absent. null removes it' }),
      }),
    )
    .max(100)
    .meta({ description: 'Every image of the product, in the order in which they are shown' }),
});

/** The name of an image's file, and the key of its object in R2: the id and the extension. */
export const fileFormat = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(png|jpg|webp|avif)$/;

const pathStart = '/media/';
/** The R2 key of an image's path. */
export const keyOf = (path: string): string => path.slice(pathStart.length);

/** @throws ApiError unavailable if the Worker has no bucket */
export function bucketOf({ settings }: Pick<Context, 'settings'>): R2Bucket {
  if (settings.MEDIA) return settings.MEDIA;
  throw new ApiError('unavailable', 'This server stores no images: its operator has bound no R2 bucket as MEDIA.');
}

/**
 * Checks a file and stores it in R2 under a new id. The id does not name the tenant, so it stays valid if the tenant
 * moves to another cell.
 * @throws ApiError unsupported_media_type, validation_failed, unavailable
 */
export async function storeFile(context: Context, bytes: Uint8Array, alt: string | null): Promise<Image> {
  const bucket = bucketOf(context);
  const { extension, width, height } = readImageContent(bytes);
  const imageId = newId(context.now());
  const file = `${imageId}.${extension}`;
  try {
    await bucket.put(file, bytes, { httpMetadata: { contentType: mediaTypes[extension] } });
  } catch (error) {
    throw Object.assign(new ApiError('unavailable', 'The image could not be stored. Try again later.'), {
      cause: error,
    });
  }
  return { id: imageId, path: pathStart + file, alt, width, height };
}

/** Deletes a file that no product names. A failure is ignored: nobody knows the file's name. */
export const discardFile = (context: Context, { path }: Image): Promise<void> =>
  bucketOf(context)
    .delete(keyOf(path))
    .catch(() => undefined);

/** Whether a failed database call has certainly changed nothing. After a lost response the product may have the image. */
const isDecided = (error: unknown): boolean => error instanceof ApiError && error.code !== 'unavailable';

/**
 * Adds an image to a product: the file first, then its name in one database call. If that call does not use the file,
 * it is deleted again.
 * @throws ApiError unsupported_media_type, validation_failed, not_found, conflict (the product has 20 images)
 */
export async function addImage(context: Context, productId: string, bytes: Uint8Array, alt: string | null) {
  const stored = await storeFile(context, bytes, alt);
  try {
    const { tenant, answer, replayed } = await context.db.run<WriteResult<{ image: Image; sku: string } | ErrorResult>>(
      'catalog.add_image',
      context.call,
      { productId, image: stored },
    );
    if ('error' in answer) throw toApiError(answer, replayed);
    const { id: imageId, path, width, height } = answer.image;
    // The stored answer of an earlier request with this Idempotency-Key has another image.
    if (imageId !== stored.id) await discardFile(context, stored);
    return { image: { id: imageId, path, alt: answer.image.alt, width, height }, sku: answer.sku, tenant, replayed };
  } catch (error) {
    if (isDecided(error)) await discardFile(context, stored);
    throw error;
  }
}

/**
 * Sets the order of a product's images, and their alternative texts.
 * @throws ApiError not_found, version_mismatch, validation_failed (not each image of the product once)
 */
export async function arrangeImages(
  context: Context,
  productId: string,
  { images }: z.infer<typeof imageOrder>,
  ifMatch: number[] | undefined,
) {
  const { tenant, answer } = await context.db.run<WriteResult<(ProductRow & { version: number }) | ErrorResult>>(
    'catalog.arrange_images',
    context.call,
    { productId, images, ifMatch },
  );
  if ('error' in answer) throw toApiError(answer);
  return { product: toProduct(answer), version: answer.version, tenant };
}

/**
 * Removes an image from its product. The consumer of product.image.deleted deletes the file.
 * @throws ApiError not_found, version_mismatch
 */
export async function removeImage(
  context: Context,
  productId: string,
  imageId: string,
  ifMatch: number[] | undefined,
): Promise<{ tenant: string; sku: string }> {
  const { tenant, answer } = await context.db.run<WriteResult<{ sku: string }>>('catalog.remove_image', context.call, {
    ...{ productId, imageId, ifMatch },
  });
  return { tenant, sku: answer.sku };
}

/** The media type of a file, from its extension: the Worker chose that by the content. */
export const typeOf = (file: string): string => mediaTypes[file.slice(file.lastIndexOf('.') + 1) as Extension];
