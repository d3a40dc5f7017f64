import { Hono } from 'hono';
import * as z from 'zod';
import { id, page, reference } from '../base/fields.ts';
import { event } from '../domain/events.ts';
import { exportFormat } from '../domain/exports/format.ts';
import { exportOrders } from '../domain/exports/orders.ts';
import { cancellation, newOrder, order, orderStatus } from '../domain/orders/order.ts';
import { addPayment, cancelOrder, listOrders, placeOrder, readHistory, readOrder } from '../domain/orders/orders.ts';
import type { AppEnv } from '../http/app-env.ts';
import { showDownload } from '../http/download.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { showResource } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { byId, bySequence, positionOf, showPage } from '../http/paging.ts';
import { listOf, sampleOrder, sampleOrderExport } from './examples.ts';

const params = z.object({ id });
const filter = {
  customerId: reference.optional(),
  status: orderStatus.optional(),
  organizationId: reference.optional(),
};

/** Orders: `/v1/orders`. */
export const orders = new Hono<AppEnv>();

orders.post(
  '/',
  operation({
    id: 'placeOrder',
    tag: 'Orders',
    summary: 'Place an order',
    description:
      'All or nothing: the order, the hold on every line and the events commit together or not at all. Without enough ' +
      'stock the order is kept as `failed` and holds nothing. With `Prefer: respond-async` the response is 202 at once, ' +
      'and a queue makes the hold: use it for flash sales. With `expand: ["payment"]` the same request opens the ' +
      'payment, so that `POST /v1/payments` is not needed. If Stripe is unavailable, the order is placed but the response ' +
      'is 503: repeat the request with the same `Idempotency-Key` to get the payment of this order. If Stripe rejects ' +
      'the payment permanently, the order becomes `failed` and the response is 409 `order_not_payable`.',
    scope: 'orders:write',
    idempotency: 'required',
    body: newOrder,
    example: { customerId: 'customer-1', items: [{ sku: 'TEE-BLACK-M', quantity: 2 }] },
    responses: {
      201: { description: 'The order; its units are held', schema: order, example: sampleOrder },
      202: { description: 'The accepted order (`Prefer: respond-async`); its units are not held yet', schema: order },
    },
    errors: ['insufficient_inventory', 'price_changed', 'unknown_sku', 'currency_mismatch', 'order_not_payable'],
  }),
  async (c) => {
    const isDeferred = /(^|,)\s*respond-async\s*(;|,|$)/i.test(c.req.header('prefer') ?? '');
    const { context } = c.var;
    const { order: recorded, tenant, replayed, opened } = await placeOrder(context, c.req.valid('json'), isDeferred);
    if (!isDeferred) {
      await invalidateProducts(
        c.var.context,
        tenant,
        recorded.items.map((line) => line.sku),
      );
    }
    const placed = opened ? await addPayment(context, tenant, recorded, opened, replayed) : recorded;
    // A repeated request gets the status of the first response, whatever its own `Prefer` says: only a deferred order
    // has no hold yet.
    const isAccepted = placed.reservation === null;
    if (isAccepted) c.header('Preference-Applied', 'respond-async');
    c.header('Location', `/v1/orders/${placed.id}`);
    return showResource(c, placed, { status: isAccepted ? 202 : 201, replayed });
  },
);

orders.get(
  '/',
  operation({
    id: 'listOrders',
    tag: 'Orders',
    summary: 'List orders, newest first',
    description: 'A customer’s session lists the orders of that customer only; another `customerId` is `forbidden`.',
    scope: 'orders:read',
    shoppers: ['session'],
    query: z.object({ ...page, ...filter }),
    responses: { 200: { description: 'One page', schema: listOf(order) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, ...chosen } = c.req.valid('query');
    const rows = await listOrders(c.var.context, chosen, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

orders.get(
  '/export',
  operation({
    id: 'exportOrders',
    tag: 'Orders',
    summary: 'Download all orders as CSV or NDJSON, newest first',
    description:
      'Streamed: of any length. CSV has one line for each line of an order. An apostrophe stands before text that a ' +
      'spreadsheet would take for a formula. If the connection breaks off, the file is not complete: download it again.',
    scope: 'orders:read',
    query: z.object({ format: exportFormat, ...filter }),
    responses: { 200: { description: 'The file', ...sampleOrderExport } },
    errors: [],
  }),
  async (c) => {
    const { format, ...chosen } = c.req.valid('query');
    const file = await exportOrders(c.var.context, format, chosen);
    return showDownload(c, file);
  },
);

orders.get(
  '/:id',
  operation({
    id: 'getOrder',
    tag: 'Orders',
    summary: 'Read an order',
    scope: 'orders:read',
    shoppers: ['publishable', 'session'],
    params,
    responses: { 200: { description: 'The order', schema: order, example: sampleOrder } },
    errors: ['not_found'],
  }),
  async (c) => showResource(c, await readOrder(c.var.context, c.req.valid('param').id)),
);

orders.get(
  '/:id/events',
  operation({
    id: 'listOrderEvents',
    tag: 'Orders',
    summary: "Read an order's history, oldest event first",
    scope: 'orders:read',
    shoppers: ['publishable', 'session'],
    params,
    query: z.object(page),
    responses: { 200: { description: 'One page of its events', schema: listOf(event) } },
    errors: ['not_found', 'invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const position = positionOf(c, cursor, bySequence);
    const rows = await readHistory(c.var.context, c.req.valid('param').id, position, limit + 1);
    return showPage(c, { rows, limit, position: (row) => String(row.seq), show: (row) => row.event });
  },
);

orders.post(
  '/:id/cancel',
  operation({
    id: 'cancelOrder',
    tag: 'Orders',
    summary: 'Cancel an order that has not been shipped',
    description:
      'The units go back into stock in the same transaction. If the label exists, the parcel may be packed already: the ' +
      'shipment is cancelled, the label is voided, and the units go back only with `restock: true`, which a later request ' +
      'may send too. Cancelling again returns the same response. A customer’s session cancels an order of that customer ' +
      'while it is `created`, and cannot send `restock`.',
    scope: 'orders:write',
    shoppers: ['session'],
    idempotency: 'optional',
    params,
    body: cancellation,
    example: { reason: 'changed my mind' },
    responses: { 200: { description: 'The cancelled order', schema: order } },
    errors: ['not_found', 'order_not_cancellable'],
  }),
  async (c) => {
    const { id: orderId } = c.req.valid('param');
    const { order: cancelled, skus, tenant, replayed } = await cancelOrder(c.var.context, orderId, c.req.valid('json'));
    await invalidateProducts(c.var.context, tenant, skus);
    return showResource(c, cancelled, { replayed });
  },
);
