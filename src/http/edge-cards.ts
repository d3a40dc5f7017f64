// Caches the cards of teams in the data center that reads them, by the code of the share link. A join does not invalidate
// the card, so it needs no cache operation, and the card of a full team shows a free place for up to 15 s. The fields that
// depend on the time or on the request are not cached: they are added to each response.

import type { CardRow } from '../domain/group-commerce/card.ts';
import { cache, urlOf } from './edge-tokens.ts';

/** A card is served for at most this long after its read began, in this cache and in those of clients together. */
export const cardSeconds = 15;
/** For this time, a code that no team has is rejected without a database call. */
const unknownSeconds = 5;

/** `found`: absent if no team has the code. */
export type CachedCard = { found?: { row: CardRow; tenant: string }; readAt: number };

const maxEntries = 1_000;
/** Cards that this isolate has read. */
const cards = new Map<string, CachedCard>();

const urlOfCard = (code: string): string => urlOf('card', code);
const secondsOf = ({ found }: CachedCard): number => (found === undefined ? unknownSeconds : cardSeconds);

/** The seconds for which a card may still be served. */
export const freshSeconds = (card: CachedCard, now: Date): number =>
  secondsOf(card) - Math.max(0, now.getTime() - card.readAt) / 1_000;

const ifFresh = (card: CachedCard | undefined, now: Date): CachedCard | undefined =>
  card !== undefined && freshSeconds(card, now) > 0 ? card : undefined;

/** The result of the last read of a code in this data center (a card, or that no team has the code), if it is fresh. */
export async function lookUpCard(code: string, now: Date): Promise<CachedCard | undefined> {
  const own = ifFresh(cards.get(code), now);
  if (own) return own;
  const stored = await cache().match(urlOfCard(code));
  const shared = stored && ifFresh(await stored.json<CachedCard>(), now);
  if (shared) remember(code, shared);
  return shared;
}

function remember(code: string, card: CachedCard): void {
  if (cards.size >= maxEntries) cards.clear();
  cards.set(code, card);
}

/** Stores a card in this isolate at once, and in its data center once the promise resolves. */
export function cacheCard(code: string, card: CachedCard): Promise<void> {
  remember(code, card);
  const headers = { 'content-type': 'application/json', 'cache-control': `max-age=${secondsOf(card)}` };
  return cache().put(urlOfCard(code), new Response(JSON.stringify(card), { headers }));
}
