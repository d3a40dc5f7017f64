import { Hono } from 'hono';
import * as z from 'zod';
import { id, page, sku } from '../base/fields.ts';
import {
  createPriceList,
  deletePriceList,
  listPrice,
  listPriceLists,
  listPrices,
  newPriceList,
  priceChanges,
  priceList,
  priceListChange,
  readPriceList,
  setPrices,
  updatePriceList,
} from '../domain/catalog/price-lists.ts';
import type { AppEnv } from '../http/app-env.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { byId, byPrice, positionOf, showPage } from '../http/paging.ts';
import { listOf, samplePriceList } from './examples.ts';

const params = z.object({ id });
// A list may belong to one customer group or organization, so publishable keys must not read it.
const scope = 'catalog:write';

/** Price lists: `/v1/price-lists`. */
export const priceLists = new Hono<AppEnv>();

priceLists.post(
  '/',
  operation({
    id: 'createPriceList',
    tag: 'Price lists',
    summary: 'Create a price list without prices',
    scope,
    idempotency: 'optional',
    body: newPriceList,
    example: { name: 'Wholesale', currency: 'USD', audience: { customerGroup: 'wholesale' } },
    responses: { 201: { description: 'The price list', schema: priceList, example: samplePriceList } },
    errors: [],
  }),
  async (c) => {
    const { list, version, replayed } = await createPriceList(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/price-lists/${list.id}`);
    return showResource(c, list, { status: 201, version, replayed });
  },
);

priceLists.get(
  '/',
  operation({
    id: 'listPriceLists',
    tag: 'Price lists',
    summary: 'List price lists, newest first',
    scope,
    query: z.object(page),
    responses: { 200: { description: 'One page', schema: listOf(priceList) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const rows = await listPriceLists(c.var.context, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

priceLists.get(
  '/:id',
  operation({
    id: 'getPriceList',
    tag: 'Price lists',
    summary: 'Read a price list',
    scope,
    params,
    responses: { 200: { description: 'The price list', schema: priceList, example: samplePriceList } },
    errors: ['not_found'],
  }),
  async (c) => {
    const { list, version } = await readPriceList(c.var.context, c.req.valid('param').id);
    return showResource(c, list, { version });
  },
);

priceLists.patch(
  '/:id',
  operation({
    id: 'updatePriceList',
    tag: 'Price lists',
    summary: 'Change a price list',
    description: 'The currency cannot be changed. Orders that were placed keep their prices.',
    scope,
    ifMatch: true,
    params,
    body: priceListChange,
    example: { endsAt: '2036-12-31T23:00:00Z' },
    responses: { 200: { description: 'The changed price list', schema: priceList, example: samplePriceList } },
    errors: ['not_found', 'version_mismatch'],
  }),
  async (c) => {
    const versions = versionsIn(c.req.header('if-match'));
    const { list, version } = await updatePriceList(
      c.var.context,
      c.req.valid('param').id,
      c.req.valid('json'),
      versions,
    );
    return showResource(c, list, { version });
  },
);

priceLists.put(
  '/:id/prices',
  operation({
    id: 'setPrices',
    tag: 'Price lists',
    summary: 'Set and remove prices of a list',
    description:
      'At most 1,000 prices a request, all or none. Prices that the request does not name stay. `price: null` removes ' +
      'one. A SKU may have several prices, each from a `minQuantity` on (default 1). An archived product may have prices.',
    scope,
    ifMatch: true,
    params,
    body: priceChanges,
    example: { prices: [{ sku: 'TEE-BLACK-M', minQuantity: 10, price: 24.99 }] },
    responses: { 200: { description: 'The price list', schema: priceList, example: samplePriceList } },
    errors: ['not_found', 'version_mismatch', 'unknown_sku'],
  }),
  async (c) => {
    const versions = versionsIn(c.req.header('if-match'));
    const { list, version } = await setPrices(c.var.context, c.req.valid('param').id, c.req.valid('json'), versions);
    return showResource(c, list, { version });
  },
);

priceLists.get(
  '/:id/prices',
  operation({
    id: 'listPrices',
    tag: 'Price lists',
    summary: 'List the prices of a list, by SKU and minQuantity',
    scope,
    params,
    query: z.object({ ...page, sku: sku.optional() }),
    responses: { 200: { description: 'One page', schema: listOf(listPrice) } },
    errors: ['not_found', 'invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    const position = positionOf(c, cursor, byPrice);
    const rows = await listPrices(c.var.context, c.req.valid('param').id, filter, position, limit + 1);
    return showPage(c, { rows, limit, position: (row) => `${row.minQuantity} ${row.sku}` });
  },
);

priceLists.delete(
  '/:id',
  operation({
    id: 'deletePriceList',
    tag: 'Price lists',
    summary: 'Delete a price list with its prices',
    description: 'Orders that were placed keep their prices.',
    scope,
    ifMatch: true,
    params,
    responses: { 204: { description: 'Deleted' } },
    errors: ['not_found', 'version_mismatch'],
  }),
  async (c) => {
    await deletePriceList(c.var.context, c.req.valid('param').id, versionsIn(c.req.header('if-match')));
    return c.body(null, 204);
  },
);
