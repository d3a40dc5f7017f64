import { Hono } from 'hono';
import * as z from 'zod';
import { id, page } from '../base/fields.ts';
import {
  collection,
  collectionChange,
  createCollection,
  deleteCollection,
  listCollections,
  newCollection,
  readCollection,
  setCollectionProduct,
  updateCollection,
} from '../domain/catalog/collections.ts';
import type { AppEnv } from '../http/app-env.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { byId, positionOf, showPage } from '../http/paging.ts';
import { listOf, sampleCollection } from './examples.ts';

const params = z.object({ id });

/** Collections: `/v1/collections`. */
export const collections = new Hono<AppEnv>();

collections.post(
  '/',
  operation({
    id: 'createCollection',
    tag: 'Catalog',
    summary: 'Create a collection',
    description: 'Collections can be nested with `parentId`, at most 10 levels.',
    scope: 'catalog:write',
    idempotency: 'optional',
    body: newCollection,
    example: { name: 'Summer', slug: 'summer' },
    responses: { 201: { description: 'The collection', schema: collection, example: sampleCollection } },
    errors: ['slug_taken'],
  }),
  async (c) => {
    const { collection: added, version, replayed } = await createCollection(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/collections/${added.id}`);
    return showResource(c, added, { status: 201, version, replayed });
  },
);

collections.get(
  '/',
  operation({
    id: 'listCollections',
    tag: 'Catalog',
    summary: 'List collections, newest first',
    scope: 'catalog:read',
    query: z.object(page),
    responses: { 200: { description: 'One page', schema: listOf(collection) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const rows = await listCollections(c.var.context, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

collections.get(
  '/:id',
  operation({
    id: 'getCollection',
    tag: 'Catalog',
    summary: 'Read a collection',
    scope: 'catalog:read',
    params,
    responses: { 200: { description: 'The collection', schema: collection, example: sampleCollection } },
    errors: ['not_found'],
  }),
  async (c) => {
    const { collection: found, version } = await readCollection(c.var.context, c.req.valid('param').id);
    return showResource(c, found, { version });
  },
);

collections.patch(
  '/:id',
  operation({
    id: 'updateCollection',
    tag: 'Catalog',
    summary: 'Change a collection',
    description: '`parentId` moves it with everything below it. A collection cannot be below itself.',
    scope: 'catalog:write',
    ifMatch: true,
    params,
    body: collectionChange,
    example: { name: 'Summer 2026' },
    responses: { 200: { description: 'The changed collection', schema: collection, example: sampleCollection } },
    errors: ['not_found', 'version_mismatch', 'slug_taken'],
  }),
  async (c) => {
    const { id: collectionId } = c.req.valid('param');
    const versions = versionsIn(c.req.header('if-match'));
    const changed = await updateCollection(c.var.context, collectionId, c.req.valid('json'), versions);
    return showResource(c, changed.collection, { version: changed.version });
  },
);

const membership = {
  tag: 'Catalog',
  scope: 'catalog:write',
  params: z.object({ id, productId: id }),
};

collections.put(
  '/:id/products/:productId',
  operation({
    ...membership,
    id: 'addCollectionProduct',
    summary: 'Add a product to a collection',
    description: 'To add it again changes nothing. A product can be in at most 100 collections.',
    responses: { 204: { description: 'The product is in the collection' } },
    errors: ['not_found', 'conflict'],
  }),
  async (c) => {
    const { id: collectionId, productId } = c.req.valid('param');
    const changed = await setCollectionProduct(c.var.context, { collectionId, productId, isMember: true });
    await invalidateProducts(c.var.context, changed.tenant, changed.skus);
    return c.body(null, 204);
  },
);

collections.delete(
  '/:id/products/:productId',
  operation({
    ...membership,
    id: 'removeCollectionProduct',
    summary: 'Take a product out of a collection',
    description: 'To take it out again changes nothing.',
    responses: { 204: { description: 'The product is not in the collection' } },
    errors: ['not_found'],
  }),
  async (c) => {
    const { id: collectionId, productId } = c.req.valid('param');
    const changed = await setCollectionProduct(c.var.context, { collectionId, productId, isMember: false });
    await invalidateProducts(c.var.context, changed.tenant, changed.skus);
    return c.body(null, 204);
  },
);

collections.delete(
  '/:id',
  operation({
    id: 'deleteCollection',
    tag: 'Catalog',
    summary: 'Delete a collection',
    description:
      'Its products stay and are taken out of it. A collection with collections below it, or with more than 1,000 ' +
      'products, cannot be deleted.',
    scope: 'catalog:write',
    ifMatch: true,
    params,
    responses: { 204: { description: 'Deleted' } },
    errors: ['not_found', 'version_mismatch', 'conflict'],
  }),
  async (c) => {
    const { id: collectionId } = c.req.valid('param');
    const versions = versionsIn(c.req.header('if-match'));
    const { tenant, skus } = await deleteCollection(c.var.context, collectionId, versions);
    await invalidateProducts(c.var.context, tenant, skus);
    return c.body(null, 204);
  },
);
