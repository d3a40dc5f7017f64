import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { topics } from '../../src/events/topics.ts';
import type { Schema, Webhook } from './openapi.ts';

/** What has happened when an event of each topic is emitted. */
const topicDescriptions: Record<string, string> = {
  'order.created': 'An order was placed. Its stock is held, or will be soon (`Prefer: respond-async`).',
  'order.confirmed': 'An order was paid. Its units have left the stock.',
  'order.failed': 'An order failed: there was not enough stock, its hold expired, or its payment failed.',
  'order.cancelled': 'An order was cancelled. Its hold is released and its payment is cancelled or refunded.',
  'return.requested': 'Units of an order are to come back. They are reserved for this return.',
  'return.received':
    'Units of an order came back. Those with `restock` are in stock again. `refundId` is absent if there was nothing to refund.',
  'return.cancelled': 'A return that was requested was cancelled. Its units are no longer reserved.',
  'order.refunded': 'An order was refunded in full.',
  'order.refund.failed': 'The refund of an order failed at the bank. The order has its earlier status again.',
  'cart.expired': 'Nobody has used a cart for the time that its tenant keeps carts. It can no longer be ordered.',
  'inventory.reserved': 'The units of every line of an order are held.',
  'inventory.insufficient': 'There is not enough stock for a line of an order. Nothing is held.',
  'inventory.released': 'The hold of an order ended without a sale. Its units can be sold again.',
  'inventory.low': 'The quantity of a SKU has fallen to its threshold of low stock, or below it.',
  'product.created': 'A product was created.',
  'product.updated': 'A product was changed or restored. A change of its stock alone does not emit it.',
  'product.archived': 'A product was archived. It can no longer be ordered.',
  'price-list.updated': 'A price list, or prices in it, were created, changed or deleted.',
  'customer.erased': 'The personal data of a customer was erased.',
  'product.image.requested': 'An import names the URL of an image that its product does not have yet.',
  'product.image.deleted': 'An image was deleted. Its file is deleted next.',
  'customer.vat.requested': 'A customer has a new VAT number. VIES will be asked about it next.',
  'group-commerce.campaign.created': 'A campaign was created.',
  'group-commerce.campaign.joined': 'A buyer joined a campaign.',
  'group-commerce.campaign.left': 'A buyer left a campaign, or lost their place in it.',
  'group-commerce.campaign.successful': 'A campaign has enough participants. They will be charged next.',
  'group-commerce.campaign.priced':
    'The price of a campaign with tiers is fixed: `settledPrice`. Its participants will be charged next.',
  'group-commerce.campaign.expired':
    'A campaign reached its end time without success. Its places will be released next.',
  'group-commerce.campaign.failed': 'A campaign was cancelled. Nobody is charged.',
  'group-commerce.place.offered':
    'A place of a full campaign is offered to the first user of its waiting list, who takes it by joining before `offeredUntil`.',
  'group-commerce.team.created': 'A buyer opened a team, and has its first place.',
  'group-commerce.team.joined': 'A buyer joined a team.',
  'group-commerce.team.left': 'A buyer left a team, or lost their place in it.',
  'group-commerce.team.successful': 'A team is complete. Its members will be charged next.',
  'group-commerce.team.expired': 'The time of a team ended before it was complete. Its places will be released next.',
  'group-commerce.team.merged': 'The time of a team ended, and its members moved into another team, `into`.',
  'group-commerce.team.cancelled': 'A team was cancelled, with its campaign or because its last member left.',
  'payment.created': 'A payment of an order was created. The buyer can pay.',
  'payment.capture.requested': 'The payment of a place in a successful campaign will be captured next.',
  'payment.action.required':
    'The bank asks for the buyer before it lets the saved card be charged. The buyer confirms with `clientSecret`.',
  'payment.succeeded': 'The payment of an order was captured.',
  'payment.failed': 'A payment failed. No money was taken.',
  'payment.cancelled': 'A payment was cancelled. Its authorization, if it had one, is released.',
  'payment.refund.requested': 'A refund was requested. It will be sent to Stripe next.',
  'payment.refunded': 'A refund has succeeded.',
  'payment.refund.failed': 'A refund failed.',
  'payment.dispute.changed': 'A buyer disputed a payment, or a dispute was decided.',
  'shipping.label.requested': 'A paid order needs a label.',
  'shipping.label.created': 'The label of an order was made. It can be printed.',
  'shipping.cancelled': 'The shipment of an order was cancelled before the parcel was on its way.',
  'shipping.status.changed': 'A carrier reported a new status of a parcel.',
};

/** The sections of the catalogue, each with the prefix of its topics. */
export const eventGroups: { prefix: string; name: string }[] = [
  { prefix: 'order.', name: 'Order events' },
  { prefix: 'cart.', name: 'Cart events' },
  { prefix: 'return.', name: 'Return events' },
  { prefix: 'inventory.', name: 'Inventory events' },
  { prefix: 'product.', name: 'Product events' },
  { prefix: 'price-list.', name: 'Price list events' },
  { prefix: 'customer.', name: 'Customer events' },
  { prefix: 'group-commerce.campaign.', name: 'Campaign events' },
  { prefix: 'group-commerce.', name: 'Team and waiting list events' },
  { prefix: 'payment.', name: 'Payment events' },
  { prefix: 'shipping.', name: 'Shipping events' },
];

const readJson = async (path: string): Promise<unknown> => JSON.parse(await readFile(path, 'utf8'));

/** Every topic of the registry as an OpenAPI webhook, with the schema and the example that `schemas/` publishes. */
export async function eventCatalogue(schemas: string): Promise<Record<string, { post: Webhook }>> {
  const entries = Object.entries(topics).map(async ([topic, { key, retentionDays, partitions }]) => {
    const topicDescription = topicDescriptions[topic];
    const group = eventGroups.find(({ prefix }) => topic.startsWith(prefix));
    if (topicDescription === undefined || !group) {
      throw new Error(
        `the event catalogue has no description or no section for ${topic}: add it in ${import.meta.filename}`,
      );
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
      description: `${topicDescription}\n\nTopic \`${topic}\` · key \`${key}\` · kept for ${retentionDays} days · ${partitions} partitions`,
      requestBody: { required: true, content: { 'application/json': { schema, example } } },
    };
    return [topic, { post: webhook }] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}
