import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { id, slug, text, time } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import { type CollectionRow, collectionById, collectionPage } from '../../db/catalog/collections.ts';
import type { WriteResult } from '../../db/client.ts';
import { runWrite } from '../refusals.ts';

export const collection = z
  .object({
    id,
    name: z.string(),
    slug: z.string().nullable(),
    parentId: id.nullable().meta({ description: 'The collection above it; null at the top' }),
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'Collection' });

type Collection = z.infer<typeof collection>;

const fields = z.strictObject({ name: text(500), slug: slug.nullable(), parentId: id.nullable() });

export const newCollection = fields.partial({ slug: true, parentId: true });

export const collectionChange = fields
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must change at least one field' });

/** Puts the fields in the order of the API. jsonb has its own order. */
const toCollection = (row: CollectionRow): Collection => ({
  id: row.id,
  name: row.name,
  slug: row.slug,
  parentId: row.parentId,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});

type Written = CollectionRow & { version: number };

async function write(context: Context, name: 'create_collection' | 'update_collection', input: unknown) {
  const { answer, replayed } = await runWrite<Written>(context, `catalog.${name}`, input);
  return { collection: toCollection(answer), version: answer.version, replayed };
}

/** @throws ApiError slug_taken, validation_failed (no such parent, or more than 10 levels) */
export const createCollection = (context: Context, input: z.infer<typeof newCollection>) =>
  write(context, 'create_collection', { ...input, id: newId(context.now()) });

/**
 * Changes only the given fields.
 * @throws ApiError not_found, version_mismatch, slug_taken, validation_failed (no such parent, a cycle, or more than 10
 * levels)
 */
export const updateCollection = (
  context: Context,
  collectionId: string,
  change: z.infer<typeof collectionChange>,
  ifMatch: number[] | undefined,
) => write(context, 'update_collection', { id: collectionId, change, ifMatch });

/** The tenant's SKUs of the products that a write has changed. */
async function changeProducts(context: Context, name: 'delete_collection' | 'set_collection_product', input: unknown) {
  const { tenant, answer } = await context.db.run<WriteResult<{ skus: string[] }>>(
    `catalog.${name}`,
    context.call,
    input,
  );
  return { tenant, skus: answer.skus };
}

/**
 * Deletes a collection and takes its products out of it.
 * @throws ApiError not_found, version_mismatch, conflict (it has collections below it, or more than 1,000 products)
 */
export const deleteCollection = (context: Context, collectionId: string, ifMatch: number[] | undefined) =>
  changeProducts(context, 'delete_collection', { id: collectionId, ifMatch });

/**
 * Adds a product to a collection or takes it out. To do it again changes nothing.
 * @throws ApiError not_found, conflict (the product is in 100 collections)
 */
export const setCollectionProduct = (
  context: Context,
  change: { collectionId: string; productId: string; isMember: boolean },
) => changeProducts(context, 'set_collection_product', change);

/** @throws ApiError not_found */
export async function readCollection(context: Context, collectionId: string) {
  const { rows } = await context.db.read(context.call, 'catalog:read', (db) => collectionById(db, collectionId));
  const found = rows[0];
  if (!found) throw new ApiError('not_found');
  return { collection: toCollection(found.collection), version: found.version };
}

/** Collections, newest first. */
export async function listCollections(context: Context, before: string | undefined, limit: number) {
  const { rows } = await context.db.read(context.call, 'catalog:read', (db) => collectionPage(db, before, limit));
  return rows.map((row) => toCollection(row.collection));
}
