import { Hono } from 'hono';
import * as z from 'zod';
import { id } from '../base/fields.ts';
import { readLabel } from '../domain/labels.ts';
import { newShipment, readShipment, requestShipment, shipment } from '../domain/shipping.ts';
import type { AppEnv } from '../http/app-env.ts';
import { showResource } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { sampleAddress, sampleShipment } from './examples.ts';

const params = z.object({ id });

/** Shipments and labels: `/v1/shipments`. */
export const shipments = new Hono<AppEnv>();

shipments.post(
  '/',
  operation({
    id: 'createShipment',
    tag: 'Shipping',
    summary: 'Ship an order, or some of its units',
    description:
      'A confirmed order with an address gets one label for all of its units automatically, unless its tenant has set ' +
      '`automaticLabels` to false. Use this for an order without an address, if the carrier rejected the address, or to ' +
      'send the units in several parcels.\n\n' +
      'Without `items` the parcel has all units that are left. An order has one such shipment: every request returns the ' +
      'same one, and a request with a different address is a `conflict`. If a refund cancels the label and then fails at ' +
      'the bank, the order gets another label.\n\n' +
      'With `items` each request makes another parcel, so send an `Idempotency-Key`: a repetition then returns the ' +
      'same shipment. A unit is in one parcel only, and a refunded unit in none: anything else is a `conflict`. The first ' +
      'parcel replaces the automatic label if that has not been made yet. The order is `shipped` when every unit is ' +
      'on its way or refunded.',
    scope: 'shipping:write',
    idempotency: 'optional',
    body: newShipment,
    example: { orderId: sampleShipment.orderId, address: sampleAddress },
    responses: { 201: { description: 'The shipment, with its label', schema: shipment, example: sampleShipment } },
    errors: ['conflict'],
  }),
  async (c) => {
    const { shipment: requested, replayed } = await requestShipment(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/shipments/${requested.id}`);
    return showResource(c, requested, { status: 201, replayed });
  },
);

shipments.get(
  '/:id',
  operation({
    id: 'getShipment',
    tag: 'Shipping',
    summary: 'Read a shipment',
    scope: 'shipping:read',
    shoppers: ['publishable', 'session'],
    params,
    responses: { 200: { description: 'The shipment', schema: shipment, example: sampleShipment } },
    errors: ['not_found'],
  }),
  async (c) => showResource(c, await readShipment(c.var.context, c.req.valid('param').id)),
);

shipments.get(
  '/:id/label',
  operation({
    id: 'getLabel',
    tag: 'Shipping',
    summary: 'Get the printable label, a PDF',
    description:
      '4 × 6 inches, with the tracking number as Code 128. `labelUrl` is the URL of this operation. For a cancelled ' +
      'shipment the response is `conflict`.',
    scope: 'shipping:read',
    params,
    responses: { 200: { description: 'The label', type: 'application/pdf' } },
    errors: ['not_found', 'conflict'],
  }),
  async (c) => {
    const { pdf, trackingNumber } = await readLabel(c.var.context, c.req.valid('param').id);
    const fileName = `label-${trackingNumber.replaceAll(/[^\w-]/g, '')}.pdf`;
    return c.body(new Uint8Array(pdf), 200, {
      'Content-Type': 'application/pdf',
      'Content-Disposition': `inline; filename="${fileName}"`,
      'Cache-Control': 'private, no-store',
    });
  },
);
