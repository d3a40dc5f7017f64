import type { Books } from '../../dev/chaos/books.ts';
import type { CampaignRow, GroupBooks, ParticipantRow, TeamRow } from '../../dev/chaos/group-books.ts';
import type { ClientRequest } from '../../dev/chaos/journal.ts';
import { element } from './sales.ts';

const pool: CampaignRow = {
  ...{ id: 'campaign', tenant: 'default', status: 'successful', mode: 'pool', min: 1, max: 2, actual: 1, secured: 1 },
  ...{ securedUnits: 2, offered: 0, successOn: 'joined', maxPerCustomer: null, price: '12.00', settledPrice: '10.00' },
  ...{
    joiners: 'all',
    skus: ['A'],
    tiers: [{ participants: 1, price: 10 }],
    end: new Date('2026-11-22T13:00:00Z'),
    settled: true,
  },
};
const full: CampaignRow = {
  ...{ ...pool, id: 'full', status: 'active', min: 2, securedUnits: 1, offered: 1, joiners: 'new_customers' },
  ...{ skus: ['G'], price: '0', tiers: null, settledPrice: null, settled: false },
};
const withTeams: CampaignRow = {
  ...{ ...pool, id: 'teams', mode: 'teams', actual: 0, secured: 0, securedUnits: 0, maxPerCustomer: 1 },
  ...{ skus: ['G', 'H'], price: '0', tiers: null, settledPrice: null },
};
const place: ParticipantRow = {
  ...{ id: 'seat', campaign: 'campaign', team: null, user: 'u', order: 'place', payment: 'p-place', state: 'charged' },
  ...{ reason: null, sku: 'A', quantity: 2, secured: true, total: '20.00', invitedBy: null },
  joined: new Date('2026-11-22T12:01:00Z'),
};
const free = { ...place, sku: 'G', quantity: 1, payment: null, total: '0' };
const team: TeamRow = {
  ...{ id: 'team', tenant: 'default', campaign: 'teams', code: 'code', leader: 'u1', size: 2, joined: 2, secured: 2 },
  ...{ status: 'successful', mergedInto: null, settled: true },
};
const gone = { ...free, campaign: 'teams', team: 'gone', user: 'u3', order: 'o3', state: 'released' };
const offeredUntil = new Date('2026-11-22T12:10:00Z');

/**
 * A successful pool with tiers; a full pool with an offer and a waiting user; a campaign with a successful team, into
 * which another one was merged, and with an expired one that one member had left.
 */
export const validGroups = (): GroupBooks =>
  structuredClone({
    campaigns: [pool, full, withTeams],
    participants: [
      place,
      { ...free, id: 'full-1', campaign: 'full', user: 'u0', order: 'o0', state: 'secured' },
      { ...free, id: 'place-1', campaign: 'teams', team: 'team', user: 'u1', order: 'o1' },
      { ...free, id: 'place-2', campaign: 'teams', team: 'team', user: 'u2', order: 'o2', invitedBy: 'u1' },
      { ...gone, id: 'place-3', reason: 'team_expired' },
      { ...gone, id: 'place-4', reason: 'left', user: 'u4', order: 'o4' },
    ],
    teams: [
      team,
      { ...team, id: 'moved', leader: 'u2', joined: 0, secured: 0, status: 'merged', mergedInto: 'team' },
      { ...team, id: 'gone', leader: 'u3', joined: 1, secured: 1, status: 'expired' },
    ],
    customerUnits: [1, 2, 3, 4].map((n) => ({ campaign: 'teams', user: `u${n}`, units: Number(n < 3) })),
    waiting: [
      { id: 'w1', campaign: 'full', user: 'w1', state: 'offered', offeredUntil },
      { id: 'w2', campaign: 'full', user: 'w2', state: 'waiting', offeredUntil: null },
      { id: 'w3', campaign: 'full', user: 'w3', state: 'left', offeredUntil: null },
    ],
    referrals: [{ campaign: 'teams', user: 'u1', invited: 1, charged: 1 }],
  } satisfies GroupBooks);

export type NewEvent = [topic: string, key: string, payload?: Record<string, unknown>];

const teamEvent = (fact: string, key: string, payload: Record<string, unknown> = {}): NewEvent => [
  `group-commerce.team.${fact}`,
  key,
  payload,
];
const orderEvents = (order: string): NewEvent[] =>
  ['order.created', 'inventory.reserved', 'order.confirmed'].map((topic) => [topic, order]);

