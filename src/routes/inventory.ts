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
import { invalidateProducts } from '../http/edge-cache.ts';
import { versionsIn } from '../http/etag.ts';
import { bySku, pageOf, positionOf } from '../http/paging.ts';
import { route } from '../http/route.ts';
import { listOf, sampleStock } from './examples.ts';

const params = z.object({ sku });

export const inventoryRoutes = [
  route({
    id: 'listInventory',
    method: 'get',
    path: '/v1/inventory',
    tag: 'Inventory',
    summary: 'List stock by SKU',
    scope: 'inventory:read',
    query: z.object(page),
    answers: { 200: { description: 'A page', schema: listOf(stock) } },
    errors: ['invalid_cursor'],
    async run({ query: { limit, cursor }, context, http }) {
      const rows = await listStock(context, positionOf(http, cursor, bySku), limit + 1);
      return pageOf(http, rows, limit, (row) => row.sku);
    },
  }),
  route({
    id: 'getInventory',
    method: 'get',
    path: '/v1/inventory/{sku}',
    tag: 'Inventory',
    summary: "Read a SKU's stock",
    scope: 'inventory:read',
    params,
    answers: { 200: { description: 'The stock', schema: stock, example: sampleStock } },
    errors: ['not_found'],
    async run({ params: { sku: of }, context }) {
      const found = await readStock(context, of);
      return { status: 200, body: found, resource: true, version: found.version };
    },
  }),
  route({
    id: 'setInventory',
    method: 'put',
    path: '/v1/inventory/{sku}',
    tag: 'Inventory',
    summary: 'Set what can be sold of a SKU to an absolute count',
    description:
      'What orders hold stays held. Every sale changes the version: with `If-Match` a count that is out of date is refused.',
    scope: 'inventory:write',
    ifMatch: true,
    params,
    body: stockCount,
    example: { quantity: 100 },
    answers: { 200: { description: 'The stock', schema: stock, example: sampleStock } },
    errors: ['not_found', 'version_mismatch'],
    async run({ params: { sku: of }, body, context, http }) {
      const { stock: now, tenant } = await setStock(context, of, body.quantity, versionsIn(http));
      await invalidateProducts(tenant, [of]);
      return { status: 200, body: now, resource: true, version: now.version, tenant };
    },
  }),
  route({
    id: 'adjustInventory',
    method: 'post',
    path: '/v1/inventory/{sku}/adjustments',
    tag: 'Inventory',
    summary: 'Add units to a SKU, or take some out',
    scope: 'inventory:write',
    idempotency: 'required',
    params,
    body: stockAdjustment,
    example: { delta: -3, reason: 'broken in the warehouse' },
    answers: { 201: { description: 'The stock after it', schema: stock, example: sampleStock } },
    errors: ['not_found', 'insufficient_inventory'],
    async run({ params: { sku: of }, body, context }) {
      const { stock: now, tenant, replayed } = await adjustStock(context, of, body);
      await invalidateProducts(tenant, [of]);
      return { status: 201, body: now, resource: true, version: now.version, tenant, replayed };
    },
  }),
];
