import type * as z from 'zod';
import type { Budget } from '../../base/budget.ts';
import { ApiError } from '../../base/errors.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import { type OrderFilter, type OrderRow, orderById, orderPage } from '../../db/orders/queries.ts';
import { type EventRow, orderHistory } from '../../db/platform/events.ts';
import { readAsShopper } from '../customers/shoppers.ts';
import { toEvent } from '../events.ts';
import { makeIntent, type OpenedPayment } from '../intents.ts';
import { toPayment } from '../payments.ts';
import { type ErrorResult, toApiError } from '../refusals.ts';
import { runWithTax } from '../tax/provider.ts';
import { type cancellation, type newOrder, type Order, toOrder } from './order.ts';

type WriteResult = { tenant: string; answer: OrderRow | ErrorResult; replayed: boolean };

/**
 * Places an order in one call: the order, the hold on every line and the events commit together or not at all. If two
 * buyers order the last unit, one gets it: a conditional update takes the stock under the row's lock. With `deferred`
 * the consumer of order.created makes the hold.
 * @throws ApiError insufficient_inventory (the order is stored as failed and holds nothing; fields orderId, shortages),
 * unknown_sku, price_changed, currency_mismatch, validation_failed (a total that Stripe cannot charge, too many
 * decimals; `expand` with `deferred`), unavailable (the tax provider does not answer)
 */
export async function placeOrder(context: Context, input: z.infer<typeof newOrder>, deferred: boolean) {
  const { expand, ...fields } = input;
  const opensPayment = expand?.includes('payment') ?? false;
  if (opensPayment && deferred) {
    const faults = [
      {
        pointer: '/expand',
        detail: 'Not possible with `Prefer: respond-async`: a payment needs a hold. Leave out one.',
      },
    ];
    throw new ApiError('validation_failed', undefined, { faults });
  }
  const order = {
    ...fields,
    ...(opensPayment && { paymentId: newId(context.now()) }),
    id: newId(context.now()),
    holdSeconds: context.settings.RESERVATION_TTL_SECONDS,
    async: deferred,
  };
  const { tenant, answer, replayed } = await runWithTax<WriteResult>(
    context,
    'orders.place_order',
    order,
    input.items.length,
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  return { order: toOrder(answer), tenant, replayed, opened: opensPayment ? answer.payment : null };
}

/**
 * Adds the payment that was opened with the order: makes its PaymentIntent at Stripe. The order stands if Stripe fails.
 * @throws ApiError order_not_payable (Stripe will never accept the payment, so the order has failed), unavailable
 * (repeat with the same Idempotency-Key)
 */
export async function addPayment(
  context: Context,
  tenant: string,
  placed: Order,
  opened: OpenedPayment,
  replayed: boolean,
) {
  return { ...placed, payment: toPayment(await makeIntent(context, tenant, opened, replayed)) };
}

/**
 * Cancels an order that has not been shipped, with its payment and its shipment. The label is voided at the carrier
 * later. The units go back into stock in the same transaction; if a label was made, only with `restock`. If the order
 * is cancelled already, returns the same result, and `restock` puts back units that are still missing.
 * @throws ApiError not_found, order_not_cancellable
 */
export async function cancelOrder(context: Context, orderId: string, input: z.infer<typeof cancellation>) {
  const { tenant, answer, replayed } = await context.db.run<WriteResult>('orders.cancel_order', context.call, {
    ...input,
    id: orderId,
  });
  if ('error' in answer) throw toApiError(answer, replayed);
  return { order: toOrder(answer), skus: answer.items.map((line) => line.sku), tenant, replayed };
}

type HistoryRow = { event: EventRow; seq: number };

const orderNotFound =
  'There is no such order, or it is not yours. A campaign order exists once the campaign has succeeded.';

/** @throws ApiError not_found */
export async function readOrder(context: Context, orderId: string): Promise<Order> {
  if (context.call.shopper)
    return toOrder(await readAsShopper<OrderRow>(context, 'orders.show_order', { id: orderId }));
  const { rows } = await context.db.read(context.call, 'orders:read', (db) => orderById(db, orderId));
  if (!rows[0]) throw new ApiError('not_found', orderNotFound);
  return toOrder(rows[0].order);
}

/**
 * Orders, newest first. A session lists its customer's orders.
 * @throws ApiError forbidden, if a session asks for another customer's orders
 */
export async function listOrders(context: Context, filter: OrderFilter, before: string | undefined, limit: number) {
  if (context.call.shopper) {
    const own = await readAsShopper<OrderRow[]>(context, 'orders.show_orders', { ...filter, before, limit });
    return own.map(toOrder);
  }
  const { rows } = await context.db.read(context.call, 'orders:read', (db) => orderPage(db, filter, before, limit));
  return rows.map((row) => toOrder(row.order));
}

/**
 * The events of an order, oldest first. Every order has an order.created, so an empty first page means that the order
 * does not exist.
 * @throws ApiError not_found
 */
export async function readHistory(context: Context, orderId: string, after: number | undefined, limit: number) {
  const { rows } = context.call.shopper
    ? { rows: await readAsShopper<HistoryRow[]>(context, 'orders.show_history', { id: orderId, after, limit }) }
    : await context.db.read(context.call, 'orders:read', (db) => orderHistory(db, orderId, after, limit));
  if (rows.length === 0 && after === undefined) throw new ApiError('not_found');
  return rows.map((row) => ({ event: toEvent(row.event), seq: row.seq }));
}

/** Fails the orders for which there was not enough stock, once for each event id. */
export async function failShortOrders(
  context: Context,
  tenant: string,
  messages: { eventId: string; orderId: string; traceparent?: string | undefined }[],
): Promise<void> {
  await context.db.run('orders.fail_short_orders', context.call, { tenant, messages });
}

/**
 * Ends expired holds: the stock goes back and the order fails (`reservation_expired`). Each batch of 200 is one
 * transaction, so an interruption leaves nothing half done.
 * @returns the number of orders that failed, and the SKUs by tenant whose stock has changed
 */
export async function expireHolds(context: Context, budget: Budget) {
  let total = 0;
  const changed: { tenant: string; skus: string[] }[] = [];
  while (budget.spend()) {
    const { expired, tenants } = await context.db.run<{ expired: number; tenants: typeof changed }>(
      'orders.expire_holds',
      context.call,
      { limit: 200 },
    );
    total += expired;
    changed.push(...tenants);
    if (expired === 0) break;
  }
  return { expired: total, changed };
}
