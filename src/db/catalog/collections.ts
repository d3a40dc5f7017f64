import { asc, desc, eq, lt, sql } from 'drizzle-orm';
import { integer, pgSchema, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';

/** The columns that reads name. The functions in collections.sql write the table. */
const collections = pgSchema('catalog').table('collections', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  version: integer('version').notNull(),
});

/** A collection as `catalog.collection_json` returns it. */
export type CollectionRow = {
  id: string;
  name: string;
  slug: string | null;
  parentId: string | null;
  createdAt: string;
  updatedAt: string;
};

const row = { collection: sql<CollectionRow>`catalog.collection_json("collections")`, version: collections.version };

export const collectionById = (db: Reader, id: string) =>
  db.select(row).from(collections).where(eq(collections.id, id));

/** A page of collections, newest first. Also sorted by tenant: see `selectOrders`. */
export const collectionPage = (db: Reader, before: string | undefined, limit: number) =>
  db
    .select(row)
    .from(collections)
    .where(before === undefined ? undefined : lt(collections.id, before))
    .orderBy(asc(collections.tenantId), desc(collections.id))
    .limit(limit);
