import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { id, metadata, slug, text, time, word } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import {
  type ProductGroupRow,
  productGroupById,
  productGroupBySlug,
  productGroupPage,
} from '../../db/catalog/product-groups.ts';
import type { ProductRow } from '../../db/catalog/queries.ts';
import type { WriteResult } from '../../db/client.ts';
import { runWrite } from '../refusals.ts';
import { product, toProduct } from './products.ts';

export const productGroup = z
  .object({
    id,
    name: z.string(),
    description: z.string().nullable(),
    slug: z.string().nullable(),
    options: z.array(z.string()).meta({ description: 'What its products differ in', examples: [['Size', 'Colour']] }),
    metadata,
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'ProductGroup' });

export const productGroupWithProducts = productGroup
  .extend({ products: z.array(product).meta({ description: 'Its products for sale, oldest first' }) })
  .meta({ id: 'ProductGroupWithProducts' });

type ProductGroup = z.infer<typeof productGroup>;

const fields = z.strictObject({
  name: text(500),
  description: text(10_000).nullable(),
  slug: slug.nullable(),
  options: z
    .array(word(40))
    .min(1)
    .max(10)
    .refine((names) => new Set(names).size === names.length, { error: 'must not have a name twice' }),
  metadata: metadata.meta({ description: 'Your own strings: at most 50. A change replaces all of them' }),
});

export const newProductGroup = fields.partial({ description: true, slug: true, metadata: true });

export const productGroupChange = fields
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must change at least one field' });

/** Puts the fields in the order of the API. jsonb has its own order. */
const toProductGroup = (row: ProductGroupRow): ProductGroup => ({
  id: row.id,
  name: row.name,
  description: row.description,
  slug: row.slug,
  options: row.options,
  metadata: row.metadata,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});

const withProducts = (row: ProductGroupRow, products: ProductRow[]) => ({
  ...toProductGroup(row),
  products: products.map(toProduct),
});

type Written = ProductGroupRow & { products: ProductRow[]; version: number };

async function write(context: Context, name: 'create_product_group' | 'update_product_group', input: unknown) {
  const { answer, replayed } = await runWrite<Written>(context, `catalog.${name}`, input);
  return { group: withProducts(answer, answer.products), version: answer.version, replayed };
}

/** @throws ApiError slug_taken */
export const createProductGroup = (context: Context, input: z.infer<typeof newProductGroup>) =>
  write(context, 'create_product_group', { ...input, id: newId(context.now()) });

/**
 * Changes only the given fields. The options can get another order at any time, and other names while the group has no
 * products.
 * @throws ApiError not_found, version_mismatch, slug_taken, conflict (other options while the group has products)
 */
export const updateProductGroup = (
  context: Context,
  groupId: string,
  change: z.infer<typeof productGroupChange>,
  ifMatch: number[] | undefined,
) => write(context, 'update_product_group', { id: groupId, change, ifMatch });

/**
 * Deletes a group and takes its archived products out of it. Resolves with their SKUs.
 * @throws ApiError not_found, version_mismatch, conflict (it has products for sale)
 */
export async function deleteProductGroup(context: Context, groupId: string, ifMatch: number[] | undefined) {
  const { tenant, answer } = await context.db.run<WriteResult<{ skus: string[] }>>(
    'catalog.delete_product_group',
    context.call,
    { id: groupId, ifMatch },
  );
  return { tenant, skus: answer.skus };
}

async function read(context: Context, query: typeof productGroupById, name: string) {
  const { rows } = await context.db.read(context.call, 'catalog:read', (db) => query(db, name));
  const found = rows[0];
  if (!found) throw new ApiError('not_found');
  return { group: withProducts(found.group, found.products), version: found.version };
}

/** @throws ApiError not_found */
export const readProductGroup = (context: Context, groupId: string) => read(context, productGroupById, groupId);

/** @throws ApiError not_found */
export const readProductGroupBySlug = (context: Context, groupSlug: string) =>
  read(context, productGroupBySlug, groupSlug);

/** Groups without their products, newest first. */
export async function listProductGroups(context: Context, before: string | undefined, limit: number) {
  const { rows } = await context.db.read(context.call, 'catalog:read', (db) => productGroupPage(db, before, limit));
  return rows.map((row) => toProductGroup(row.group));
}
