import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { topics } from '../../src/events/topics.ts';
import type { Schema, Webhook } from './openapi.ts';

/** What each topic tells, and what causes it. */
export const meanings: Record<string, string> = {
  'order.created': 'An order was placed and its stock is held, or is being decided on (`Prefer: respond-async`).',
  'order.confirmed': 'An order is paid for and its stock is taken.',
  'order.failed': 'An order ended without a sale: its stock was short, its hold ran out, or its payment failed.',
  'order.cancelled': 'An order was cancelled; its hold is released and its payment is cancelled or refunded.',
  'order.refunded': 'All money of an order has gone back.',
  'order.refund.failed': 'The refund of an order failed at the bank; the order has its earlier status again.',
  'inventory.reserved': 'All lines of an order are held.',
  'inventory.insufficient': 'A line of an order asked for more than there is; nothing is held.',
  'inventory.released': 'The hold of an order ended without a sale; its stock can be sold again.',
  'product.created': 'A product was added.',
  'group-commerce.campaign.created': 'A campaign was made.',
  'group-commerce.campaign.joined': 'A buyer joined a campaign.',
  'group-commerce.campaign.left': 'A buyer left a campaign, or lost the place in it.',
  'group-commerce.campaign.successful': 'A campaign has enough participants; their charges follow.',
  'group-commerce.campaign.expired': 'The end time of a campaign passed; it is settled next.',
  'group-commerce.campaign.failed':
    'A campaign ended without enough participants, or was cancelled; nobody is charged.',
  'payment.created': 'A payment of an order was made; the buyer can pay.',
  'payment.capture.requested': 'The money of a place in a campaign is to be taken.',
  'payment.succeeded': 'The money of an order was captured.',
  'payment.failed': 'A payment ended without money.',
  'payment.cancelled': 'A payment was cancelled; an authorization that it had is given up.',
  'payment.refund.requested': 'A refund was asked for; it is sent to Stripe next.',
  'payment.refunded': 'A refund has succeeded.',
  'payment.refund.failed': 'A refund failed.',
  'payment.dispute.changed': 'A buyer disputed a payment, or the dispute was decided.',
  'shipping.label.requested': 'A paid order waits for its label.',
  'shipping.label.created': 'The label of an order was made; it can be printed.',
  'shipping.cancelled': 'The parcel of an order was called off before it was on its way.',
  'shipping.status.changed': 'A carrier told where a parcel is.',
};

/** The catalogue's sections, by how the names of their topics begin. */
export const eventGroups: { starts: string; name: string }[] = [
  { starts: 'order.', name: 'Order events' },
  { starts: 'inventory.', name: 'Inventory events' },
  { starts: 'product.', name: 'Product events' },
  { starts: 'group-commerce.', name: 'Campaign events' },
  { starts: 'payment.', name: 'Payment events' },
  { starts: 'shipping.', name: 'Shipping events' },
];

const readJson = async (path: string): Promise<unknown> => JSON.parse(await readFile(path, 'utf8'));

/** Every topic of the registry as an OpenAPI webhook, with the schema and the example that `schemas/` publishes. */
export async function eventCatalogue(schemas: string): Promise<Record<string, { post: Webhook }>> {
  const entries = Object.entries(topics).map(async ([topic, { key, retentionDays, partitions }]) => {
    const meaning = meanings[topic];
    const group = eventGroups.find(({ starts }) => topic.startsWith(starts));
    if (meaning === undefined || !group) {
      throw new Error(`${topic}: no meaning or no section of the event catalogue; add it to ${import.meta.filename}`);
    }
    const {
      $schema: _,
      $id: __,
      title: ___,
      description: ____,
      ...schema
    } = (await readJson(join(schemas, `${topic}.json`))) as Schema;
    const example = await readJson(join(schemas, 'samples', `${topic}.json`));
    const webhook: Webhook = {
      operationId: topic,
      tags: [group.name],
      summary: topic,
      description: `${meaning}\n\nTopic \`${topic}\` · key \`${key}\` · kept for ${retentionDays} days · ${partitions} partitions`,
      requestBody: { required: true, content: { 'application/json': { schema, example } } },
    };
    return [topic, { post: webhook }] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}
