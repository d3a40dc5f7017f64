import { Hono } from 'hono';
import * as z from 'zod';
import { page, sku } from '../base/fields.ts';
import {
  adjustStock,
  listStock,
  readStock,
  setStock,
  stock,
  stockAdjustment,
  stockCount,
} from '../domain/inventory.ts';
import type { AppEnv } from '../http/app-env.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { bySku, positionOf, showPage } from '../http/paging.ts';
import { listOf, sampleStock } from './examples.ts';

const params = z.object({ sku });

/** Stock by SKU: `/v1/inventory`. */
export const inventory = new Hono<AppEnv>();

inventory.get(
  '/',
  operation({
    id: 'listInventory',
    tag: 'Inventory',
    summary: 'List stock by SKU',
    scope: 'inventory:read',
    query: z.object(page),
    responses: { 200: { description: 'One page', schema: listOf(stock) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const rows = await listStock(c.var.context, positionOf(c, cursor, bySku), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.sku });
  },
);

inventory.get(
  '/:sku',
  operation({
    id: 'getInventory',
    tag: 'Inventory',
    summary: "Read a SKU's stock",
    scope: 'inventory:read',
    params,
    responses: { 200: { description: 'The stock', schema: stock, example: sampleStock } },
    errors: ['not_found'],
  }),
  async (c) => {
    const found = await readStock(c.var.context, c.req.valid('param').sku);
    return showResource(c, found, { version: found.version });
  },
);

inventory.put(
  '/:sku',
  operation({
    id: 'setInventory',
    tag: 'Inventory',
    summary: 'Set how many units of a SKU can be sold, and when its stock is low',
    description:
      'Units that orders hold stay held. Every sale changes the version, so `If-Match` rejects an outdated count. ' +
      '`inventory.low` is emitted once when the quantity falls to `lowStockThreshold`, and again after it has risen above it.',
    scope: 'inventory:write',
    ifMatch: true,
    params,
    body: stockCount,
    example: { quantity: 100, lowStockThreshold: 10 },
    responses: { 200: { description: 'The stock', schema: stock, example: sampleStock } },
    errors: ['not_found', 'version_mismatch'],
  }),
  async (c) => {
    const { sku: name } = c.req.valid('param');
    const versions = versionsIn(c.req.header('if-match'));
    const { stock: counted, tenant } = await setStock(c.var.context, name, c.req.valid('json'), versions);
    await invalidateProducts(c.var.context, tenant, [name]);
    return showResource(c, counted, { version: counted.version });
  },
);

inventory.post(
  '/:sku/adjustments',
  operation({
    id: 'adjustInventory',
    tag: 'Inventory',
    summary: 'Add units to a SKU, or remove units',
    scope: 'inventory:write',
    idempotency: 'required',
    params,
    body: stockAdjustment,
    example: { delta: -3, reason: 'broken in the warehouse' },
    responses: { 201: { description: 'The adjusted stock', schema: stock, example: sampleStock } },
    errors: ['not_found', 'insufficient_inventory'],
  }),
  async (c) => {
    const { sku: name } = c.req.valid('param');
    const { stock: adjusted, tenant, replayed } = await adjustStock(c.var.context, name, c.req.valid('json'));
    await invalidateProducts(c.var.context, tenant, [name]);
    return showResource(c, adjusted, { status: 201, version: adjusted.version, replayed });
  },
);
