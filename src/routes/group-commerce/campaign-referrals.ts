import { Hono } from 'hono';
import * as z from 'zod';
import { id, page } from '../../base/fields.ts';
import { listReferrals, referrals } from '../../domain/group-commerce/referrals.ts';
import type { AppEnv } from '../../http/app-env.ts';
import { operation } from '../../http/operation.ts';
import { bySku, positionOf, showPage } from '../../http/paging.ts';
import { listOf } from '../examples.ts';

/** Who invited whom to a campaign: `/v1/campaigns/{id}/referrals`. */
export const campaignReferrals = new Hono<AppEnv>();

campaignReferrals.get(
  '/:id/referrals',
  operation({
    id: 'listReferrals',
    tag: 'Group commerce',
    summary: "List a campaign's inviters, by their ids",
    description:
      'For each user whom a join named in `invitedBy`: how many places the invited users have, and how many of them are ' +
      'charged. Reward `charged`: a place counts once it is charged, and no longer once its order was cancelled or refunded ' +
      'in full. A customer’s session lists that customer only.',
    scope: 'campaigns:write',
    shoppers: ['session'],
    params: z.object({ id }),
    query: z.object(page),
    responses: {
      200: {
        description: 'One page',
        schema: listOf(referrals),
        example: { data: [{ userId: 'user-1', invited: 3, charged: 2 }], nextCursor: null },
      },
    },
    errors: ['not_found', 'invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const after = positionOf(c, cursor, bySku); // a user's id may have any characters too
    const rows = await listReferrals(c.var.context, c.req.valid('param').id, after, limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.userId });
  },
);
