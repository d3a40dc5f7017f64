import { Hono } from 'hono';
import * as z from 'zod';
import { country, id, page } from '../base/fields.ts';
import {
  createTaxRate,
  deleteTaxRate,
  listTaxRates,
  newTaxRate,
  readTaxRate,
  taxRate,
  taxRateChange,
  updateTaxRate,
} from '../domain/tax/tax-rates.ts';
import type { AppEnv } from '../http/app-env.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { byId, positionOf, showPage } from '../http/paging.ts';
import { listOf, sampleTaxRate } from './examples.ts';

const params = z.object({ id });

/** Tax rates: `/v1/tax-rates`. */
export const taxRates = new Hono<AppEnv>();

taxRates.post(
  '/',
  operation({
    id: 'createTaxRate',
    tag: 'Tax rates',
    summary: 'Create a tax rate',
    description:
      'From then on orders to this country are taxed at this rate. Of the rates that fit a line, the most specific one ' +
      'applies: country, region and category; then country and region; then country and category; then country. Once ' +
      'a tenant has a rate, an order to a country without one has no tax.',
    scope: 'tax:write',
    idempotency: 'optional',
    body: newTaxRate,
    example: { name: 'VAT, reduced', country: 'DE', category: 'books', rate: 7 },
    responses: { 201: { description: 'The tax rate', schema: taxRate, example: sampleTaxRate } },
    errors: ['conflict'],
  }),
  async (c) => {
    const { taxRate: added, version, replayed } = await createTaxRate(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/tax-rates/${added.id}`);
    return showResource(c, added, { status: 201, version, replayed });
  },
);

taxRates.get(
  '/',
  operation({
    id: 'listTaxRates',
    tag: 'Tax rates',
    summary: 'List tax rates, newest first',
    scope: 'tax:read',
    query: z.object({ ...page, country: country.optional() }),
    responses: { 200: { description: 'One page', schema: listOf(taxRate) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    const rows = await listTaxRates(c.var.context, filter, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

taxRates.get(
  '/:id',
  operation({
    id: 'getTaxRate',
    tag: 'Tax rates',
    summary: 'Read a tax rate',
    scope: 'tax:read',
    params,
    responses: { 200: { description: 'The tax rate', schema: taxRate, example: sampleTaxRate } },
    errors: ['not_found'],
  }),
  async (c) => {
    const { taxRate: found, version } = await readTaxRate(c.var.context, c.req.valid('param').id);
    return showResource(c, found, { version });
  },
);

taxRates.patch(
  '/:id',
  operation({
    id: 'updateTaxRate',
    tag: 'Tax rates',
    summary: 'Change a tax rate',
    description: 'Orders that were placed keep their tax. To change the country of a rate with a region, name both.',
    scope: 'tax:write',
    ifMatch: true,
    params,
    body: taxRateChange,
    example: { rate: 7.5 },
    responses: { 200: { description: 'The changed tax rate', schema: taxRate, example: sampleTaxRate } },
    errors: ['not_found', 'version_mismatch', 'conflict'],
  }),
  async (c) => {
    const versions = versionsIn(c.req.header('if-match'));
    const { taxRate: changed, version } = await updateTaxRate(
      c.var.context,
      c.req.valid('param').id,
      c.req.valid('json'),
      versions,
    );
    return showResource(c, changed, { version });
  },
);

taxRates.delete(
  '/:id',
  operation({
    id: 'deleteTaxRate',
    tag: 'Tax rates',
    summary: 'Delete a tax rate',
    description: 'Orders that were placed keep their tax.',
    scope: 'tax:write',
    ifMatch: true,
    params,
    responses: { 204: { description: 'Deleted' } },
    errors: ['not_found', 'version_mismatch'],
  }),
  async (c) => {
    await deleteTaxRate(c.var.context, c.req.valid('param').id, versionsIn(c.req.header('if-match')));
    return c.body(null, 204);
  },
);
