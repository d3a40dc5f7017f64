import { Hono } from 'hono';
import * as z from 'zod';
import { id, page } from '../base/fields.ts';
import { deadLetter, listDeadLetters, replayDeadLetter } from '../domain/events.ts';
import type { AppEnv } from '../http/app-env.ts';
import { operation } from '../http/operation.ts';
import { byId, positionOf, showPage } from '../http/paging.ts';
import { showResult } from '../http/result.ts';
import { listOf } from './examples.ts';

/** Events that could not be delivered or applied: `/v1/dead-letters`. */
export const deadLetters = new Hono<AppEnv>();

deadLetters.get(
  '/',
  operation({
    id: 'listDeadLetters',
    tag: 'Events',
    summary: 'List events that could not be delivered or applied, newest first',
    scope: 'events:read',
    query: z.object({
      ...page,
      status: z.enum(['open', 'all']).default('open').meta({ description: '`open`: not replayed yet' }),
    }),
    responses: { 200: { description: 'One page', schema: listOf(deadLetter) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, status } = c.req.valid('query');
    const rows = await listDeadLetters(c.var.context, status === 'open', positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

deadLetters.post(
  '/:id/replay',
  operation({
    id: 'replayDeadLetter',
    tag: 'Events',
    summary: 'Deliver a dead letter again',
    description:
      'Its consumer applies it once. Replaying it again returns the same response and delivers nothing more.',
    scope: 'events:write',
    idempotency: 'optional',
    params: z.object({ id }),
    body: z.strictObject({}),
    responses: { 202: { description: 'The dead letter, which will be delivered again', schema: deadLetter } },
    errors: ['not_found', 'conflict'],
  }),
  async (c) => {
    const { deadLetter: replayedLetter, replayed } = await replayDeadLetter(c.var.context, c.req.valid('param').id);
    return showResult(c, replayedLetter, { status: 202, replayed });
  },
);