export const groupEvents: NewEvent[] = [
  ['group-commerce.campaign.priced', 'campaign', { securedParticipants: 1, securedUnits: 2 }],
  ['group-commerce.campaign.created', 'full'],
  ['group-commerce.campaign.joined', 'full', { userId: 'u0' }],
  ['group-commerce.place.offered', 'full', { userId: 'w1' }],
  ['group-commerce.campaign.created', 'teams'],
  teamEvent('created', 'team'),
  teamEvent('created', 'moved'),
  teamEvent('created', 'gone'),
  teamEvent('joined', 'gone'),
  teamEvent('left', 'gone'),
  teamEvent('expired', 'gone'),
  teamEvent('merged', 'moved'),
  teamEvent('successful', 'team', { team: { joined: 2, secured: 2 } }),
  ...orderEvents('o1'),
  ...orderEvents('o2'),
  ['group-commerce.campaign.successful', 'teams', { actualParticipants: 2, securedParticipants: 2 }],
];

/** Adds the orders, the stock and the requests of the places above. */
export function addGroupSales(books: Books): Books {
  const order = { ...element(books.orders), reference: null, address: false, total: '0', campaign: 'teams' };
  const hold = { ...element(books.reservations), skus: ['G'], quantities: [1], restocked: null };
  for (const id of ['o1', 'o2']) {
    books.orders.push({ ...order, id, items: [{ sku: 'G', quantity: 1, price: 0 }] });
    books.reservations.push({ ...hold, order: id });
  }
  books.reservations.push({ ...hold, order: 'o0', status: 'held' });
  for (const id of ['o3', 'o4']) books.reservations.push({ ...hold, order: id, status: 'released' });
  books.stock.push({ tenant: 'default', sku: 'G', quantity: 7, reserved: 1 });
  books.adjustments.push({ tenant: 'default', sku: 'G', delta: 10, reason: 'opening' });
  books.requests.push(
    request('teams.open', 'u1', { team: { id: 'team' }, participant: { id: 'place-1', sku: 'G', quantity: 1 } }),
    request('teams.leave', 'u4', { participant: { id: 'place-4' } }, 200),
    request('campaigns.join', 'w2', { id: 'w2' }, 202),
    request('campaigns.leave', 'w3', { id: 'w3' }, 200),
  );
  return books;
}

/** A request for the full pool, or for a team by its code. */
const request = (operation: string, userId: string, body: unknown, status = 201, more: object = {}): ClientRequest => ({
  ...{ n: 1, story: 's2', tenant: 'default', operation, method: 'POST', key: null },
  path: operation.startsWith('teams') ? '/v1/teams/by-code/code/join' : '/v1/campaigns/full/join',
  body: { userId, ...more },
  attempts: [{ at: 0, tookMs: 1, outcome: status }],
  responses: [{ status, body, replayed: false }],
  abandoned: false,
});

type Breakage = [check: string, title: string, change: (books: Books) => void];
const teamCounts = "a team's counts match its places, and a member leads it";
const teamEnds = 'a team that ended without success has no place, and the places of a successful one have orders';
const teamFacts = "a team's end and its places have their events, and it succeeded with all its places";
const rows = 'a campaign with teams counts nothing in its row, and is successful if one of its teams is';
const customers =
  "a customer's units in a campaign with a limit are those of its places, and never more than the limit";
const poolCounts = "a pool's counts match its places and its waiting list, and no place is free while somebody waits";
const prices = 'the price of a campaign with tiers is fixed once, and every order of it has that price';
const holds = 'a place holds its quantity of its SKU';
const money = 'a place has one payment, captured at most as authorized, and a released place holds no money';
const responses = 'every response that a client got is true';
const secured = 'every secured place has a payment or a saved payment method';
const offers = 'free places are offered in the order of the waiting list, and never more than the maximum';
const eligible = 'only customers without a paid order join a campaign for new customers';
const invites = 'an inviter has a place in the campaign, and the referrals count the places of those who were invited';
const teamOf = (b: Books, index = 0) => element(b.teams, index);
const placeOf = (b: Books, index: number) => element(b.participants, index);
const eventOf = (b: Books, topic: string) => element(b.events.filter((event) => event.topic.endsWith(topic)));
const removeEvent = (b: Books, topic: string) => b.events.splice(b.events.indexOf(eventOf(b, topic)), 1);

/** A join of a user without a place that got an error. The books contradict this error, after `change`. */
const refused = (title: string, operation: string, code: string, change: Breakage[2] = () => undefined): Breakage => [
  responses,
  title,
  (b) => {
    change(b);
    b.requests.push(request(operation, 'u9', { code }, code === 'validation_failed' ? 422 : 409));
  },
];

