import * as z from 'zod';
import type { Budget } from '../../base/budget.ts';
import { id, time } from '../../base/fields.ts';
import type { Context } from '../../context.ts';
import type { WaitingRow } from '../../db/group-commerce/queries.ts';
import { readAsShopper } from '../customers/shoppers.ts';
import { runUntilNone } from './batches.ts';

export const waitingPlace = z
  .object({
    id,
    campaignId: id,
    userId: z.string(),
    state: z.enum(['waiting', 'offered', 'taken', 'lapsed', 'left', 'ended']).meta({
      description:
        '`offered`: a place is kept for the user. `taken`: the user has joined. `lapsed`: the offer was not taken in time. ' +
        '`left`: the user has left the waiting list. `ended`: the campaign takes no more places',
    }),
    position: z.number().int().nullable().meta({
      description:
        'Where the user is in line. 1: first. 10001: behind 10,000 others or more. null: the user waits no more',
    }),
    offeredUntil: time
      .nullable()
      .meta({ description: 'Until when the place is kept for the user. null if none is offered' }),
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'WaitingPlace' });

export type WaitingPlace = z.infer<typeof waitingPlace>;

/** The answer of joining and leaving about a user who waits. */
export type WaitingAnswer = { waiting: WaitingRow };

export const toWaitingPlace = (row: WaitingRow): WaitingPlace => ({
  id: row.id,
  campaignId: row.campaignId,
  userId: row.userId,
  state: row.state,
  position: row.position,
  offeredUntil: row.offeredUntil,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});

/**
 * The waiting list of a campaign, the first in line first. A session sees its customer's entry only.
 * @throws ApiError not_found
 */
export async function listWaiting(context: Context, campaignId: string, after: string | undefined, limit: number) {
  const rows = await readAsShopper<WaitingRow[]>(context, 'group_commerce.show_waiting', { campaignId, after, limit });
  return rows.map(toWaitingPlace);
}

const batch = 200;

/**
 * Passes offers that were not taken in time to the next entry, and ends the waiting lists of campaigns that take no
 * more places.
 * @returns the number of entries that changed
 */
export const updateWaitingLists = (context: Context, budget: Budget): Promise<number> =>
  runUntilNone(context, 'group_commerce.update_waiting', 'changed', batch, budget);
