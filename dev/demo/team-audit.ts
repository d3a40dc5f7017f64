import { fromMinor, toMinor } from '../../src/base/money.ts';
import { poolChecks } from '../chaos/audit/pools.ts';
import { teamChecks } from '../chaos/audit/teams.ts';
import { type Books, type IntentRow, intentsOf, queries, type StripeState } from '../chaos/books.ts';
import type { Audit } from './audit.ts';
import type { Shop } from './shop.ts';

/** The rows of one campaign. The conditions name columns of the queries of the chaos audit. */
const rowsOfCampaign = {
  campaigns: 'id = $1',
  teams: 'campaign = $1',
  participants: 'campaign = $1',
  customerUnits: 'campaign = $1',
  waiting: 'campaign = $1',
  orders: 'campaign = $1',
  reservations: '"order" in (select order_id from group_commerce.participants where campaign_id = $1)',
  payments: '"order" in (select order_id from group_commerce.participants where campaign_id = $1)',
  events: 'key in (select id from group_commerce.teams where campaign_id = $1)',
} as const;

/** Reads what the checks of teams and places need, and Stripe's intents for the places of the campaign. */
async function readBooks(shop: Shop, campaign: string): Promise<Books> {
  const books: Record<string, unknown[]> = {};
  for (const [name, condition] of Object.entries(rowsOfCampaign)) {
    const query = queries[name as keyof typeof rowsOfCampaign];
    books[name] = await shop.query(`select * from (${query}) rows where ${condition}`, [campaign]);
  }
  const read = books as unknown as Books;
  const orders = new Set(read.participants.map(({ order }) => order));
  const intents = intentsOf(await shop.callEmulator<StripeState>('state')).filter(({ order }) => orders.has(order));
  return { ...read, intents, clock: Date.now() };
}

/** Compares the money of each place in the database and at Stripe. Each difference is a sentence. */
function findMoneyDifferences({ participants, orders, payments, intents }: Books): string[] {
  const orderOf = new Map(orders.map((order) => [order.id, order]));
  const paymentOf = new Map(payments.map((payment) => [payment.order, payment]));
  const atStripe = new Map<string, IntentRow[]>();
  for (const intent of intents) atStripe.set(intent.order, [...(atStripe.get(intent.order) ?? []), intent]);
  return participants.flatMap(({ order: id, state, total, user }) => {
    const found = atStripe.get(id) ?? [];
    const captured = found.reduce((sum, intent) => sum + intent.captured, 0);
    const held = found.filter(({ status }) => status === 'requires_capture').length;
    const expected = state === 'charged' ? toMinor(total, 'EUR') : 0;
    const order = orderOf.get(id);
    const inDatabase = toMinor(paymentOf.get(id)?.captured ?? '0', 'EUR');
    return [
      ...(captured === expected && inDatabase === expected
        ? []
        : [`${user} (${state}): ${fromMinor(expected, 'EUR')} EUR expected, ${fromMinor(captured, 'EUR')} at Stripe.`]),
      ...(held === 0 ? [] : [`${user} (${state}): money is still held at Stripe.`]),
      ...(state === 'charged' && order?.status !== 'confirmed' ? [`${user}: the order is ${order?.status}.`] : []),
      ...(state === 'charged' || state === 'released' ? [] : [`${user}: the place is still ${state}.`]),
    ];
  });
}

/** Checks the teams, places, stock and money of a settled campaign against the database and Stripe. */
export async function auditTeams(shop: Shop, campaign: string): Promise<Audit> {
  const books = await readBooks(shop, campaign);
  const differences = findMoneyDifferences(books);
  for (const { name, run } of [...teamChecks, ...poolChecks]) {
    run(books, (subjects, message) => differences.push(`${[subjects].flat().join(' ')}: ${message} (${name})`));
  }
  const { participants, intents, reservations } = books;
  const charged = participants.filter(({ state }) => state === 'charged');
  const euros = (amounts: number[]) =>
    `${fromMinor(
      amounts.reduce((sum, amount) => sum + amount, 0),
      'EUR',
    )} EUR`;
  const sold = reservations.filter(({ status }) => status === 'committed').length;
  const lines = [
    `${participants.length} places = ${charged.length} charged + ${participants.length - charged.length} released; ` +
      `${sold} units sold`,
    `${euros(charged.map(({ total }) => toMinor(total, 'EUR')))} owed by ${charged.length} buyers; ` +
      `${euros(intents.map(({ captured }) => captured))} captured at Stripe`,
  ];
  return { lines, differences };
}
