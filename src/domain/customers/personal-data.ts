import * as z from 'zod';
import { address, id, time } from '../../base/fields.ts';
import type { Context } from '../../context.ts';
import type { OrderRow } from '../../db/orders/queries.ts';
import { order, toOrder } from '../orders/order.ts';
import { runWrite } from '../refusals.ts';
import { customer } from './customers.ts';

/** Everything that is stored about a customer. Carts and places as they are stored, without prices. */
export const customerExport = z
  .object({
    customer,
    carts: z.array(z.looseObject({ id, status: z.string(), shippingAddress: address.nullable(), createdAt: time })),
    places: z.array(z.looseObject({ id, campaignId: id, shippingAddress: address.nullable(), joinedAt: time })),
    waiting: z
      .array(z.looseObject({ id, campaignId: id, state: z.string(), createdAt: time }))
      .meta({ description: 'Entries in waiting lists of campaigns' }),
    orders: z.array(order).meta({ description: 'Newest first' }),
  })
  .meta({ id: 'CustomerExport' });

/**
 * Erases the personal data of a customer: the customer, its sessions, and the e-mail, names and addresses in its
 * orders, carts, places, labels and stored responses. Ids and amounts stay. A consumer deletes the files of its labels.
 * @throws ApiError not_found, conflict (an order or a place in a campaign is not finished)
 */
export async function eraseCustomer(context: Context, customerId: string): Promise<void> {
  // It reads the tenant's stored responses, so it may take longer than other calls.
  await runWrite(context, 'orders.erase_customer', { id: customerId }, 1_000);
}

type Page = { orders: OrderRow[]; customer: unknown; carts: unknown; places: unknown; waiting: unknown };

const pageSize = 100;

/**
 * Everything that is stored about a customer, as one JSON document that is streamed: it may have any number of orders.
 * @throws ApiError not_found
 */
export async function exportCustomer(context: Context, customerId: string): Promise<ReadableStream<Uint8Array>> {
  const readPage = async (before?: string) =>
    (await runWrite<Page>(context, 'orders.export_customer', { id: customerId, before, limit: pageSize })).answer;
  const encoder = new TextEncoder();
  const { orders: firstOrders, ...others } = await readPage();
  let orders = firstOrders;
  let text = `${JSON.stringify(others).slice(0, -1)},"orders":[`;
  let separator = '';
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        for (const row of orders) {
          const { payment, ...order } = toOrder(row);
          // A file that is passed on has no client secret with which somebody could pay.
          text += separator + JSON.stringify({ ...order, payment: payment && { ...payment, clientSecret: null } });
          separator = ',';
        }
        const last = orders.length === pageSize ? orders.at(-1)?.id : undefined;
        orders = last === undefined ? [] : (await readPage(last)).orders;
        if (last === undefined) text += ']}\n';
        controller.enqueue(encoder.encode(text));
        text = '';
        if (last === undefined) controller.close();
      },
    },
    { highWaterMark: 0 },
  );
}
