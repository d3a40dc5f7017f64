import * as z from 'zod';
import { fitsCurrency } from '../../base/currencies.ts';
import { ApiError } from '../../base/errors.ts';
import { count, currency, id, metadata, money, sku, slug, text, time, whole, word } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import { type ProductRow, productById, productBySku } from '../../db/catalog/queries.ts';
import { runWrite } from '../refusals.ts';

export const image = z
  .object({
    id,
    path: z.string().meta({ description: 'Read it without a key; it never changes', examples: ['/media/….webp'] }),
    alt: z.string().nullable().meta({ description: 'What the image shows, for people who do not see it' }),
    width: z.number().int(),
    height: z.number().int(),
  })
  .meta({ id: 'Image' });

export const product = z
  .object({
    id,
    sku,
    name: z.string(),
    description: z.string().nullable(),
    price: money,
    currency: z.string(),
    inventory: z.number().int().meta({ description: 'Units that can still be sold' }),
    status: z.enum(['active', 'archived']),
    groupId: id.nullable().meta({ description: 'The product group of which this is a variant' }),
    options: z.record(z.string(), z.string()).meta({
      description: 'The value of each option of its group',
      examples: [{ Size: 'M', Colour: 'Black' }],
    }),
    slug: z.string().nullable(),
    images: z.array(image).meta({ description: 'In the order in which they are shown' }),
    weight: z.number().int().nullable().meta({ description: 'Grams' }),
    taxCategory: z.string().nullable(),
    compareAtPrice: money.nullable().meta({ description: 'A former or recommended price, to show beside the price' }),
    collections: z.array(id).meta({ description: 'The ids of the collections that it is in' }),
    metadata,
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'Product' });

export type Product = z.infer<typeof product>;

const name = text(500);
const description = text(10_000).nullable();

/** products_variant_unique has the options in its index, whose entries have 2,704 bytes at most. */
const maxOptionBytes = 2_000;

/** Fields that a product may have. Without a group, `options` must be empty. */
const optionalFields = z
  .object({
    groupId: id.nullable().meta({ description: 'The product group of which it is a variant; null: none' }),
    options: z
      .record(word(40), word(100))
      .refine((options) => new TextEncoder().encode(JSON.stringify(options)).length <= maxOptionBytes, {
        error: 'must have at most 2,000 bytes in all, as JSON in UTF-8',
      })
      .meta({ description: 'A value for each option of its group', examples: [{ Size: 'M', Colour: 'Black' }] }),
    slug: slug.nullable(),
    weight: whole.min(0).max(100_000_000).nullable().meta({ description: 'Grams' }),
    taxCategory: word(100).nullable(),
    compareAtPrice: money.nullable(),
    metadata: metadata.meta({ description: 'Your own strings: at most 50. A change replaces all of them' }),
  })
  .partial();

export const newProduct = z
  .strictObject({
    ...{ sku, name, description: description.optional(), price: money, currency, inventory: count },
    ...optionalFields.shape,
  })
  .superRefine((value, check) => {
    for (const field of ['price', 'compareAtPrice'] as const) {
      if (!fitsCurrency(value[field] ?? 0, value.currency)) {
        check.addIssue({ code: 'custom', path: [field], message: `${value.currency} has no decimals` });
      }
    }
  });

export const productChange = z
  .strictObject({
    ...{ name, description, price: money, currency, status: z.enum(['active', 'archived']) },
    ...optionalFields.shape,
  })
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must change at least one field' });

/** A product with the version that its ETag shows. */
export type Versioned = { product: Product; version: number; tenant: string };

export const toImage = ({ id, path, alt, width, height }: ProductRow['images'][number]) => ({
  ...{ id, path, alt, width, height },
});

/** Puts the fields in the order of the API. jsonb has its own order. */
export const toProduct = (row: ProductRow): Product => ({
  id: row.id,
  sku: row.sku,
  name: row.name,
  description: row.description,
  price: row.price,
  currency: row.currency,
  inventory: row.inventory,
  status: row.status,
  groupId: row.groupId,
  options: row.options,
  slug: row.slug,
  images: row.images.map(toImage),
  weight: row.weight,
  taxCategory: row.taxCategory,
  compareAtPrice: row.compareAtPrice,
  collections: row.collections,
  metadata: row.metadata,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});

async function write(context: Context, name: 'create_product' | 'update_product', input: unknown) {
  const { tenant, answer, replayed } = await runWrite<ProductRow & { version: number }>(
    context,
    `catalog.${name}`,
    input,
  );
  return { product: toProduct(answer), version: answer.version, tenant, replayed };
}

/**
 * Adds a product and the opening stock of its SKU, and emits product.created, in one transaction.
 * @throws ApiError sku_taken, slug_taken, variant_taken, validation_failed (its options do not fit its group)
 */
export const createProduct = (context: Context, input: z.infer<typeof newProduct>) =>
  write(context, 'create_product', { ...input, id: newId(context.now()) });

/**
 * Changes only the given fields, and emits product.updated or product.archived. `ifMatch`: the versions that the
 * client's `If-Match` accepts.
 * @throws ApiError not_found, version_mismatch, slug_taken, variant_taken, validation_failed (a price does not fit the
 * currency, or the options do not fit the group)
 */
export const updateProduct = (
  context: Context,
  productId: string,
  change: z.infer<typeof productChange>,
  ifMatch: number[] | undefined,
) => write(context, 'update_product', { id: productId, change, ifMatch });

async function firstProduct(query: Promise<{ tenant: string; rows: { product: ProductRow; version: number }[] }>) {
  const { tenant, rows } = await query;
  const found = rows[0];
  if (!found) throw new ApiError('not_found');
  return { product: toProduct(found.product), version: found.version, tenant } satisfies Versioned;
}

/** @throws ApiError not_found */
export const readProduct = (context: Context, productId: string) =>
  firstProduct(context.db.read(context.call, 'catalog:read', (db) => productById(db, productId)));

/** @throws ApiError not_found */
export const readProductBySku = (context: Context, productSku: string) =>
  firstProduct(context.db.read(context.call, 'catalog:read', (db) => productBySku(db, productSku)));
