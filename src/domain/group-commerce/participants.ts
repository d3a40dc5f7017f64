import { ApiError } from '../../base/errors.ts';
import type { Context } from '../../context.ts';
import { type ParticipantRow, type PlaceFilter, participantPage } from '../../db/group-commerce/queries.ts';
import { readAsShopper } from '../customers/shoppers.ts';
import { toParticipant } from './places.ts';

/**
 * The places of a campaign or of one of its teams, newest first, including released ones. A session lists the places of
 * its customer.
 * @throws ApiError not_found
 */
export async function listParticipants(
  context: Context,
  filter: PlaceFilter,
  before: string | undefined,
  limit: number,
) {
  if (context.call.shopper) {
    const own = await readAsShopper<ParticipantRow[]>(context, 'group_commerce.show_places', {
      ...filter,
      ...{ before, limit },
    });
    return own.map(toParticipant);
  }
  // Publishable keys may read campaigns but must not see who has joined: hence the write scope.
  const { rows } = await context.db.read(context.call, 'campaigns:write', (db) =>
    participantPage(db, filter, before, limit),
  );
  if (rows.length === 0) throw new ApiError('not_found');
  return rows.flatMap((row) => (row.participant ? [toParticipant(row.participant)] : []));
}
