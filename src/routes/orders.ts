import * as z from 'zod';
import { id, page, reference } from '../base/fields.ts';
import { event } from '../domain/events.ts';
import {
  cancellation,
  cancelOrder,
  listOrders,
  newOrder,
  order,
  orderStatus,
  placeOrder,
  readHistory,
  readOrder,
} from '../domain/orders.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { byId, bySequence, pageOf, positionOf } from '../http/paging.ts';
import { route } from '../http/route.ts';
import { listOf, sampleOrder } from './examples.ts';

const params = z.object({ id });

export const orderRoutes = [
  route({
    id: 'placeOrder',
    method: 'post',
    path: '/v1/orders',
    tag: 'Orders',
    summary: 'Place an order',
    description:
      'All or nothing: the order, the hold on every line and the events commit together or not at all. With too little ' +
      'stock the order is kept as `failed` and holds nothing. `Prefer: respond-async` answers 202 at once and leaves the ' +
      'hold to the queue, for flash sales.',
    scope: 'orders:write',
    idempotency: 'required',
    body: newOrder,
    example: { customerId: 'customer-1', items: [{ sku: 'TEE-BLACK-M', quantity: 2 }] },
    answers: {
      201: { description: 'Placed; its stock is held', schema: order, example: sampleOrder },
      202: { description: 'Accepted (`Prefer: respond-async`); the hold is still to be made', schema: order },
    },
    errors: ['insufficient_inventory', 'price_changed', 'unknown_sku', 'currency_mismatch'],
    async run({ body, context, http }) {
      const deferred = /(^|,)\s*respond-async\s*(;|,|$)/i.test(http.req.header('prefer') ?? '');
      const placed = await placeOrder(context, body, deferred);
      if (!deferred) {
        await invalidateProducts(
          placed.tenant,
          placed.order.items.map((line) => line.sku),
        );
      }
      const { tenant, replayed } = placed;
      // Of the first answer to this key, whatever the repetition prefers: only a deferred order has no hold yet.
      const accepted = placed.order.reservation === null;
      return {
        status: accepted ? 202 : 201,
        body: placed.order,
        resource: true,
        tenant,
        replayed,
        headers: {
          Location: `/v1/orders/${placed.order.id}`,
          ...(accepted ? { 'Preference-Applied': 'respond-async' } : {}),
        },
      };
    },
  }),
  route({
    id: 'listOrders',
    method: 'get',
    path: '/v1/orders',
    tag: 'Orders',
    summary: 'List orders, newest first',
    scope: 'orders:read',
    query: z.object({
      ...page,
      customerId: reference.optional(),
      status: orderStatus.optional(),
      organizationId: reference.optional(),
    }),
    answers: { 200: { description: 'A page', schema: listOf(order) } },
    errors: ['invalid_cursor'],
    async run({ query: { limit, cursor, ...filter }, context, http }) {
      const rows = await listOrders(context, filter, positionOf(http, cursor, byId), limit + 1);
      return pageOf(http, rows, limit, (row) => row.id);
    },
  }),
  route({
    id: 'getOrder',
    method: 'get',
    path: '/v1/orders/{id}',
    tag: 'Orders',
    summary: 'Read an order',
    scope: 'orders:read',
    params,
    answers: { 200: { description: 'The order', schema: order, example: sampleOrder } },
    errors: ['not_found'],
    run: async ({ params: { id: orderId }, context }) => ({
      status: 200,
      body: await readOrder(context, orderId),
      resource: true,
    }),
  }),
  route({
    id: 'listOrderEvents',
    method: 'get',
    path: '/v1/orders/{id}/events',
    tag: 'Orders',
    summary: "Read an order's history, oldest event first",
    scope: 'orders:read',
    params,
    query: z.object(page),
    answers: { 200: { description: 'A page of its events', schema: listOf(event) } },
    errors: ['not_found', 'invalid_cursor'],
    async run({ params: { id: orderId }, query: { limit, cursor }, context, http }) {
      const position = positionOf(http, cursor, bySequence);
      const rows = await readHistory(context, orderId, position, limit + 1);
      const { rows: shown, ...answer } = pageOf(http, rows, limit, (row) => String(row.seq));
      return { ...answer, body: { ...(answer.body as object), data: shown.map((row) => row.event) } };
    },
  }),
  route({
    id: 'cancelOrder',
    method: 'post',
    path: '/v1/orders/{id}/cancel',
    tag: 'Orders',
    summary: 'Cancel an order that has not been shipped',
    description:
      'Its units go back into stock in the same transaction. Once its label is made the parcel may be packed: then the ' +
      'shipment is cancelled, the label is voided, and the units go back only with `restock: true`, also in a later ' +
      'request. Cancelling it again gives the same answer.',
    scope: 'orders:write',
    idempotency: 'taken',
    params,
    body: cancellation,
    example: { reason: 'changed my mind' },
    answers: { 200: { description: 'The cancelled order', schema: order } },
    errors: ['not_found', 'order_not_cancellable'],
    async run({ params: { id: orderId }, body, context }) {
      const { order: cancelled, skus, tenant, replayed } = await cancelOrder(context, orderId, body);
      await invalidateProducts(tenant, skus);
      return { status: 200, body: cancelled, resource: true, tenant, replayed };
    },
  }),
];
