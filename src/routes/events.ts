import * as z from 'zod';
import { exact, id, page } from '../base/fields.ts';
import { deadLetter, event, listDeadLetters, listEvents, replayDeadLetter } from '../domain/events.ts';
import { byId, bySequence, pageOf, positionOf } from '../http/paging.ts';
import { route } from '../http/route.ts';
import { listOf } from './examples.ts';

const name = exact(255);

export const eventRoutes = [
  route({
    id: 'listEvents',
    method: 'get',
    path: '/v1/events',
    tag: 'Events',
    summary: 'List events, newest first',
    scope: 'events:read',
    query: z.object({ ...page, topic: name.optional(), key: name.optional() }),
    answers: { 200: { description: 'A page', schema: listOf(event) } },
    errors: ['invalid_cursor'],
    async run({ query: { limit, cursor, ...filter }, context, http }) {
      const position = positionOf(http, cursor, bySequence);
      const rows = await listEvents(context, filter, position, limit + 1);
      const { rows: shown, ...answer } = pageOf(http, rows, limit, (row) => String(row.seq));
      return { ...answer, body: { ...(answer.body as object), data: shown.map((row) => row.event) } };
    },
  }),
  route({
    id: 'listDeadLetters',
    method: 'get',
    path: '/v1/dead-letters',
    tag: 'Events',
    summary: 'List what could not be delivered or applied, newest first',
    scope: 'events:read',
    query: z.object({
      ...page,
      status: z.enum(['open', 'all']).default('open').meta({ description: '`open`: not replayed yet' }),
    }),
    answers: { 200: { description: 'A page', schema: listOf(deadLetter) } },
    errors: ['invalid_cursor'],
    async run({ query: { limit, cursor, status }, context, http }) {
      const rows = await listDeadLetters(context, status === 'open', positionOf(http, cursor, byId), limit + 1);
      return pageOf(http, rows, limit, (row) => row.id);
    },
  }),
  route({
    id: 'replayDeadLetter',
    method: 'post',
    path: '/v1/dead-letters/{id}/replay',
    tag: 'Events',
    summary: 'Deliver a dead letter again',
    description: 'Its consumer applies it once. Replaying it again gives the same answer and delivers nothing more.',
    scope: 'events:write',
    idempotency: 'taken',
    params: z.object({ id }),
    body: z.strictObject({}),
    answers: { 202: { description: 'It will be delivered', schema: deadLetter } },
    errors: ['not_found', 'conflict'],
    async run({ params: { id: letterId }, context }) {
      const { letter, tenant, replayed } = await replayDeadLetter(context, letterId);
      return { status: 202, body: letter, tenant, replayed };
    },
  }),
];
