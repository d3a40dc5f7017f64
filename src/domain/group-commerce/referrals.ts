import * as z from 'zod';
import type { Context } from '../../context.ts';
import { readAsShopper } from '../customers/shoppers.ts';

export const referrals = z
  .object({
    userId: z.string().meta({ description: 'The user who invited others' }),
    invited: z.number().int().meta({ description: 'Places that the invited users have now' }),
    charged: z.number().int().meta({ description: 'Those of them that are charged and not refunded in full' }),
  })
  .meta({ id: 'Referrals' });

/**
 * How many places of a campaign each inviter brought, by the inviters' ids. A session gets its own customer only.
 * @throws ApiError not_found
 */
export const listReferrals = (context: Context, campaignId: string, after: string | undefined, limit: number) =>
  // Publishable keys may read campaigns but must not see who has joined: hence a function that needs the write scope.
  readAsShopper<z.infer<typeof referrals>[]>(context, 'group_commerce.show_referrals', { campaignId, after, limit });
