import type { Books, EventRow } from '../books.ts';
import { type Check, groupBy, type Report } from '../finding.ts';
import type { CampaignRow, WaitingRow } from '../group-books.ts';

const prefix = 'group-commerce';
/** A cron of the run can be five minutes ahead, and then ends an offer as much too early. */
const cronAheadMs = 310_000;

type Replayed = { most: number; mostPossible: number; message: string | null };

/**
 * Replays the places of a pool. `most`: the most places that were surely taken or kept for somebody at the same time.
 * `mostPossible` also counts offers that may have ended: no event shows that. `message`: what is wrong with its offers.
 */
function replay({ max }: CampaignRow, events: readonly EventRow[], entries: readonly WaitingRow[]): Replayed {
  const offered = groupBy(
    entries.filter(({ offeredUntil }) => offeredUntil !== null),
    ({ user }) => user,
  );
  const open = new Map<string, WaitingRow>();
  let [taken, last, offers] = [0, '', 0];
  const result: Replayed = { most: 0, mostPossible: 0, message: null };
  const isKept = ({ state, offeredUntil }: WaitingRow, at: number): boolean =>
    state === 'taken' || (state !== 'left' && at < (offeredUntil?.getTime() ?? 0) - cronAheadMs);
  for (const { topic, payload, seq, time } of events) {
    const user = String(payload.userId);
    if (topic === `${prefix}.campaign.joined`) {
      taken++;
      open.delete(user);
    } else if (topic === `${prefix}.campaign.left`) taken--;
    else if (topic === `${prefix}.place.offered`) {
      offers++;
      const entry = offered.get(user)?.shift();
      if (entry === undefined) result.message = `event ${seq} offers a place to ${user}, who has no entry for it`;
      else if (entry.id < last)
        result.message = `event ${seq} offers a place to ${user}, who was not the first in line`;
      if (entry === undefined) continue;
      last = entry.id;
      open.set(user, entry);
    } else continue;
    const kept = [...open.values()].filter((entry) => isKept(entry, time.getTime())).length;
    result.most = Math.max(result.most, taken + kept);
    result.mostPossible = Math.max(result.mostPossible, taken + offers);
  }
  const missing = [...offered.values()].flat()[0];
  if (missing) result.message = `${missing.user} got an offer, but there is no event for it`;
  if (result.most > max)
    result.message = `${result.most} places were taken or offered at a time, but the maximum is ${max}`;
  return result;
}

/** The replay of each pool, by its id. */
function replayPools(books: Books): Map<string, Replayed> {
  const events = groupBy(books.events, ({ key }) => key);
  const waiting = groupBy(books.waiting, ({ campaign }) => campaign);
  const pools = books.campaigns.filter(({ mode }) => mode === 'pool');
  return new Map(pools.map((pool) => [pool.id, replay(pool, events.get(pool.id) ?? [], waiting.get(pool.id) ?? [])]));
}

/** The ids of the pools that may have been full at some time. */
export function findFullPools(books: Books): Set<string> {
  const replayed = replayPools(books);
  const isFull = ({ id, max }: CampaignRow) => (replayed.get(id)?.mostPossible ?? 0) >= max;
  return new Set(books.campaigns.filter(isFull).map(({ id }) => id));
}

function checkEntries(books: Books, report: Report): void {
  const places = groupBy(books.participants, ({ campaign, user }) => `${campaign} ${user}`);
  const pools = new Set(books.campaigns.filter(({ mode }) => mode === 'pool').map(({ id }) => id));
  for (const { id, campaign, user, state, offeredUntil } of books.waiting) {
    if (!pools.has(campaign)) report([id, campaign], `${user} waits for a campaign that is not a pool`);
    if (state === 'taken' && !places.has(`${campaign} ${user}`))
      report([id, campaign], `${user} has taken the place of a waiting list, but never had a place`);
    if (state === 'lapsed' && offeredUntil === null)
      report([id, campaign], `the offer of ${user} has lapsed, but there was none`);
  }
}

const offers: Check = {
  name: 'free places are offered in the order of the waiting list, and never more than the maximum',
  run(books, report) {
    for (const [id, { message }] of replayPools(books)) if (message !== null) report(id, message);
    checkEntries(books, report);
  },
};

export const waitingChecks: Check[] = [offers];
