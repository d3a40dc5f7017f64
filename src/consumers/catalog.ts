import type { Context } from '../context.ts';
import { deleteImages, fetchImages } from '../domain/catalog/image-requests.ts';
import type { Event } from '../domain/events.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { PartlyApplied } from './partly-applied.ts';

/** product.image.requested: fetches the image and adds it to its product. product.image.deleted: deletes its file. */
export async function consumeForCatalog(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic === 'product.image.deleted') return deleteImages(context, events);
  if (topic !== 'product.image.requested') throw new Error(`catalog does not consume ${topic}`);
  const { changed, failures } = await fetchImages(context, tenant, events);
  await invalidateProducts(context, tenant, changed);
  if (failures.size > 0) throw new PartlyApplied(failures);
}
