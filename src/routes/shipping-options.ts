import { Hono } from 'hono';
import * as z from 'zod';
import { id, page } from '../base/fields.ts';
import {
  createShippingOption,
  deleteShippingOption,
  listShippingOptions,
  newShippingOption,
  readShippingOption,
  shippingOption,
  shippingOptionChange,
  updateShippingOption,
} from '../domain/orders/shipping-options.ts';
import type { AppEnv } from '../http/app-env.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { byId, positionOf, showPage } from '../http/paging.ts';
import { listOf } from './examples.ts';

const params = z.object({ id });

export const sampleShippingOption = {
  id: '019ab3f0-b274-7380-8f76-9171bf2d4387',
  name: 'Standard',
  countries: ['US', 'CA'],
  currency: 'USD',
  price: 4.99,
  freeFrom: 50,
  minWeight: null,
  maxWeight: null,
  minDays: 2,
  maxDays: 5,
  taxCategory: null,
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
};

/** Shipping options: `/v1/shipping-options`. */
export const shippingOptions = new Hono<AppEnv>();

shippingOptions.post(
  '/',
  operation({
    id: 'createShippingOption',
    tag: 'Shipping options',
    summary: 'Create a shipping option',
    description: 'It is offered to orders in its currency, to its countries, whose items have a weight in its range.',
    scope: 'shipping:write',
    idempotency: 'optional',
    body: newShippingOption,
    example: { name: 'Standard', countries: ['US', 'CA'], currency: 'USD', price: 4.99, freeFrom: 50 },
    responses: { 201: { description: 'The shipping option', schema: shippingOption, example: sampleShippingOption } },
    errors: [],
  }),
  async (c) => {
    const { option, version, replayed } = await createShippingOption(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/shipping-options/${option.id}`);
    return showResource(c, option, { status: 201, version, replayed });
  },
);

shippingOptions.get(
  '/',
  operation({
    id: 'listShippingOptions',
    tag: 'Shipping options',
    summary: 'List shipping options, newest first',
    scope: 'shipping:read',
    query: z.object(page),
    responses: { 200: { description: 'One page', schema: listOf(shippingOption) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const rows = await listShippingOptions(c.var.context, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

shippingOptions.get(
  '/:id',
  operation({
    id: 'getShippingOption',
    tag: 'Shipping options',
    summary: 'Read a shipping option',
    scope: 'shipping:read',
    params,
    responses: { 200: { description: 'The shipping option', schema: shippingOption, example: sampleShippingOption } },
    errors: ['not_found'],
  }),
  async (c) => {
    const { option, version } = await readShippingOption(c.var.context, c.req.valid('param').id);
    return showResource(c, option, { version });
  },
);

shippingOptions.patch(
  '/:id',
  operation({
    id: 'updateShippingOption',
    tag: 'Shipping options',
    summary: 'Change a shipping option',
    description: 'Orders that were placed keep its name and price.',
    scope: 'shipping:write',
    ifMatch: true,
    params,
    body: shippingOptionChange,
    example: { price: 5.99 },
    responses: {
      200: { description: 'The changed shipping option', schema: shippingOption, example: sampleShippingOption },
    },
    errors: ['not_found', 'version_mismatch'],
  }),
  async (c) => {
    const versions = versionsIn(c.req.header('if-match'));
    const { option, version } = await updateShippingOption(
      c.var.context,
      c.req.valid('param').id,
      c.req.valid('json'),
      versions,
    );
    return showResource(c, option, { version });
  },
);

shippingOptions.delete(
  '/:id',
  operation({
    id: 'deleteShippingOption',
    tag: 'Shipping options',
    summary: 'Delete a shipping option',
    description: 'Orders that were placed keep its name and price.',
    scope: 'shipping:write',
    ifMatch: true,
    params,
    responses: { 204: { description: 'Deleted' } },
    errors: ['not_found', 'version_mismatch'],
  }),
  async (c) => {
    await deleteShippingOption(c.var.context, c.req.valid('param').id, versionsIn(c.req.header('if-match')));
    return c.body(null, 204);
  },
);
