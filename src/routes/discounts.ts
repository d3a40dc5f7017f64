import { Hono } from 'hono';
import * as z from 'zod';
import { id, page } from '../base/fields.ts';
import {
  createDiscount,
  deleteDiscount,
  discount,
  discountChange,
  discountCode,
  listDiscounts,
  newDiscount,
  readDiscount,
  updateDiscount,
} from '../domain/orders/discounts.ts';
import type { AppEnv } from '../http/app-env.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { byId, positionOf, showPage } from '../http/paging.ts';
import { listOf } from './examples.ts';

const params = z.object({ id });

export const sampleDiscount = {
  id: '019ab3f0-a163-727f-8e65-8060ae1c3276',
  code: 'SPRING10',
  name: 'Spring sale',
  type: 'percentage',
  value: 10,
  currency: null,
  startsAt: null,
  endsAt: '2036-12-31T23:00:00.000Z',
  usageLimit: 500,
  used: 12,
  perCustomerLimit: null,
  minSubtotal: null,
  skus: null,
  collections: null,
  combinable: false,
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
};

/** Discounts: `/v1/discounts`. */
export const discounts = new Hono<AppEnv>();

discounts.post(
  '/',
  operation({
    id: 'createDiscount',
    tag: 'Discounts',
    summary: 'Create a discount',
    description:
      'With a `code` it applies to the orders that name the code; without one it applies by itself. Percentages are ' +
      'taken before amounts. All combinable discounts apply together; any other discount applies ' +
      'alone, if it saves more.',
    scope: 'discounts:write',
    idempotency: 'optional',
    body: newDiscount,
    example: { code: 'SPRING10', name: 'Spring sale', type: 'percentage', value: 10, usageLimit: 500 },
    responses: { 201: { description: 'The discount', schema: discount, example: sampleDiscount } },
    errors: ['conflict'],
  }),
  async (c) => {
    const { discount: made, version, replayed } = await createDiscount(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/discounts/${made.id}`);
    return showResource(c, made, { status: 201, version, replayed });
  },
);

discounts.get(
  '/',
  operation({
    id: 'listDiscounts',
    tag: 'Discounts',
    summary: 'List discounts, newest first',
    scope: 'discounts:read',
    query: z.object({ ...page, code: discountCode.optional().meta({ description: 'Ignores case' }) }),
    responses: { 200: { description: 'One page', schema: listOf(discount) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    const rows = await listDiscounts(c.var.context, filter, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

discounts.get(
  '/:id',
  operation({
    id: 'getDiscount',
    tag: 'Discounts',
    summary: 'Read a discount',
    scope: 'discounts:read',
    params,
    responses: { 200: { description: 'The discount', schema: discount, example: sampleDiscount } },
    errors: ['not_found'],
  }),
  async (c) => {
    const { discount: found, version } = await readDiscount(c.var.context, c.req.valid('param').id);
    return showResource(c, found, { version });
  },
);

discounts.patch(
  '/:id',
  operation({
    id: 'updateDiscount',
    tag: 'Discounts',
    summary: 'Change a discount',
    description:
      'Orders that were placed keep their discounts. A new limit counts the uses that were recorded while the discount ' +
      'had a limit. A limit below `used` takes no use back: it ends further uses.',
    scope: 'discounts:write',
    ifMatch: true,
    params,
    body: discountChange,
    example: { endsAt: '2036-12-31T23:00:00Z' },
    responses: { 200: { description: 'The changed discount', schema: discount, example: sampleDiscount } },
    errors: ['not_found', 'version_mismatch', 'conflict'],
  }),
  async (c) => {
    const versions = versionsIn(c.req.header('if-match'));
    const { discount: changed, version } = await updateDiscount(
      c.var.context,
      c.req.valid('param').id,
      c.req.valid('json'),
      versions,
    );
    return showResource(c, changed, { version });
  },
);

discounts.delete(
  '/:id',
  operation({
    id: 'deleteDiscount',
    tag: 'Discounts',
    summary: 'Delete a discount and free its code',
    description: 'Orders that were placed keep their discounts.',
    scope: 'discounts:write',
    ifMatch: true,
    params,
    responses: { 204: { description: 'Deleted' } },
    errors: ['not_found', 'version_mismatch'],
  }),
  async (c) => {
    await deleteDiscount(c.var.context, c.req.valid('param').id, versionsIn(c.req.header('if-match')));
    return c.body(null, 204);
  },
);
