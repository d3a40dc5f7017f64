import { Hono } from 'hono';
import * as z from 'zod';
import { id } from '../base/fields.ts';
import {
  listRefunds,
  newPayment,
  newRefund,
  openPayment,
  payment,
  readPayment,
  refund,
  requestRefund,
} from '../domain/payments.ts';
import type { AppEnv } from '../http/app-env.ts';
import { showResource } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { showResult } from '../http/result.ts';
import { listOf, samplePayment, sampleRefund } from './examples.ts';

const params = z.object({ id });

/** Payments and refunds: `/v1/payments`. */
export const payments = new Hono<AppEnv>();

payments.post(
  '/',
  operation({
    id: 'createPayment',
    tag: 'Payments',
    summary: "Get an order's payment, to be confirmed by the buyer",
    description:
      'One live payment an order: the same one however often it is asked for. The buyer confirms it with `clientSecret` ' +
      'and Stripe.js. A declined card is not the end: another may follow until the order’s hold runs out.',
    scope: 'payments:write',
    idempotency: 'required',
    body: newPayment,
    example: { orderId: '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f' },
    responses: { 201: { description: 'The payment', schema: payment, example: samplePayment } },
    errors: ['order_not_payable'],
  }),
  async (c) => {
    const { payment: opened, replayed } = await openPayment(c.var.context, c.req.valid('json').orderId);
    c.header('Location', `/v1/payments/${opened.id}`);
    return showResource(c, opened, { status: 201, replayed });
  },
);

payments.get(
  '/:id',
  operation({
    id: 'getPayment',
    tag: 'Payments',
    summary: 'Read a payment',
    scope: 'payments:read',
    params,
    responses: { 200: { description: 'The payment', schema: payment, example: samplePayment } },
    errors: ['not_found'],
  }),
  async (c) => showResource(c, await readPayment(c.var.context, c.req.valid('param').id)),
);

payments.post(
  '/:id/refunds',
  operation({
    id: 'createRefund',
    tag: 'Payments',
    summary: 'Give money back, all of it or a part',
    description:
      'Promised at once and paid by Stripe a moment later: `pending`, then `succeeded` or `failed`. Never more than was ' +
      'captured, however many are asked for at once.',
    scope: 'payments:write',
    idempotency: 'required',
    params,
    body: newRefund,
    example: { amount: 10, reason: 'one shirt was torn' },
    responses: { 201: { description: 'The refund', schema: refund, example: sampleRefund } },
    errors: ['not_found', 'refund_exceeds_payment'],
  }),
  async (c) => {
    const { id: paymentId } = c.req.valid('param');
    const { refund: promised, replayed } = await requestRefund(c.var.context, paymentId, c.req.valid('json'));
    return showResult(c, promised, { status: 201, replayed });
  },
);

payments.get(
  '/:id/refunds',
  operation({
    id: 'listRefunds',
    tag: 'Payments',
    summary: "List a payment's refunds, newest first",
    description: 'All of them on one page. Those that were made by hand at Stripe are among them.',
    scope: 'payments:read',
    params,
    responses: { 200: { description: 'Its refunds', schema: listOf(refund) } },
    errors: ['not_found'],
  }),
  async (c) => {
    const data = await listRefunds(c.var.context, c.req.valid('param').id);
    return c.json({ data, nextCursor: null });
  },
);
