import { setTimeout as sleep } from 'node:timers/promises';
import { type Payment, type Shop, waitUntil } from './shop.ts';
import { auditTeams } from './team-audit.ts';

type Team = { id: string; code: string };
type Place = { id: string; orderId: string };
export type TeamStory = keyof typeof teamStories;

/** What happens to a team, as the output describes it. */
export const teamStories = {
  fills: 'fill with three buyers',
  leaderLeaves: 'fill after the leader has left',
  single: 'have one buyer, who may be merged',
  pair: 'have two buyers, who may be merged',
  memberLeaves: 'lose one of three buyers',
  refuses: 'stay short and refuse to be merged',
} as const;

const order: TeamStory[] = [
  ...(['fills', 'single', 'fills', 'pair', 'fills', 'leaderLeaves', 'single', 'fills', 'memberLeaves'] as const),
  ...(['single', 'fills', 'refuses'] as const),
];
const size = 3;
const teamMinutes = 60;
const campaignMinutes = 180;
const clients = 12;

type Counts = { opened: number; places: number; declined: number; left: number };

/** Buyers of the teams of one campaign. */
function buyersOf(shop: Shop, campaign: string, counts: Counts) {
  const enter = async (path: string, userId: string, merge: boolean) => {
    const entered = await shop.expectOk<{ team: Team; participant: Place }>('POST', path, { userId, merge });
    counts.places++;
    await pay(entered.participant, counts.places % 10 === 0);
    return entered;
  };

  /** Pays for a place. A buyer who is declined pays with another card. */
  async function pay({ orderId }: Place, isDeclined: boolean): Promise<void> {
    const payment = await shop.expectOk<Payment>('POST', '/v1/payments', { orderId });
    if (isDeclined) {
      await shop.confirm(payment, 'pm_card_visa_chargeDeclined');
      counts.declined++;
    }
    await shop.confirm(payment, 'pm_card_visa');
  }

  return {
    async open(user: string, merge: boolean): Promise<Team> {
      const { team } = await enter(`/v1/campaigns/${campaign}/teams`, user, merge);
      counts.opened++;
      return team;
    },
    join: (team: Team, user: string, merge = true) => enter(`/v1/teams/by-code/${team.code}/join`, user, merge),
    async leave(team: Team, user: string): Promise<void> {
      await shop.expectOk('POST', `/v1/teams/${team.id}/leave`, { userId: user });
      counts.left++;
    },
  };
}

async function playTeam(buyers: ReturnType<typeof buyersOf>, story: TeamStory, n: number): Promise<void> {
  const user = (name: string) => `team-${n}-${name}`;
  const merge = story !== 'refuses';
  const team = await buyers.open(user('ada'), merge);
  if (story === 'single' || story === 'refuses') return;
  await buyers.join(team, user('bob'));
  if (story === 'pair') return;
  if (story === 'leaderLeaves') {
    await buyers.leave(team, user('ada'));
    await buyers.join(team, user('dan'));
  }
  if (story === 'memberLeaves') {
    await buyers.leave(team, user('bob'));
    return;
  }
  await buyers.join(team, user('cyd'));
}

type Print = (scene: string, text: string) => void;

async function createCampaign(shop: Shop, count: number): Promise<string> {
  const sku = `TEAMS-${Date.now().toString(36).toUpperCase()}`;
  const inventory = count * (size + 1);
  const product = await shop.expectOk<{ id: string }>('POST', '/v1/products', {
    ...{ sku, name: 'Teapot for teams', price: 39, currency: 'EUR', inventory },
  });
  const { id } = await shop.expectOk<{ id: string }>('POST', '/v1/campaigns', {
    ...{ productId: product.id, mode: 'teams', teamSize: size, teamSeconds: teamMinutes * 60, onShort: 'merge' },
    ...{ price: 29, successOn: 'secured', startTime: new Date(Date.now() - 60_000).toISOString() },
    endTime: new Date(Date.now() + campaignMinutes * 60_000).toISOString(),
  });
  return id;
}

/** Counts unfinished work of the campaign: teams, places, payments, events and webhooks. */
async function countUnfinished(shop: Shop, campaign: string): Promise<number> {
  const [row] = await shop.query<{ n: number }>(
    `select (select count(*)::int from platform.outbox)
       + (select count(*)::int from group_commerce.teams t where t.campaign_id = $1 and (t.status = 'forming'
           or t.settled_at is null and t.status <> 'merged'))
       + (select count(*)::int from group_commerce.participants p where p.campaign_id = $1
           and p.state in ('joined', 'secured', 'ordered'))
       + (select count(*)::int from group_commerce.participants p join payments.payments y using (payment_id)
           where p.campaign_id = $1 and y.intent_open and y.status <> 'pending') as n`,
    [campaign],
  );
  return (row?.n ?? 0) + (await shop.readWebhooks()).pending;
}

