import { Hono } from 'hono';
import * as z from 'zod';
import { id, page } from '../base/fields.ts';
import { apiKey, createdKey, createKey, listKeys, newKey, revokeKey } from '../domain/api-keys.ts';
import type { AppEnv } from '../http/app-env.ts';
import { operation } from '../http/operation.ts';
import { byId, positionOf, showPage } from '../http/paging.ts';
import { showResult } from '../http/result.ts';
import { listOf } from './examples.ts';

/** The tenant's API keys: `/v1/keys`. */
export const apiKeys = new Hono<AppEnv>();

apiKeys.get(
  '/',
  operation({
    id: 'listKeys',
    tag: 'Tenant',
    summary: 'List API keys, newest first',
    description: 'Revoked and expired keys are included. No response shows a key again.',
    scope: 'keys:read',
    query: z.object({ ...page }),
    responses: { 200: { description: 'One page', schema: listOf(apiKey) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const rows = await listKeys(c.var.context, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

apiKeys.post(
  '/',
  operation({
    id: 'createKey',
    tag: 'Tenant',
    summary: 'Create an API key',
    description:
      '`key` is shown only once. With the same Idempotency-Key, a repetition returns the same key row and `key: null`: ' +
      'if the first response was lost, revoke that key and create another one. A key can grant only scopes that it has.',
    scope: 'keys:write',
    idempotency: 'optional',
    body: newKey,
    example: { kind: 'secret', name: 'warehouse', scopes: ['orders:read', 'shipping:read'] },
    responses: { 201: { description: 'The key', schema: createdKey } },
    errors: [],
  }),
  async (c) => {
    const { key, replayed } = await createKey(c.var.context, c.req.valid('json'));
    return showResult(c, key, { status: 201, replayed });
  },
);

apiKeys.delete(
  '/:id',
  operation({
    id: 'revokeKey',
    tag: 'Tenant',
    summary: 'Revoke an API key',
    description:
      'It ends at once; only products that the edge has cached can be read with it for up to 30 s. The last valid key ' +
      'with the scope keys:write cannot be revoked.',
    scope: 'keys:write',
    params: z.object({ id }),
    responses: { 204: { description: 'Revoked' } },
    errors: ['not_found', 'conflict'],
  }),
  async (c) => {
    await revokeKey(c.var.context, c.req.valid('param').id);
    return c.body(null, 204);
  },
);
