import * as z from 'zod';
import { readOnce } from '../base/body.ts';
import { id } from '../base/fields.ts';
import { readLabel } from '../domain/labels.ts';
import { newShipment, readShipment, requestShipment, shipment } from '../domain/shipping.ts';
import { carrierName, receiveTracking } from '../domain/tracking.ts';
import { route } from '../http/route.ts';
import { sampleAddress, sampleShipment } from './examples.ts';

const params = z.object({ id });

export const shippingRoutes = [
  route({
    id: 'createShipment',
    method: 'post',
    path: '/v1/shipments',
    tag: 'Shipping',
    summary: 'Ship an order that was paid without an address',
    description:
      'A confirmed order with an address gets its label by itself. This is for one without, or for one whose address the ' +
      'carrier refused. One label an order: the same shipment however often it is asked for; another address than the ' +
      'label’s is a `conflict`. An order whose refund failed at the bank, and whose label was cancelled with that refund, ' +
      'gets another label.',
    scope: 'shipping:write',
    idempotency: 'taken',
    body: newShipment,
    example: { orderId: sampleShipment.orderId, address: sampleAddress },
    answers: { 201: { description: 'The shipment; its label is made', schema: shipment, example: sampleShipment } },
    errors: ['conflict'],
    async run({ body, context }) {
      const { shipment: made, tenant, replayed } = await requestShipment(context, body);
      const headers = { Location: `/v1/shipments/${made.id}` };
      return { status: 201, body: made, resource: true, tenant, replayed, headers };
    },
  }),
  route({
    id: 'getShipment',
    method: 'get',
    path: '/v1/shipments/{id}',
    tag: 'Shipping',
    summary: 'Read a shipment',
    scope: 'shipping:read',
    params,
    answers: { 200: { description: 'The shipment', schema: shipment, example: sampleShipment } },
    errors: ['not_found'],
    run: async ({ params: { id: of }, context }) => ({
      status: 200,
      body: await readShipment(context, of),
      resource: true,
    }),
  }),
  route({
    id: 'getLabel',
    method: 'get',
    path: '/v1/shipments/{id}/label',
    tag: 'Shipping',
    summary: 'Get the printable label, a PDF',
    description:
      '4 × 6 inches, with the tracking number as Code 128. This is where `labelUrl` points to. The label of a cancelled ' +
      'shipment is a `conflict`.',
    scope: 'shipping:read',
    params,
    answers: { 200: { description: 'The label', type: 'application/pdf' } },
    errors: ['not_found', 'conflict'],
    async run({ params: { id: of }, context }) {
      const { pdf, trackingNumber, tenant } = await readLabel(context, of);
      const headers = {
        'Content-Type': 'application/pdf',
        'Content-Disposition': `inline; filename="label-${trackingNumber.replaceAll(/[^\w-]/g, '')}.pdf"`,
        'Cache-Control': 'private, no-store',
      };
      return { status: 200, body: new Response(pdf, { headers }), tenant };
    },
  }),
  route({
    id: 'receiveTracking',
    method: 'post',
    path: '/webhooks/shipping/{carrier}',
    counted: 'refused',
    tag: 'Shipping',
    summary: 'Receive a tracking update of a carrier',
    description:
      'Signed over the raw body in the carrier’s own way. Duplicates and any order of arrival end alike: a parcel that ' +
      'is `delivered` stays so. `manual`: `{eventId, trackingNumber, status, occurredAt, detail?}` with `X-Signature: ' +
      't=<unix seconds>,v1=<hex of HMAC-SHA256 over "<t>.<body>">`, at most 300 s old or ahead; status `created`, `in_transit`, ' +
      '`delivered` or `exception`.',
    params: z.object({ carrier: carrierName }),
    stream: ['application/json'],
    answers: { 200: { description: 'Taken', schema: z.object({ received: z.literal(true) }) } },
    errors: ['malformed_json', 'invalid_signature', 'body_too_large', 'validation_failed', 'unavailable'],
    async run({ params: { carrier }, context, http }) {
      const body = readOnce(http.req.raw);
      const query = new URL(http.req.url).searchParams;
      const { tenant } = await receiveTracking(context, carrier, { headers: http.req.raw.headers, body, query });
      return { status: 200, body: { received: true }, ...(tenant === undefined ? {} : { tenant }) };
    },
  }),
];
