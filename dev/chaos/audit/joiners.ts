import type { Books } from '../books.ts';
import { type Check, groupBy, sum } from '../finding.ts';
import { textOf } from '../journal.ts';

const sold = new Set(['confirmed', 'shipped', 'delivered']);
/** A join reads the orders without a lock, and a cron of the run can be five minutes ahead. */
const slackMs = { confirmed: 15_000, ended: 330_000 };

/** The users who opened a team. In a campaign for new customers anybody may do that. */
const findLeaders = (books: Books): Set<string> =>
  new Set(
    books.requests.filter(({ operation }) => operation === 'teams.open').map(({ body }) => textOf(body, 'userId')),
  );

/** Whether each customer may have had a paid order at some time. */
export function findBuyers(books: Books): Set<string> {
  const confirmed = new Set(books.events.filter(({ topic }) => topic === 'order.confirmed').map(({ key }) => key));
  return new Set(
    books.orders.filter(({ id }) => confirmed.has(id)).map(({ tenant, customer }) => `${tenant} ${customer}`),
  );
}

const newCustomers: Check = {
  name: 'only customers without a paid order join a campaign for new customers',
  run(books, report) {
    const events = groupBy(books.events, ({ key }) => key);
    const orders = groupBy(books.orders, ({ tenant, customer }) => `${tenant} ${customer}`);
    const campaigns = new Map(books.campaigns.map((campaign) => [campaign.id, campaign]));
    const leaders = findLeaders(books);
    for (const { campaign: id, user, order: own, joined } of books.participants) {
      const campaign = campaigns.get(id);
      if (campaign?.joiners !== 'new_customers' || leaders.has(user)) continue;
      const isPaidBefore = (order: string): boolean => {
        const at = (topics: string[]) =>
          events
            .get(order)
            ?.find(({ topic }) => topics.includes(topic))
            ?.time.getTime();
        const [confirmed, ended] = [at(['order.confirmed']), at(['order.cancelled', 'order.refunded'])];
        if (confirmed === undefined || confirmed > joined.getTime() - slackMs.confirmed) return false;
        return ended === undefined || ended > joined.getTime() + slackMs.ended;
      };
      const paid = (orders.get(`${campaign.tenant} ${user}`) ?? []).find(
        (row) => row.id !== own && isPaidBefore(row.id),
      );
      if (paid)
        report([own, paid.id], `${user} has joined a campaign for new customers with the paid order ${paid.id}`);
    }
  },
};

const referrals: Check = {
  name: 'an inviter has a place in the campaign, and the referrals count the places of those who were invited',
  run(books, report) {
    const users = new Set(books.participants.map(({ campaign, user }) => `${campaign} ${user}`));
    const statuses = new Map(books.orders.map(({ id, status }) => [id, status]));
    const invited = groupBy(
      books.participants.filter(({ invitedBy }) => invitedBy !== null),
      ({ campaign, invitedBy }) => `${campaign} ${invitedBy}`,
    );
    const shown = new Map(books.referrals.map((row) => [`${row.campaign} ${row.user}`, row]));
    for (const [inviter, places] of invited) {
      const [campaign = '', user = ''] = inviter.split(' ');
      for (const place of places) {
        if (place.user === user || !users.has(inviter))
          report(place.order, `${place.user} was invited by ${user}, who has no other place in the campaign`);
      }
      const live = sum(places, ({ state }) => Number(state !== 'released'));
      const charged = sum(places, ({ state, order }) =>
        Number(state === 'charged' && sold.has(statuses.get(order) ?? '')),
      );
      const row = shown.get(inviter);
      if (row?.invited !== live || row.charged !== charged) {
        report(
          [campaign, user],
          `${user} has invited ${live} users, ${charged} of them charged, but the API counts ${row?.invited} and ${row?.charged}`,
        );
      }
    }
    for (const inviter of shown.keys())
      if (!invited.has(inviter)) report(inviter.split(' '), 'it has referrals, but invited nobody');
  },
};

export const joinerChecks: Check[] = [newCustomers, referrals];