const countSecurable = `select count(*)::int as n from group_commerce.participants
  where campaign_id = $1 and state = 'joined'`;

/** Waits until the money of every place is secured. The cron reads from Stripe what lost webhooks would have said. */
async function secureAll(shop: Shop, campaign: string): Promise<void> {
  const isSecured = async () => (await shop.query<{ n: number }>(countSecurable, [campaign]))[0]?.n === 0;
  for (let turn = 0; turn < 20 && !(await waitUntil(isSecured, turn === 0 ? 5 : 2)); turn++) await shop.fireCron(6);
}

/** Runs the crons of later times, which end the teams and settle what the queue has not settled yet. */
async function settle(shop: Shop, campaign: string, print: Print): Promise<boolean> {
  const began = Date.now();
  for (let minutes = teamMinutes + 1; minutes < campaignMinutes; minutes += 6) {
    await shop.fireCron(minutes);
    let before = -1;
    for (let same = 0; same < 20; await sleep(500)) {
      const left = await countUnfinished(shop, campaign);
      if (left === 0) {
        await shop.fireCron(campaignMinutes + 1);
        print('', `released and settled ${((Date.now() - began) / 1000).toFixed(0)} s after the time of the teams`);
        return true;
      }
      same = left === before ? same + 1 : 0;
      before = left;
    }
  }
  return false;
}

async function printTable(shop: Shop, campaign: string, print: Print): Promise<void> {
  const statuses = ['successful', 'merged', 'expired', 'cancelled', 'forming'] as const;
  const rows = await shop.query<{ status: string; teams: number; charged: number; released: number }>(
    `select t.status, count(distinct t.id)::int as teams, count(*) filter (where p.state = 'charged')::int as charged,
       count(*) filter (where p.state = 'released')::int as released
     from group_commerce.teams t left join group_commerce.participants p on p.team_id = t.id
     where t.campaign_id = $1 group by 1`,
    [campaign],
  );
  print('', `${'status'.padEnd(12)}${['teams', 'charged', 'released'].map((name) => name.padStart(10)).join('')}`);
  for (const status of statuses) {
    const row = rows.find((one) => one.status === status);
    if (row === undefined) continue;
    const { teams, charged, released } = row;
    print('', `${status.padEnd(12)}${[teams, charged, released].map((n) => String(n).padStart(10)).join('')}`);
  }
}

/** Runs a campaign of this many teams until it is settled, and audits it. Resolves with the differences. */
export async function runTeams(shop: Shop, count: number, seed: number, print: Print): Promise<string[]> {
  const { faults } = await shop.readWebhooks();
  const campaign = await createCampaign(shop, count);
  const stories = Array.from({ length: count }, (_, n) => order[n % order.length] ?? 'fills');
  print('Teams', `a campaign with ${count} teams of ${size}; 2 of 100 webhooks are lost, 10 duplicated. Of the teams:`);
  for (const [story, text] of Object.entries(teamStories)) {
    const matching = stories.filter((one) => one === story).length;
    if (matching > 0) print('', `${String(matching).padStart(4)} ${text}`);
  }
  await shop.callEmulator('webhooks', { lose: 0.02, duplicate: 0.1, reorder: 0.1, reorderMs: 400, delayMs: 20, seed });
  const counts: Counts = { opened: 0, places: 0, declined: 0, left: 0 };
  const buyers = buyersOf(shop, campaign, counts);
  const began = Date.now();
  let next = 0;
  let played = 0;
  const play = async () => {
    for (let n = next++; n < count; n = next++) {
      await playTeam(buyers, stories[n] ?? 'fills', n);
      played++;
      if (count >= 200 && played % Math.ceil(count / 10) === 0) print('', `${played} of ${count} teams`);
    }
  };
  await Promise.all(Array.from({ length: clients }, play));
  const seconds = (Date.now() - began) / 1000;
  await shop.callEmulator('webhooks', { ...faults });
  print(
    'Places',
    `${counts.places} taken in ${seconds.toFixed(0)} s (${(counts.places / seconds).toFixed(0)}/s), ` +
      `${counts.left} left; ${counts.declined} cards declined first`,
  );
  await secureAll(shop, campaign);
  const isFinished = await settle(shop, campaign, print);
  await printTable(shop, campaign, print);
  const { lines, differences } = await auditTeams(shop, campaign);
  for (const line of lines) print('', line);
  return [...differences, ...(isFinished ? [] : ['Some work of the teams was still unfinished.'])];
}
