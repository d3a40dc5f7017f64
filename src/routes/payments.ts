import * as z from 'zod';
import { readOnce } from '../base/body.ts';
import { id } from '../base/fields.ts';
import {
  applyStripeUpdate,
  listRefunds,
  newPayment,
  newRefund,
  openPayment,
  payment,
  readPayment,
  refund,
  requestRefund,
} from '../domain/payments.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { route } from '../http/route.ts';
import { readWebhook } from '../stripe/webhook.ts';
import { listOf, samplePayment, sampleRefund } from './examples.ts';

const params = z.object({ id });

export const paymentRoutes = [
  route({
    id: 'createPayment',
    method: 'post',
    path: '/v1/payments',
    tag: 'Payments',
    summary: "Get an order's payment, to be confirmed by the buyer",
    description:
      'One live payment an order: the same one however often it is asked for. The buyer confirms it with `clientSecret` ' +
      'and Stripe.js. A declined card is not the end: another may follow until the order’s hold runs out.',
    scope: 'payments:write',
    idempotency: 'required',
    body: newPayment,
    example: { orderId: '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f' },
    answers: { 201: { description: 'The payment', schema: payment, example: samplePayment } },
    errors: ['order_not_payable'],
    async run({ body, context }) {
      const { payment: opened, tenant, replayed } = await openPayment(context, body.orderId);
      const headers = { Location: `/v1/payments/${opened.id}` };
      return { status: 201, body: opened, resource: true, tenant, replayed, headers };
    },
  }),
  route({
    id: 'getPayment',
    method: 'get',
    path: '/v1/payments/{id}',
    tag: 'Payments',
    summary: 'Read a payment',
    scope: 'payments:read',
    params,
    answers: { 200: { description: 'The payment', schema: payment, example: samplePayment } },
    errors: ['not_found'],
    run: async ({ params: { id: of }, context }) => ({
      status: 200,
      body: await readPayment(context, of),
      resource: true,
    }),
  }),
  route({
    id: 'createRefund',
    method: 'post',
    path: '/v1/payments/{id}/refunds',
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
    answers: { 201: { description: 'The refund', schema: refund, example: sampleRefund } },
    errors: ['not_found', 'refund_exceeds_payment'],
    async run({ params: { id: of }, body, context }) {
      const { refund: promised, tenant, replayed } = await requestRefund(context, of, body);
      return { status: 201, body: promised, tenant, replayed };
    },
  }),
  route({
    id: 'listRefunds',
    method: 'get',
    path: '/v1/payments/{id}/refunds',
    tag: 'Payments',
    summary: "List a payment's refunds, newest first",
    description: 'All of them on one page. Those that were made by hand at Stripe are among them.',
    scope: 'payments:read',
    params,
    answers: { 200: { description: 'Its refunds', schema: listOf(refund) } },
    errors: ['not_found'],
    run: async ({ params: { id: of }, context }) => ({
      status: 200,
      body: { data: await listRefunds(context, of), nextCursor: null },
    }),
  }),
  route({
    id: 'receiveStripeEvent',
    method: 'post',
    path: '/webhooks/stripe',
    counted: 'refused',
    tag: 'Payments',
    summary: 'Receive an event of Stripe',
    description:
      'Signed by Stripe over the raw body, at most 300 s ago or ahead. Duplicates and any order of arrival end alike.',
    stream: ['application/json'],
    answers: { 200: { description: 'Taken', schema: z.object({ received: z.literal(true) }) } },
    errors: ['invalid_signature', 'malformed_json', 'body_too_large', 'validation_failed', 'unavailable'],
    async run({ context, http }) {
      const body = readOnce(http.req.raw);
      const { update } = await readWebhook(context, body, http.req.header('stripe-signature'));
      const { tenant, skus } = update ? await applyStripeUpdate(context, update) : {};
      if (tenant !== undefined && skus) await invalidateProducts(tenant, skus);
      return { status: 200, body: { received: true }, ...(tenant === undefined ? {} : { tenant }) };
    },
  }),
];
