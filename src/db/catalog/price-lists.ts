import { and, asc, desc, eq, gt, lt, sql } from 'drizzle-orm';
import { integer, numeric, pgSchema, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';

const schema = pgSchema('catalog');

/** The price lists. The functions in price-lists.sql write them. */
export const priceLists = schema.table('price_lists', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  version: integer('version').notNull(),
});

export const prices = schema.table('prices', {
  listId: varchar('list_id').notNull(),
  sku: varchar('sku').notNull(),
  minQuantity: integer('min_quantity').notNull(),
  price: numeric('price', { precision: 10, scale: 2, mode: 'number' }).notNull(),
});

export type Audience = 'all' | { customerGroup: string } | { organizationId: string };

/** A price list as `catalog.price_list_json` returns it. */
export type PriceListRow = {
  id: string;
  name: string;
  currency: string;
  startsAt: string | null;
  endsAt: string | null;
  audience: Audience;
  priceCount: number;
  createdAt: string;
  updatedAt: string;
};

const row = { list: sql<PriceListRow>`catalog.price_list_json("price_lists")`, version: priceLists.version };

export const priceListById = (db: Reader, id: string) => db.select(row).from(priceLists).where(eq(priceLists.id, id));

/** A page of price lists, newest first: `limit` rows below the id `before`. Also sorted by tenant: see `selectOrders`. */
export const priceListPage = (db: Reader, before: string | undefined, limit: number) =>
  db
    .select(row)
    .from(priceLists)
    .where(before === undefined ? undefined : lt(priceLists.id, before))
    .orderBy(asc(priceLists.tenantId), desc(priceLists.id))
    .limit(limit);

/** The place of a price in its list. */
export type PricePosition = { sku: string; minQuantity: number };

/**
 * A page of a list's prices, by SKU and minQuantity: `limit` rows after this position. One row of nulls if there is no
 * price, and none if there is no such list.
 */
export function pricePage(
  db: Reader,
  listId: string,
  sku: string | undefined,
  after: PricePosition | undefined,
  limit: number,
) {
  const position = sql`(${prices.sku}, ${prices.minQuantity})`;
  const page = db
    .select({ sku: prices.sku, minQuantity: prices.minQuantity, price: prices.price })
    .from(prices)
    .where(
      and(
        eq(prices.listId, priceLists.id),
        sku === undefined ? undefined : eq(prices.sku, sku),
        after === undefined ? undefined : gt(position, sql`(${after.sku}::varchar, ${after.minQuantity}::int)`),
      ),
    )
    .orderBy(asc(prices.sku), asc(prices.minQuantity))
    .limit(limit)
    .as('page');
  return db
    .select({ sku: page.sku, minQuantity: page.minQuantity, price: page.price })
    .from(priceLists)
    .leftJoinLateral(page, sql`true`)
    .where(eq(priceLists.id, listId))
    .orderBy(asc(page.sku), asc(page.minQuantity));
}
