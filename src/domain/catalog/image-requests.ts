import * as z from 'zod';
import { type Context, runLast } from '../../context.ts';
import type { Event } from '../events.ts';
import { DownloadError, download } from './image-download.ts';
import { bucketOf, discardFile, type Image, keyOf, storeFile } from './images.ts';

/** Why a message was not applied. `permanent`: a later delivery would fail too. */
export type Failure = { reason: string; permanent: boolean };

const request = z.object({
  productId: z.string(),
  url: z.string(),
  alt: z.string().nullish(),
  position: z.number().int().min(1).optional(),
});
type Request = z.infer<typeof request> & { eventId: string; traceparent: string | undefined };

/** Downloads and stores the image of a request. */
async function fetchImage(context: Context, { url, alt }: Request): Promise<Image> {
  const rules = { allowLoopback: context.settings.ALLOW_LOOPBACK_URLS };
  return download(url, rules, (bytes) => storeFile(context, bytes, alt ?? null));
}

/**
 * Fetches the requested images of one tenant and adds them to their products: two database calls a batch, with the
 * downloads between them. A product takes one image from a URL, however often it is requested. A file that is not used
 * is deleted again.
 * @returns the SKUs of the changed products, and for each event that was not applied the reason, by event id
 */
export async function fetchImages(context: Context, tenant: string, events: Event[]) {
  bucketOf(context);
  const failures = new Map<string, Failure>();
  const refuse = (refused: Record<string, string>) => {
    for (const [eventId, reason] of Object.entries(refused)) failures.set(eventId, { reason, permanent: true });
  };
  const requests = events.flatMap(({ id: eventId, traceparent, data }): Request[] => {
    const read = request.safeParse(data);
    if (read.success) return [{ ...read.data, eventId, traceparent }];
    refuse({ [eventId]: 'The event does not name a product and a URL.' });
    return [];
  });
  const { open, refused } = await context.db.run<{ open: string[]; refused: Record<string, string> }>(
    'catalog.find_image_requests',
    context.call,
    { tenant, requests: requests.map(({ eventId, productId, url }) => ({ eventId, productId, url })) },
  );
  refuse(refused);
  const fetched: (Request & { image: Image })[] = [];
  const wanted = requests.filter(({ eventId }) => open.includes(eventId));
  await Promise.all(
    wanted.map(async (each) => {
      try {
        fetched.push({ ...each, image: await fetchImage(context, each) });
      } catch (error) {
        if (!(error instanceof DownloadError)) throw error;
        failures.set(each.eventId, { reason: error.message, permanent: error.permanent });
      }
    }),
  );
  if (fetched.length === 0) return { changed: [], failures };
  const answer = await runLast<{ added: string[]; refused: Record<string, string>; changed: string[] }>(
    context,
    'catalog.add_fetched_images',
    context.call,
    { tenant, images: fetched },
  );
  refuse(answer.refused);
  const unused = fetched.filter(({ eventId }) => !answer.added.includes(eventId));
  await Promise.all(unused.map(({ image }) => discardFile(context, image)));
  return { changed: answer.changed, failures };
}

const deletion = z.object({ path: z.string() });

/** Deletes the files of images that were removed from their products. To delete one again changes nothing. */
export async function deleteImages(context: Context, events: Event[]): Promise<void> {
  const keys = events.flatMap(({ data }) => {
    const read = deletion.safeParse(data);
    return read.success ? [keyOf(read.data.path)] : [];
  });
  await bucketOf(context).delete(keys);
}
