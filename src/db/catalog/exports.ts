import { and, asc, desc, eq, lt, sql } from 'drizzle-orm';
import type { Reader } from '../client.ts';
import { inventory } from '../inventory/queries.ts';
import { type ProductRow, products } from './queries.ts';

/** A product with the names of what it belongs to: slugs, or ids of what has no slug. */
export type ExportedProductRow = {
  product: ProductRow;
  group: string | null;
  groupName: string | null;
  /** The names of its group's options, in their order. */
  optionNames: string[] | null;
  collections: string[];
};

/** A part of an export: `limit` products of any status below the id `before`, newest first. */
export function exportedProducts(db: Reader, before: string | undefined, limit: number) {
  return db
    .select({
      product: sql<ProductRow>`catalog.product_json("products", ${inventory.quantity})`,
      group: sql<
        string | null
      >`(select coalesce(g.slug, g.id) from catalog.product_groups g where g.id = ${products.groupId})`,
      groupName: sql<string | null>`(select g.name from catalog.product_groups g where g.id = ${products.groupId})`,
      optionNames: sql<
        string[] | null
      >`(select g.options from catalog.product_groups g where g.id = ${products.groupId})`,
      collections: sql<string[]>`array(select coalesce(c.slug, c.id) from catalog.collections c
        where c.id = any(${products.collections}) order by 1)`,
    })
    .from(products)
    .leftJoin(inventory, and(eq(inventory.tenantId, products.tenantId), eq(inventory.sku, products.sku)))
    .where(before === undefined ? undefined : lt(products.id, before))
    .orderBy(asc(products.tenantId), desc(products.id))
    .limit(limit);
}

/** The names of all options that groups of the tenant have, in one row: the first option of a group comes first. */
export const optionNames = (db: Reader) =>
  db
    .select({
      names: sql<string[]>`array(select o.name from catalog.product_groups g,
        unnest(g.options) with ordinality o(name, place) group by o.name order by min(o.place), o.name)`,
    })
    .from(sql`(select) as one`);