/** The order of the place costs 20.00 and has this tax line. */
const taxed = (title: string, line: { rate: number; taxable: number; amount: number }): Breakage => [
  'the taxes of a place follow from its price and the rates that it froze',
  title,
  (b) => Object.assign(element(b.amounts, 2), { subtotal: '20.00', taxLines: [line] }),
];

/** Changes that break each promise about teams, limits, waiting lists, tiers and the money of places. */
export const groupBreakages: Breakage[] = [
  [teamCounts, 'a team that counts too few places', (b) => teamOf(b).joined--],
  [teamCounts, 'a team that counts too few secured places', (b) => teamOf(b).secured--],
  [teamCounts, 'a team with more places than its size', (b) => (teamOf(b).size = 1)],
  [teamCounts, 'a leader who is no member', (b) => (teamOf(b).leader = 'u3')],
  [teamCounts, 'a user with two places in a team', (b) => (placeOf(b, 3).user = 'u1')],
  [teamCounts, 'a place in a team of another campaign', (b) => (placeOf(b, 2).campaign = 'full')],
  [teamEnds, 'a place of an expired team', (b) => (placeOf(b, 4).state = 'secured')],
  [teamEnds, 'a place that stayed in a merged team', (b) => (placeOf(b, 3).team = 'moved')],
  [teamEnds, 'a team that was merged into one of another campaign', (b) => (teamOf(b).campaign = 'full')],
  [teamEnds, 'a settled team whose place has no order', (b) => (placeOf(b, 2).state = 'secured')],
  [teamEnds, 'a forming team with an order', (b) => (teamOf(b).status = 'forming')],
  [teamFacts, 'a team that succeeded without its event', (b) => removeEvent(b, 'team.successful')],
  [teamFacts, 'a team that expired twice', (b) => b.events.push(eventOf(b, 'team.expired'))],
  [teamFacts, 'a success without all places', (b) => (eventOf(b, 'team.successful').payload = { team: { joined: 1 } })],
  [teamFacts, 'a place without its event', (b) => removeEvent(b, 'team.joined')],
  [teamFacts, 'a place that was left without its event', (b) => removeEvent(b, 'team.left')],
  [rows, 'a campaign with teams that counts places', (b) => element(b.campaigns, 2).actual++],
  [rows, 'a campaign that expired although a team succeeded', (b) => (element(b.campaigns, 2).status = 'expired')],
  [rows, 'a successful campaign without a successful team', (b) => (teamOf(b).status = 'expired')],
  [rows, 'a settled campaign with a forming team', (b) => (teamOf(b, 2).status = 'forming')],
  [rows, 'a pool with a team', (b) => (element(b.campaigns, 2).mode = 'pool')],
  [customers, 'more units than the limit', (b) => (placeOf(b, 2).quantity = 2)],
  [customers, 'units of a released place that are still counted', (b) => element(b.customerUnits, 2).units++],
  [customers, 'units that are not counted', (b) => b.customerUnits.splice(0, 1)],
  [poolCounts, 'a pool with a wrong number of secured places', (b) => element(b.campaigns).secured--],
  [poolCounts, 'a pool with a wrong number of secured units', (b) => (element(b.campaigns).securedUnits = 1)],
  [poolCounts, 'an offer that is not counted', (b) => (element(b.campaigns, 1).offered = 0)],
  [poolCounts, 'an offer above the maximum', (b) => (element(b.campaigns, 1).max = 1)],
  [poolCounts, 'a free place while somebody waits', (b) => (element(b.campaigns, 1).max = 3)],
  [poolCounts, 'a user who waits twice', (b) => (element(b.waiting, 1).user = 'w1')],
  [
    poolCounts,
    'a user who waits for a place in a campaign that is over',
    (b) => Object.assign(element(b.campaigns, 1), { status: 'expired', settled: true }),
  ],
  [prices, 'a price that was fixed twice', (b) => b.events.push(eventOf(b, 'campaign.priced'))],
  [prices, 'a price of a tier that was not reached', (b) => (eventOf(b, 'campaign.priced').payload = {})],
  [prices, 'a price without its event', (b) => removeEvent(b, 'campaign.priced')],
  [prices, 'an order at another price', (b) => (element(b.orders, 2).items = [{ sku: 'A', quantity: 2, price: 12 }])],
  taxed('a tax of another rate', { rate: 20, taxable: 20, amount: 2 }),
  taxed('a tax of the entry price', { rate: 10, taxable: 24, amount: 2 }),
  [holds, 'a place that holds fewer units', (b) => (element(b.reservations, 2).quantities = [1])],
  [holds, 'a place that holds another SKU', (b) => (placeOf(b, 1).sku = 'B')],
  [money, 'a place without its payment', (b) => b.payments.splice(1, 1)],
  [money, 'a place that was charged more than was authorized', (b) => (element(b.intents, 1).amount = 1_900)],
  [money, 'a payment of more than was authorized', (b) => (element(b.payments, 1).authorized = '19.00')],
  [
    money,
    'a released place whose money is held',
    (b) => b.intents.push({ ...element(b.intents), id: 'pi_5', order: 'o3', status: 'requires_capture', captured: 0 }),
  ],
  [secured, 'a team that succeeded with a place that has no payment', (b) => (placeOf(b, 2).payment = 'p-other')],
  [
    responses,
    'a place that does not exist',
    (b) => b.requests.push(request('teams.join', 'u9', { team: { id: 'team' } })),
  ],
  [
    responses,
    'an error although the place was taken',
    (b) => b.requests.push(request('teams.join', 'u2', { code: 'team_full' }, 409)),
  ],
  [responses, 'a place that was not left', (b) => (placeOf(b, 5).state = 'joined')],
  [responses, 'a place of more units', (b) => (placeOf(b, 2).quantity = 2)],
  [responses, 'a place with another inviter', (b) => (placeOf(b, 2).invitedBy = 'u2')],
  [responses, 'a user who waits without an entry', (b) => (element(b.waiting, 1).user = 'w9')],
  [responses, 'a user who waits although a place was free', (b) => (element(b.campaigns, 1).max = 4)],
  [responses, 'a waiting list that was not left', (b) => (element(b.waiting, 2).state = 'waiting')],
  refused('a limit that was not reached', 'teams.join', 'limit_per_customer', (b) => {
    element(b.campaigns, 2).maxPerCustomer = 2;
  }),
  refused('a limit that there is not', 'campaigns.join', 'limit_per_customer'),
  refused('a customer who may join', 'teams.join', 'customer_not_eligible', (b) => (element(b.orders).customer = 'u9')),
  refused('a new customer who may join', 'campaigns.join', 'customer_not_eligible'),
  refused('a campaign that was not full', 'campaigns.join', 'campaign_full', (b) => (element(b.campaigns, 1).max = 4)),
  refused('a join that is valid', 'campaigns.join', 'validation_failed'),
  [offers, 'an offer without its event', (b) => removeEvent(b, 'place.offered')],
  [offers, 'an offer to a user who does not wait', (b) => (eventOf(b, 'place.offered').payload = { userId: 'w3' })],
  [
    offers,
    'an offer that passes over the first in line',
    (b) => {
      element(b.waiting, 1).offeredUntil = offeredUntil;
      b.events.unshift({ ...eventOf(b, 'place.offered'), payload: { userId: 'w2' } });
    },
  ],
  [
    offers,
    'a place that was taken while it was kept for another user',
    (b) => b.events.push({ ...eventOf(b, 'campaign.joined'), key: 'full', payload: { userId: 'u9' } }),
  ],
  [offers, 'an offer that was taken without a place', (b) => (element(b.waiting, 2).state = 'taken')],
  [offers, 'an offer that lapsed and was never made', (b) => (element(b.waiting, 2).state = 'lapsed')],
  [offers, 'a user who waits for a team', (b) => (element(b.waiting, 2).campaign = 'teams')],
  [eligible, 'a buyer in a campaign for new customers', (b) => (element(b.orders).customer = 'u0')],
  [invites, 'an inviter without a place', (b) => (placeOf(b, 3).invitedBy = 'nobody')],
  [invites, 'a user who invited themself', (b) => (placeOf(b, 3).invitedBy = 'u2')],
  [invites, 'a charged place that is not counted', (b) => (element(b.referrals).charged = 0)],
  [invites, 'a released place that is counted', (b) => (placeOf(b, 3).state = 'released')],
  [invites, 'an inviter whom nobody named', (b) => (placeOf(b, 3).invitedBy = null)],
  [
    secured,
    'a price of more places than have paid',
    (b) => (eventOf(b, 'campaign.priced').payload = { securedParticipants: 2, securedUnits: 2 }),
  ],
  [
    secured,
    'a price of more units than are paid',
    (b) => (eventOf(b, 'campaign.priced').payload = { securedParticipants: 1, securedUnits: 3 }),
  ],
];
