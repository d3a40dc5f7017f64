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
    summary: "Create an order's payment, which the buyer confirms",
    description:
      'An order has one live payment: every request returns the same one. The buyer confirms it with `clientSecret` and ' +
      'Stripe.js. After a declined card the buyer may try another until the order’s hold expires.',
    scope: 'payments:write',
    shoppers: ['publishable', 'session'],
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
    shoppers: ['publishable', 'session'],
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
    summary: 'Refund a payment, in full or in part',
    description:
      'The refund is recorded at once and sent to Stripe a moment later: `pending`, then `succeeded` or `failed`. Refunds ' +
      'never exceed the captured amount, even if many are requested at once.',
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
    const { refund: requested, replayed } = await requestRefund(c.var.context, paymentId, c.req.valid('json'));
    return showResult(c, requested, { status: 201, replayed });
  },
);

payments.get(
  '/:id/refunds',
  operation({
    id: 'listRefunds',
    tag: 'Payments',
    summary: "List a payment's refunds, newest first",
    description: 'All refunds on one page, including those made in Stripe’s Dashboard.',
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
