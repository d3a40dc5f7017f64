import * as z from 'zod';
import { currency, exact, id, money, page } from '../../base/fields.ts';
import type { Context } from '../../context.ts';
import {
  type FacetsRow,
  type GroupRow,
  type ListedPage,
  type ProductFilter,
  type ProductRow,
  productPage,
} from '../../db/catalog/queries.ts';
import { image, product, toImage, toProduct } from './products.ts';

const amount = z
  .string()
  .refine((written) => /^\d{1,8}(\.\d{1,2})?$/.test(written), {
    error: 'must be an amount with at most two decimals, such as 29.99',
  })
  .transform(Number);

/** Different values with commas between them. */
const oneOrMore = <T extends string>(value: z.ZodType<T>, max: number, error: string) =>
  z
    .string()
    .refine((written) => z.array(value).max(max).safeParse(written.split(',')).success, { error })
    .transform((written) => [...new Set(written.split(','))] as T[]);

/** The query of a list of products. */
export const productQuery = z
  .object({
    ...page,
    q: exact(200).optional().meta({ description: 'Words of the name and description, or a part of the name or SKU' }),
    collection: exact(200)
      .optional()
      .meta({ description: 'The id or slug of a collection. Not the products of the collections below it' }),
    status: z
      .enum(['active', 'archived', 'all'])
      .default('active')
      .meta({ description: 'Archived products are shown to secret keys only' }),
    inStock: z
      .enum(['true', 'false'])
      .transform((written) => written === 'true')
      .optional()
      .meta({ type: 'boolean', description: '`false`: only products that are sold out' }),
    minPrice: amount.optional().meta({ type: 'number', minimum: 0, description: 'In the currency of each product' }),
    maxPrice: amount.optional().meta({ type: 'number', minimum: 0, description: 'In the currency of each product' }),
    currency: currency.optional(),
    ids: oneOrMore(id, 100, 'must be 1 to 100 ids with commas between them')
      .optional()
      .meta({ description: 'At most 100 ids with commas between them. Unknown ids are left out' }),
    view: z
      .enum(['products', 'groups'])
      .default('products')
      .meta({ description: '`groups`: one row for each group, at the place of its first product' }),
    sort: z
      .enum(['newest', 'price', '-price', 'name'])
      .default('newest')
      .meta({ description: 'By price: sorted by currency first. By name: `A` to `z`, then other letters' }),
    facets: oneOrMore(z.enum(['options', 'price']), 2, 'must be options, price, or both with a comma between them')
      .optional()
      .meta({ description: '`options`, `price` or `options,price`: counts what the list has' }),
  })
  .refine(({ minPrice, maxPrice }) => minPrice === undefined || maxPrice === undefined || minPrice <= maxPrice, {
    path: ['maxPrice'],
    error: 'must not be below minPrice',
  });

const groupRow = z
  .object({
    group: z
      .object({ id, name: z.string(), slug: z.string().nullable(), options: z.array(z.string()) })
      .nullable()
      .meta({ description: 'null for a product without a group' }),
    product: product.meta({ description: 'The first product of the group in this list' }),
    variants: z.number().int().meta({ description: 'How many products of the group the list has' }),
    minPrice: money.meta({ description: 'The lowest price of these products, in the currency of `product`' }),
    maxPrice: money,
    currency: z.string(),
    inStock: z.boolean().meta({ description: 'Whether one of these products is in stock' }),
    images: z.array(image).meta({ description: 'Those of `product`, or of another product if it has none' }),
  })
  .meta({ id: 'ProductGroupRow' });

const counted = z.number().int();

const facets = z
  .object({
    complete: z
      .boolean()
      .meta({ description: 'false: the list has more than 10,000 products, which are not all counted' }),
    options: z
      .record(z.string(), z.array(z.object({ value: z.string(), count: counted })))
      .optional()
      .meta({ description: 'The values of each option, the most frequent 100' }),
    price: z
      .array(
        z.object({
          ...{ currency: z.string(), min: money, max: money, count: counted },
          ranges: z
            .array(z.object({ from: money, to: z.number(), count: counted }))
            .meta({ description: 'Prices from `from` to just below `to`. Empty ranges are left out' }),
        }),
      )
      .optional()
      .meta({ description: 'The prices in each currency, whatever `minPrice` and `maxPrice` are' }),
  })
  .meta({ id: 'ProductFacets' });

/** The members of a page of products. */
export const productPageFields = {
  data: z.array(z.union([product, groupRow])).meta({ description: '`ProductGroupRow` with `view=groups`' }),
  facets: facets.optional(),
};

const json = z.string().transform((text, check): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    check.addIssue('must be JSON');
    return z.NEVER;
  }
});
const price = z.tuple([z.string().regex(/^[A-Z]{3}$/), z.string().regex(/^\d{1,8}(\.\d{1,2})?$/), id]);
const name = z.tuple([
  z
    .string()
    .max(1_000)
    .refine((text) => text.isWellFormed() && !text.includes('\0')),
  id,
]);

/** The position in a list of products, by its order. */
export const productPositions = {
  newest: id.transform((written) => [written]),
  price: json.pipe(price),
  '-price': json.pipe(price),
  name: json.pipe(name),
};

/** A key of a product in its list as the position in a cursor. */
export const toPosition = (key: string[]): string => (key.length === 1 ? String(key[0]) : JSON.stringify(key));

const toRow = (row: ProductRow | GroupRow) =>
  'product' in row
    ? {
        group: row.group && (({ id, name, slug, options }) => ({ id, name, slug, options }))(row.group),
        product: toProduct(row.product),
        variants: row.variants,
        minPrice: row.minPrice,
        maxPrice: row.maxPrice,
        currency: row.currency,
        inStock: row.inStock,
        images: row.images.map(toImage),
      }
    : toProduct(row);

type Listed = { rows: ReturnType<typeof toRow>[]; next: string[] | null; facets: FacetsRow | null };

/** A page of products after the key `after`. */
export async function listProducts(
  context: Context,
  filter: ProductFilter,
  after: string[] | undefined,
  limit: number,
): Promise<Listed> {
  const { rows } = await context.db.read(context.call, 'catalog:read', (db) => productPage(db, filter, after, limit));
  const [{ page } = { page: { rows: [], next: null, facets: null } satisfies ListedPage }] = rows;
  return { rows: page.rows.map(toRow), next: page.next, facets: page.facets };
}
