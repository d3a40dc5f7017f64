import { eq, sql } from 'drizzle-orm';
import { boolean, integer, jsonb, pgSchema, text, timestamp, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';

const schema = pgSchema('shipping');
const time = (name: string) => timestamp(name, { withTimezone: true });

/** Shipments. The .sql files of this folder write them. */
export const shipments = schema.table('shipments', {
  id: varchar('id').primaryKey(),
  orderId: varchar('order_id').notNull(),
  trackingNumber: varchar('tracking_number').notNull(),
  carrier: varchar('carrier').notNull(),
  labelUrl: text('label_url').notNull(),
  status: varchar('status').notNull(),
  createdAt: time('created_at').defaultNow(),
  tenantId: varchar('tenant_id').notNull().default('default'),
  provider: varchar('provider').notNull().default('manual'),
  ownAccount: boolean('own_account').notNull().default(false),
  externalId: varchar('external_id'),
  exception: text('exception'),
  trackedAt: time('tracked_at'),
  cancelledAt: time('cancelled_at'),
  quantities: integer('quantities').array(),
  updatedAt: time('updated_at').notNull().defaultNow(),
});

/** Label requests, one row for each parcel: what a carrier makes the label from, also when it is read again. */
export const labelRequests = schema.table('label_requests', {
  orderId: varchar('order_id').notNull(),
  tenantId: varchar('tenant_id').notNull(),
  shipmentId: varchar('shipment_id').primaryKey(),
  status: varchar('status').notNull(),
  address: jsonb('address').$type<PostalAddress>().notNull(),
  sender: jsonb('sender').$type<PostalAddress>(),
  parcel: jsonb('parcel').$type<LabelTask['parcel']>(),
  attempts: integer('attempts').notNull().default(0),
  leasedUntil: time('leased_until'),
  lastError: text('last_error'),
  provider: varchar('provider'),
  ownAccount: boolean('own_account').notNull().default(false),
  triedAt: time('tried_at').notNull(),
  createdAt: time('created_at').notNull(),
  isPart: boolean('is_part').notNull().default(false),
  quantities: integer('quantities').array(),
  requestKey: varchar('request_key'),
});

/** An address as in the API. */
export type PostalAddress = Partial<
  Record<'name' | 'company' | 'line2' | 'state' | 'postalCode' | 'phone' | 'email', string>
> &
  Record<'line1' | 'city' | 'country', string>;

/** What a label is made from, as `shipping.label_task` returns it. */
export type LabelTask = {
  orderId: string;
  shipmentId: string;
  to: PostalAddress;
  from: PostalAddress;
  parcel: { weightGrams: number; lengthMm: number; widthMm: number; heightMm: number };
};

/** A tenant's credentials for a carrier. The Worker has encrypted each of them. */
export type EncryptedCredentials = { apiKey?: string; webhookSecret?: string };

/** Who calls a carrier, as `shipping.account_json` returns it. `provider` is null if it was not recorded. */
export type AccountRow = { provider: string | null; isOwn: boolean; credentials: EncryptedCredentials | null };

/** A shipment as `shipping.shipment_json` returns it. */
export type ShipmentRow = {
  id: string;
  orderId: string;
  trackingNumber: string;
  carrier: string;
  labelUrl: string;
  status: 'created' | 'in_transit' | 'delivered' | 'cancelled';
  createdAt: string;
  /** Absent in an answer that an earlier release stored for an idempotency key. */
  items?: { lineId: string; quantity: number }[];
};

export const shipmentById = (db: Reader, id: string) =>
  db
    .select({ shipment: sql<ShipmentRow>`shipping.shipment_json("shipments")` })
    .from(shipments)
    .where(eq(shipments.id, id));

/** A shipment's label and the request that it was made from; a cancelled one's request may be for another by now. */
export const labelById = (db: Reader, id: string) =>
  db
    .select({
      task: sql<LabelTask | null>`case when ${labelRequests.shipmentId} is not null
        then shipping.label_task("label_requests") end`,
      account: sql<AccountRow>`shipping.read_account(${shipments.provider}, ${shipments.ownAccount})`,
      carrier: shipments.carrier,
      trackingNumber: shipments.trackingNumber,
      externalId: shipments.externalId,
      cancelledAt: shipments.cancelledAt,
    })
    .from(shipments)
    .leftJoin(labelRequests, eq(labelRequests.shipmentId, shipments.id))
    .where(eq(shipments.id, id));
