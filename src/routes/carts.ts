import { Hono } from 'hono';
import * as z from 'zod';
import { id, sku } from '../base/fields.ts';
import { cart, cartChange, checkout, createdCart, itemQuantity, newCart } from '../domain/carts/cart.ts';
import { cancelCart, createCart, readCart, setItem, updateCart, type VersionedCart } from '../domain/carts/carts.ts';
import { checkoutCart, payForCart, reopenCart } from '../domain/carts/checkout.ts';
import { order } from '../domain/orders/order.ts';
import { payment } from '../domain/payments.ts';
import type { AppEnv, HttpContext } from '../http/app-env.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { showResult } from '../http/result.ts';
import { sampleCart, sampleCheckout } from './cart-examples.ts';

const params = z.object({ id });
const itemParams = z.object({ id, sku });
const shoppers = ['publishable', 'session'] as const;
const shown = { 200: { description: 'The cart', schema: cart, example: sampleCart } };

const show = (c: HttpContext, { cart: resource, ...answer }: VersionedCart) => showResource(c, resource, answer);

/** Carts: `/v1/carts`. */
export const carts = new Hono<AppEnv>();

carts.post(
  '/',
  operation({
    id: 'createCart',
    tag: 'Carts',
    summary: 'Create a cart',
    description:
      'The response has the cart’s `token`, once. Whoever sends it as `Cart-Token` with a publishable key may read, ' +
      'change and order the cart. A cart holds no stock and stores no prices: every response computes them. With a ' +
      'customer session the cart belongs to the customer. A publishable key without a session cannot tell two shoppers ' +
      'apart, so its `Idempotency-Key` is not used and each request makes a cart.',
    scope: 'orders:write',
    shoppers,
    idempotency: 'optional',
    body: newCart,
    example: { currency: 'USD', items: [{ sku: 'TEE-BLACK-M', quantity: 2 }] },
    responses: {
      201: {
        description: 'The cart',
        schema: createdCart,
        example: { ...sampleCart, token: 'ct_5Jb2yq8ZrW0kXuV3nT7mLd1cQe9hGf4A' },
      },
    },
    errors: [],
  }),
  async (c) => {
    const { cart: created, version, replayed } = await createCart(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/carts/${created.id}`);
    return showResource(c, created, { status: 201, version, replayed });
  },
);

carts.get(
  '/:id',
  operation({
    id: 'getCart',
    tag: 'Carts',
    summary: 'Read a cart',
    description:
      'Prices, discounts, shipping options, taxes and availability are computed for each response. `messages` says what is ' +
      'missing or wrong, and where. Until Stripe Tax has answered, `tax` is null, with the message ' +
      '`tax_not_calculated`. The cart of another shopper, or a wrong `Cart-Token`, is 404.',
    scope: 'orders:read',
    shoppers,
    params,
    responses: shown,
    errors: ['not_found'],
  }),
  async (c) => show(c, await readCart(c.var.context, c.req.valid('param').id)),
);

carts.patch(
  '/:id',
  operation({
    id: 'updateCart',
    tag: 'Carts',
    summary: 'Change a cart',
    description:
      '`items` replaces all of them. null clears a field. A discount code that is not valid now stays, with a warning in ' +
      '`messages`; an address that sends many of them is limited. With a customer session and the `Cart-Token` of a cart that has no customer, the cart becomes the ' +
      'customer’s.',
    scope: 'orders:write',
    shoppers,
    counted: 'rejected',
    ifMatch: true,
    params,
    body: cartChange,
    example: { email: 'ada@example.com', discountCodes: ['SPRING'] },
    responses: shown,
    errors: ['not_found', 'version_mismatch', 'cart_not_open'],
  }),
  async (c) => {
    const versions = versionsIn(c.req.header('if-match'));
    const change = c.req.valid('json');
    const changed = await updateCart(c.var.context, c.req.valid('param').id, change, versions);
    const isWrong = changed.cart.messages.some(({ code }) => code === 'discount_invalid');
    if (c.var.context.call.shopper && change.discountCodes && isWrong) c.set('isWrongGuess', true);
    return show(c, changed);
  },
);

carts.put(
  '/:id/items/:sku',
  operation({
    id: 'setCartItem',
    tag: 'Carts',
    summary: 'Set how many units of a SKU are in a cart',
    scope: 'orders:write',
    shoppers,
    ifMatch: true,
    params: itemParams,
    body: itemQuantity,
    example: { quantity: 2 },
    responses: shown,
    errors: ['not_found', 'version_mismatch', 'cart_not_open'],
  }),
  async (c) => {
    const { id: cartId, sku: itemSku } = c.req.valid('param');
    const versions = versionsIn(c.req.header('if-match'));
    return show(c, await setItem(c.var.context, cartId, itemSku, c.req.valid('json').quantity, versions));
  },
);

carts.delete(
  '/:id/items/:sku',
  operation({
    id: 'removeCartItem',
    tag: 'Carts',
    summary: 'Remove a SKU from a cart',
    description: 'If the SKU is not in the cart, the response is the unchanged cart.',
    scope: 'orders:write',
    shoppers,
    ifMatch: true,
    params: itemParams,
    responses: shown,
    errors: ['not_found', 'version_mismatch', 'cart_not_open'],
  }),
  async (c) => {
    const { id: cartId, sku: itemSku } = c.req.valid('param');
    return show(c, await setItem(c.var.context, cartId, itemSku, 0, versionsIn(c.req.header('if-match'))));
  },
);

carts.post(
  '/:id/checkout',
  operation({
    id: 'checkoutCart',
    tag: 'Carts',
    summary: 'Order a cart',
    description:
      'Prices, discounts, tax, shipping, stock, the order and its events are one transaction, and then Stripe makes the ' +
      'payment: confirm it in the browser with its `clientSecret`. If there is nothing to pay, `payment` is null. If the ' +
      'total is not `expectedTotal` any more, the error has the new `cart`; `messages` of `cart_incomplete` says what is ' +
      'missing; without enough stock the error has the `shortages`. Each of these errors orders nothing, and none is ' +
      'stored under the `Idempotency-Key`. If Stripe is unavailable, the order is made but the response is 503: repeat ' +
      'the request with the same `Idempotency-Key` to get the payment of this order. A shop with Stripe Tax may need the ' +
      'tax from Stripe first: if Stripe does not answer then, nothing is ordered. If Stripe rejects the payment ' +
      'permanently, the order becomes `failed`, the cart is open again, and the response is 409 `order_not_payable`.',
    scope: 'orders:write',
    shoppers,
    idempotency: 'required',
    params,
    body: checkout,
    example: { expectedTotal: 59.98 },
    responses: {
      201: {
        description: 'The order and its payment',
        schema: z.object({ order, payment: payment.nullable() }).meta({ id: 'Checkout' }),
        example: sampleCheckout,
      },
    },
    errors: [
      ...(['not_found', 'cart_not_open', 'cart_incomplete', 'price_changed'] as const),
      ...(['insufficient_inventory', 'order_not_payable'] as const),
    ],
  }),
  async (c) => {
    const { context } = c.var;
    const placed = await checkoutCart(context, c.req.valid('param').id, c.req.valid('json'));
    const skus = placed.order.items.map((line) => line.sku);
    await invalidateProducts(context, placed.tenant, skus);
    const result = await payForCart(context, placed);
    c.header('Location', `/v1/orders/${placed.order.id}`);
    return showResult(c, result, { status: 201, replayed: placed.replayed });
  },
);

carts.post(
  '/:id/reopen',
  operation({
    id: 'reopenCart',
    tag: 'Carts',
    summary: 'Cancel the unpaid order of a cart and open the cart again',
    description: 'Reopening an open cart returns it. If its order was paid: 409 `cart_not_open`.',
    scope: 'orders:write',
    shoppers,
    idempotency: 'optional',
    params,
    responses: shown,
    errors: ['not_found', 'cart_not_open'],
  }),
  async (c) => {
    const { tenant, skus, ...reopened } = await reopenCart(c.var.context, c.req.valid('param').id);
    await invalidateProducts(c.var.context, tenant, skus);
    return show(c, reopened);
  },
);

carts.post(
  '/:id/cancel',
  operation({
    id: 'cancelCart',
    tag: 'Carts',
    summary: 'End an open cart',
    description:
      'Cancelling again returns the same response. A cart with an order: 409 `cart_not_open`, reopen it first.',
    scope: 'orders:write',
    shoppers,
    idempotency: 'optional',
    params,
    responses: shown,
    errors: ['not_found', 'cart_not_open'],
  }),
  async (c) => show(c, await cancelCart(c.var.context, c.req.valid('param').id)),
);
