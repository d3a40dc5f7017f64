import { Hono } from 'hono';
import * as z from 'zod';
import { exact, page } from '../base/fields.ts';
import { event, listEvents } from '../domain/events.ts';
import type { AppEnv } from '../http/app-env.ts';
import { operation } from '../http/operation.ts';
import { bySequence, positionOf, showPage } from '../http/paging.ts';
import { listOf } from './examples.ts';

const name = exact(255);

/** The event history: `/v1/events`. */
export const events = new Hono<AppEnv>();

events.get(
  '/',
  operation({
    id: 'listEvents',
    tag: 'Events',
    summary: 'List events, newest first',
    scope: 'events:read',
    query: z.object({ ...page, topic: name.optional(), key: name.optional() }),
    responses: { 200: { description: 'One page', schema: listOf(event) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    const rows = await listEvents(c.var.context, filter, positionOf(c, cursor, bySequence), limit + 1);
    return showPage(c, { rows, limit, position: (row) => String(row.seq), show: (row) => row.event });
  },
);
