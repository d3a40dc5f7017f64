import * as z from 'zod';
import { id, money, time } from '../../base/fields.ts';
import { cellOfTeamCode } from '../../base/team-codes.ts';
import { type Context, inCell } from '../../context.ts';
import { teamStatus } from './teams.ts';

export const card = z
  .object({
    title: z.string().meta({ description: 'The name of the product' }),
    description: z.string().nullable().meta({ description: 'The start of the product’s description' }),
    image: z
      .object({
        url: z.url(),
        alt: z.string().nullable(),
        width: z.number().int(),
        height: z.number().int(),
      })
      .nullable()
      .meta({ description: 'The first image of the product' }),
    status: teamStatus,
    size: z.number().int(),
    joined: z.number().int(),
    missing: z.number().int().meta({ description: 'Places that can be taken now. 0 if the team is not open' }),
    open: z.boolean().meta({ description: 'Whether the team takes another place' }),
    price: money,
    originalPrice: money,
    currency: z.string(),
    endTime: time,
    secondsLeft: z.number().int().meta({ description: 'Until `endTime`. 0 if the team is no longer forming' }),
    teamId: id.meta({ description: 'The team, or the one that it was merged into' }),
    campaignId: id,
    productId: id,
  })
  .meta({ id: 'TeamCard' });

export type Card = z.infer<typeof card>;

/** A card as the database returns it. It can be cached: it has no field that depends on the time or on the server's address. */
export type CardRow = Omit<Card, 'image' | 'missing' | 'secondsLeft'> & {
  image: { path: string; alt: string | null; width: number; height: number } | null;
};

type FoundCard = { tenant: string; answer: CardRow } | { answer: null; cells: string[] };

/**
 * Reads the card of a team by the code of its share link. It needs no key. The code names the team's first cell; that
 * cell names others if tenants have moved there. Undefined if there is no such team.
 */
export async function readCard(context: Context, code: string): Promise<{ row: CardRow; tenant: string } | undefined> {
  const { cells } = context.settings;
  const toAsk = [cellOfTeamCode(code, cells)];
  for (const cell of toAsk) {
    const { db, call } = inCell(context, cell);
    const found = await db.run<FoundCard>('group_commerce.show_card', call, { code });
    if (found.answer !== null) return { row: found.answer, tenant: found.tenant };
    toAsk.push(...found.cells.filter((other) => cells.has(other) && !toAsk.includes(other)));
  }
  return undefined;
}

/** The card as it is now. `origin`: where images are served. */
export function toCard(row: CardRow, now: Date, origin: string): Card {
  const left = Math.max(0, Math.ceil((Date.parse(row.endTime) - now.getTime()) / 1_000));
  const open = row.open && left > 0;
  const { image } = row;
  return {
    title: row.title,
    description: row.description,
    image: image && { url: origin + image.path, alt: image.alt, width: image.width, height: image.height },
    status: row.status,
    size: row.size,
    joined: row.joined,
    missing: open ? row.size - row.joined : 0,
    open,
    price: row.price,
    originalPrice: row.originalPrice,
    currency: row.currency,
    endTime: row.endTime,
    secondsLeft: row.status === 'forming' ? left : 0,
    teamId: row.teamId,
    campaignId: row.campaignId,
    productId: row.productId,
  };
}
