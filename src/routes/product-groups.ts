import { Hono } from 'hono';
import * as z from 'zod';
import { id, page, slug } from '../base/fields.ts';
import {
  createProductGroup,
  deleteProductGroup,
  listProductGroups,
  newProductGroup,
  productGroup,
  productGroupChange,
  productGroupWithProducts,
  readProductGroup,
  readProductGroupBySlug,
  updateProductGroup,
} from '../domain/catalog/product-groups.ts';
import type { AppEnv } from '../http/app-env.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { byId, positionOf, showPage } from '../http/paging.ts';
import { listOf, sampleProductGroup, sampleProductGroups } from './examples.ts';

const params = z.object({ id });

/** Product groups: `/v1/product-groups`. */
export const productGroups = new Hono<AppEnv>();

productGroups.post(
  '/',
  operation({
    id: 'createProductGroup',
    tag: 'Catalog',
    summary: 'Create a product group',
    description:
      'A group has the variants of one article. A product joins it with `groupId` and a value for each of its ' +
      '`options`. A group has at most 250 products, archived ones included.',
    scope: 'catalog:write',
    idempotency: 'optional',
    body: newProductGroup,
    example: { name: 'T-shirt', slug: 't-shirt', options: ['Size', 'Colour'] },
    responses: {
      201: { description: 'The group', schema: productGroupWithProducts, example: sampleProductGroup },
    },
    errors: ['slug_taken'],
  }),
  async (c) => {
    const { group, version, replayed } = await createProductGroup(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/product-groups/${group.id}`);
    return showResource(c, group, { status: 201, version, replayed });
  },
);

productGroups.get(
  '/',
  operation({
    id: 'listProductGroups',
    tag: 'Catalog',
    summary: 'List product groups without their products, newest first',
    scope: 'catalog:read',
    query: z.object(page),
    responses: { 200: { description: 'One page', schema: listOf(productGroup), example: sampleProductGroups } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const rows = await listProductGroups(c.var.context, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

productGroups.get(
  '/by-slug/:slug',
  operation({
    id: 'getProductGroupBySlug',
    tag: 'Catalog',
    summary: 'Read a product group by its slug, with its products for sale',
    scope: 'catalog:read',
    params: z.object({ slug }),
    responses: { 200: { description: 'The group', schema: productGroupWithProducts, example: sampleProductGroup } },
    errors: ['not_found'],
  }),
  async (c) => {
    const { group, version } = await readProductGroupBySlug(c.var.context, c.req.valid('param').slug);
    return showResource(c, group, { version });
  },
);

productGroups.get(
  '/:id',
  operation({
    id: 'getProductGroup',
    tag: 'Catalog',
    summary: 'Read a product group with its products for sale',
    description: 'The ETag changes with the group and with everything that is shown of its products, stock included.',
    scope: 'catalog:read',
    params,
    responses: { 200: { description: 'The group', schema: productGroupWithProducts, example: sampleProductGroup } },
    errors: ['not_found'],
  }),
  async (c) => {
    const { group, version } = await readProductGroup(c.var.context, c.req.valid('param').id);
    return showResource(c, group, { version });
  },
);

productGroups.patch(
  '/:id',
  operation({
    id: 'updateProductGroup',
    tag: 'Catalog',
    summary: 'Change a product group',
    description:
      '`options` can get another order at any time. Options can be renamed, added and removed only while the group ' +
      'has no products, archived ones included. `If-Match` compares the group, not its products.',
    scope: 'catalog:write',
    ifMatch: true,
    params,
    body: productGroupChange,
    example: { name: 'T-shirt', description: 'Organic cotton' },
    responses: {
      200: { description: 'The changed group', schema: productGroupWithProducts, example: sampleProductGroup },
    },
    errors: ['not_found', 'version_mismatch', 'slug_taken', 'conflict'],
  }),
  async (c) => {
    const { id: groupId } = c.req.valid('param');
    const versions = versionsIn(c.req.header('if-match'));
    const { group, version } = await updateProductGroup(c.var.context, groupId, c.req.valid('json'), versions);
    return showResource(c, group, { version });
  },
);

productGroups.delete(
  '/:id',
  operation({
    id: 'deleteProductGroup',
    tag: 'Catalog',
    summary: 'Delete a product group without products for sale',
    description: 'Its archived products stay and are taken out of the group.',
    scope: 'catalog:write',
    ifMatch: true,
    params,
    responses: { 204: { description: 'Deleted' } },
    errors: ['not_found', 'version_mismatch', 'conflict'],
  }),
  async (c) => {
    const { id: groupId } = c.req.valid('param');
    const versions = versionsIn(c.req.header('if-match'));
    const { tenant, skus } = await deleteProductGroup(c.var.context, groupId, versions);
    await invalidateProducts(c.var.context, tenant, skus);
    return c.body(null, 204);
  },
);
