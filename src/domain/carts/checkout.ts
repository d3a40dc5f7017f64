import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import type { WriteResult } from '../../db/client.ts';
import type { CartRow } from '../../db/orders/carts/row.ts';
import type { OrderRow } from '../../db/orders/queries.ts';
import { makeIntent } from '../intents.ts';
import { toOrder } from '../orders/order.ts';
import { toPayment } from '../payments.ts';
import { type ErrorResult, runWrite, toApiError } from '../refusals.ts';
import { runWithTax } from '../tax/provider.ts';
import { toCart } from './cart.ts';
import { cartSecondsOf, withTax } from './carts.ts';

/** The total has changed: the error has the cart as the API shows it. */
const isPriceChange = (answer: object): answer is ErrorResult & { cart: CartRow } =>
  'error' in answer && answer.error === 'price_changed';

/**
 * Makes the order of a cart in one call: prices, discounts, tax, shipping, stock, the order, its payment and the events
 * commit together or not at all. If a tax provider has not computed the tax of the cart as it is now, there are two
 * calls, with a request to the provider between them. The database computes the total under the cart's lock and
 * compares it with `expectedTotal`. An error stores nothing.
 * @throws ApiError not_found, cart_not_open (field orderId), cart_incomplete (field messages), price_changed (field
 * cart), insufficient_inventory (field shortages), unavailable (the tax provider does not answer)
 */
export async function checkoutCart(context: Context, cartId: string, { expectedTotal }: { expectedTotal: number }) {
  const input = {
    ...{ id: cartId, expectedTotal, ...cartSecondsOf(context) },
    ...{ orderId: newId(context.now()), paymentId: newId(context.now()) },
    holdSeconds: context.settings.RESERVATION_TTL_SECONDS,
  };
  const { tenant, answer, replayed } = await runWithTax<WriteResult<OrderRow | ErrorResult>>(
    { ...context, call: { ...context.call, vouched: true } },
    'orders.checkout_cart',
    input,
  );
  if (isPriceChange(answer)) throw toApiError({ ...answer, cart: toCart(answer.cart) }, replayed);
  if ('error' in answer) throw toApiError(answer, replayed);
  return { order: toOrder(answer), opened: answer.payment, tenant, replayed };
}

/**
 * Makes the PaymentIntent of a cart's order. The order stands if Stripe is unavailable, and the same key continues.
 * @throws ApiError order_not_payable (Stripe will never accept the payment, so the order has failed), unavailable
 */
export async function payForCart(
  context: Context,
  { order, opened, tenant, replayed }: Awaited<ReturnType<typeof checkoutCart>>,
) {
  const payment = opened && toPayment(await makeIntent(context, tenant, opened, replayed));
  return { order: { ...order, payment }, payment };
}

/**
 * Cancels the unpaid order of a cart and opens the cart again. An open cart stays as it is.
 * @returns the SKUs that went back into stock, too
 * @throws ApiError not_found, cart_not_open (it was paid, or it has ended; field orderId)
 */
export async function reopenCart(context: Context, id: string) {
  const { tenant, answer, replayed } = await runWrite<CartRow & { freed: string[] }>(context, 'orders.reopen_cart', {
    ...{ id, ...cartSecondsOf(context) },
  });
  const row = replayed ? answer : await withTax(context, answer, false);
  return { cart: toCart(row), version: row.version, skus: answer.freed, tenant, replayed };
}
