import { Hono } from 'hono';
import * as z from 'zod';
import { id } from '../base/fields.ts';
import { newLineRefund, refundOrder } from '../domain/orders/refunds.ts';
import {
  cancelReturn,
  listReturns,
  newReturn,
  orderReturn,
  readReturn,
  receipt,
  receiveReturn,
  requestReturn,
} from '../domain/orders/returns.ts';
import { refund } from '../domain/payments.ts';
import type { AppEnv } from '../http/app-env.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { showResource } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { showResult } from '../http/result.ts';
import { listOf, sampleLineRefund, sampleReturn } from './examples.ts';

const cancelledSample = { ...sampleReturn, status: 'cancelled' };
const params = z.object({ id });

/** Refunds and returns of an order: `/v1/orders/{id}/refunds`, `/v1/orders/{id}/returns`. */
export const orderRefunds = new Hono<AppEnv>();

orderRefunds.post(
  '/:id/refunds',
  operation({
    id: 'refundOrder',
    tag: 'Orders',
    summary: 'Refund units of an order',
    description:
      'The amount follows from what was paid: the first k of the n units of a line are worth round(its `total` × k ÷ n), ' +
      'and a refund is the difference of two such sums. So every split adds up to the `total`, and a refund of one line ' +
      'does not change what another line is worth. Units that were refunded before they were shipped are not shipped. ' +
      'A unit goes back into stock once. If the refund fails at the bank, its units count as not refunded again, and ' +
      'restocked units are taken from the stock again; if they were sold meanwhile, the units stay as they are, and the ' +
      'money can be refunded with `POST /v1/payments/{id}/refunds`. Refunds of amounts and refunds made at Stripe count ' +
      'too: together they never exceed the payment.',
    scope: 'payments:write',
    idempotency: 'required',
    params,
    body: newLineRefund,
    example: { items: [{ lineId: '1', quantity: 1 }], reason: 'one shirt was torn' },
    responses: { 201: { description: 'The refund', schema: refund, example: sampleLineRefund } },
    errors: ['not_found', 'refund_exceeds_payment'],
  }),
  async (c) => {
    const { id: orderId } = c.req.valid('param');
    const { refund: made, skus, tenant, replayed } = await refundOrder(c.var.context, orderId, c.req.valid('json'));
    await invalidateProducts(c.var.context, tenant, skus);
    return showResult(c, made, { status: 201, replayed });
  },
);

orderRefunds.post(
  '/:id/returns',
  operation({
    id: 'requestReturn',
    tag: 'Returns',
    summary: 'Request a return of units of an order',
    description:
      'For units of a `confirmed`, `shipped` or `delivered` order that are not refunded. An open return reserves its units: ' +
      'no other return and no refund can take them.',
    scope: 'orders:write',
    idempotency: 'optional',
    params,
    body: newReturn,
    example: { items: [{ lineId: '1', quantity: 1 }], reason: 'too small' },
    responses: { 201: { description: 'The return', schema: orderReturn, example: sampleReturn } },
    errors: ['not_found', 'conflict', 'refund_exceeds_payment'],
  }),
  async (c) => {
    const { made, replayed } = await requestReturn(c.var.context, c.req.valid('param').id, c.req.valid('json'));
    c.header('Location', `/v1/returns/${made.id}`);
    return showResource(c, made, { status: 201, replayed });
  },
);

orderRefunds.get(
  '/:id/returns',
  operation({
    id: 'listReturns',
    tag: 'Returns',
    summary: "List an order's returns, newest first",
    description: 'All returns on one page.',
    scope: 'orders:read',
    params,
    responses: { 200: { description: 'Its returns', schema: listOf(orderReturn) } },
    errors: ['not_found'],
  }),
  async (c) => {
    const data = await listReturns(c.var.context, c.req.valid('param').id);
    return c.json({ data, nextCursor: null });
  },
);

/** Returns: `/v1/returns`. */
export const returns = new Hono<AppEnv>();

returns.get(
  '/:id',
  operation({
    id: 'getReturn',
    tag: 'Returns',
    summary: 'Read a return',
    scope: 'orders:read',
    params,
    responses: { 200: { description: 'The return', schema: orderReturn, example: sampleReturn } },
    errors: ['not_found'],
  }),
  async (c) => showResource(c, await readReturn(c.var.context, c.req.valid('param').id)),
);

returns.post(
  '/:id/receive',
  operation({
    id: 'receiveReturn',
    tag: 'Returns',
    summary: 'Receive a return and refund it',
    description:
      'The units that came go back into stock, unless their line says otherwise, and are refunded as ' +
      '`POST /v1/orders/{id}/refunds` does, in the same transaction. Units that did not come are no longer reserved. The return ' +
      'is `received` until its refund has succeeded, then `refunded`. If the refund fails, a request without `items` ' +
      'refunds the same amount again.',
    scope: 'payments:write',
    idempotency: 'required',
    params,
    body: receipt,
    example: {},
    responses: { 200: { description: 'The return', schema: orderReturn, example: sampleReturn } },
    errors: ['not_found', 'conflict', 'refund_exceeds_payment'],
  }),
  async (c) => {
    const { id: returnId } = c.req.valid('param');
    const { received, skus, tenant, replayed } = await receiveReturn(c.var.context, returnId, c.req.valid('json'));
    await invalidateProducts(c.var.context, tenant, skus);
    return showResource(c, received, { replayed });
  },
);

returns.post(
  '/:id/cancel',
  operation({
    id: 'cancelReturn',
    tag: 'Returns',
    summary: 'Cancel a return that was not received',
    description: 'Its units are no longer reserved. Cancelling again returns the same response.',
    scope: 'orders:write',
    idempotency: 'optional',
    params,
    responses: { 200: { description: 'The cancelled return', schema: orderReturn, example: cancelledSample } },
    errors: ['not_found', 'conflict'],
  }),
  async (c) => {
    const { cancelled, replayed } = await cancelReturn(c.var.context, c.req.valid('param').id);
    return showResource(c, cancelled, { replayed });
  },
);
