import { type ClientResponse, textOf } from '../journal.ts';
import { shippingAddress } from '../orders.ts';
import { actInStripeDashboard, confirmAtStripe, retryUntil, type Story } from '../shop.ts';
import { termsOfJoin } from '../terms.ts';
import { createGoods, type GroupTerms, pickPlace, pickTerms, pickTiers, pickUser } from './goods.ts';

/** `members`: users who have a place or had one. `isScarce`: more buyers than places, and they wait for one. */
type Campaign = { id: string; min: number; max: number; isScarce: boolean; terms: GroupTerms; members: string[] };

/** Creates what a campaign sells and the campaign. Undefined if the API rejects one of them. */
async function createCampaign(story: Story): Promise<Campaign | undefined> {
  const { random } = story;
  const isScarce = random.chance(0.4);
  const goods = await createGoods(story, 'group', () => (isScarce ? random.int(8, 20) : random.int(3, 16)));
  if (!goods) return undefined;
  const min = isScarce ? random.int(1, 3) : random.int(2, 5);
  const max = min + (isScarce ? random.int(0, 1) : random.int(0, 4));
  const { terms, fields } = pickTerms(story, goods);
  const end = random.pickWeighted({ soon: 60, later: 12, far: 28 });
  // Cards are saved, not held, for a campaign that ends too far ahead.
  const lastsSeconds = { soon: random.int(4, 15), later: 86_400, far: 8 * 86_400 }[end];
  const isFree = random.chance(0.08);
  const tiers = !isFree && random.chance(0.45) ? pickTiers(story, max) : [];
  const now = Date.now();
  const response = await story.request('campaigns.create', 'POST', '/v1/campaigns', {
    key: story.unique('campaign'),
    body: {
      productId: goods.productId,
      minParticipants: min,
      maxParticipants: max,
      price: isFree ? 0 : 20,
      startTime: new Date(now - 60_000).toISOString(),
      endTime: new Date(now + lastsSeconds * 1000).toISOString(),
      successOn: random.pick(['joined', 'secured'] as const),
      ...(tiers.length > 0 ? { tiers } : {}),
      ...fields,
    },
  });
  if (response?.status !== 201) return undefined;
  return { id: textOf(response.body, 'id'), min, max, isScarce, terms, members: [] };
}

const leavePool = (story: Story, { id }: Campaign, userId: string) =>
  story.request('campaigns.leave', 'POST', `/v1/campaigns/${id}/leave`, {
    key: story.unique('leave'),
    body: { userId },
  });

/** Joins a campaign. A few buyers send the join twice at once, with two keys. */
async function joinPool(story: Story, campaign: Campaign, userId: string): Promise<ClientResponse | undefined> {
  const { random } = story;
  const { id, terms, members, isScarce } = campaign;
  const body = {
    ...{ userId, ...termsOfJoin(story, shippingAddress), ...pickPlace(story, terms, userId, members) },
    ...(random.chance(isScarce ? 0.85 : 0.15) ? { waitlist: true } : {}),
  };
  const send = () =>
    story.request('campaigns.join', 'POST', `/v1/campaigns/${id}/join`, { key: story.unique('join'), body });
  const [joined] = await Promise.all([send(), ...(random.chance(0.08) ? [send()] : [])]);
  if (joined?.status === 201) members.push(userId);
  return joined;
}

/**
 * Waits in line: joins again until an offered place is taken, leaves the waiting list, or ignores the offer. Resolves
 * with the response that has the place.
 */
async function waitInLine(story: Story, campaign: Campaign, userId: string): Promise<ClientResponse | undefined> {
  const { random } = story;
  const plan = random.pickWeighted({ take: 75, leave: 12, ignore: 13 });
  if (plan === 'ignore') return undefined;
  for (let attempt = 0; attempt < 8 && !story.shop.closing; attempt++) {
    await story.pause(200, 1_200);
    const response = plan === 'take' || attempt < 2 ? await joinPool(story, campaign, userId) : undefined;
    if (response?.status === 201) return response;
    if (response === undefined) await leavePool(story, campaign, userId);
    if (response?.status !== 202) return undefined;
  }
  return undefined;
}

/** Joins a campaign or waits for a place, pays for the place or not, and sometimes leaves. */
async function takePlace(story: Story, campaign: Campaign, userId: string, again = true): Promise<void> {
  const { random } = story;
  await story.pause(0, 1_500);
  let joined = await joinPool(story, campaign, userId);
  if (joined?.status === 202) joined = await waitInLine(story, campaign, userId);
  if (joined?.status !== 201) return;
  const plan = random.pickWeighted(
    campaign.isScarce
      ? { pay: 55, idle: 12, leave: 23, leaveLater: 10 }
      : { pay: 74, idle: 12, leave: 8, leaveLater: 6 },
  );
  const orderId = textOf(joined.body, 'orderId');
  if (plan === 'pay' || plan === 'leaveLater') await payForPlace(story, orderId);
  if (plan === 'leave') await story.pause(0, 1_500);
  if (plan === 'pay' || plan === 'idle') return;
  if (plan === 'leave' || random.chance(0.5)) await leavePool(story, campaign, userId);
  else await cancelOrder(story, orderId);
  if (again && random.chance(0.3) && !story.shop.closing) await takePlace(story, campaign, userId, false);
}

export const cancelOrder = (story: Story, orderId: string) =>
  story.request('orders.cancel', 'POST', `/v1/orders/${orderId}/cancel`, { key: story.unique('cancel'), body: {} });

/** Pays for a place. Sometimes the merchant captures or cancels the hold in Stripe's dashboard. */
export async function payForPlace(story: Story, orderId: string): Promise<void> {
  const { random } = story;
  let secret = '';
  await retryUntil(story, 6, async () => {
    const key = story.unique('payment');
    const response = await story.request('payments.create', 'POST', '/v1/payments', { key, body: { orderId } });
    secret = textOf(response?.body, 'clientSecret');
    return secret !== '' || response?.status === 409 || response?.status === 404;
  });
  if (secret !== '') await confirmAtStripe(story, secret);
  if (secret.startsWith('pi_') && random.chance(0.1)) {
    const [action, parameters] = random.pick([
      ['capture', {}],
      ['capture', { amount: random.int(1, 1_999) }],
      ['cancel', {}],
    ] as const);
    await actInStripeDashboard(story, secret, action, parameters);
  }
}

/** Runs a campaign whose buyers join at the same time. It fills, succeeds, expires or is cancelled. */
export async function runCampaign(story: Story): Promise<void> {
  const { random } = story;
  const campaign = await createCampaign(story);
  if (!campaign) return;
  const size = campaign.isScarce
    ? campaign.max + random.int(1, 4)
    : random.int(Math.max(campaign.min - 2, 1), campaign.min + 3);
  const users = Array.from({ length: size }, () => pickUser(story, campaign.terms, 'user'));
  const buyers = users.map((userId) => takePlace(story, campaign, userId));
  const cancel = async () => {
    await story.pause(200, 3_000);
    await story.request('campaigns.cancel', 'POST', `/v1/campaigns/${campaign.id}/cancel`, {
      key: story.unique('cancel-campaign'),
    });
  };
  await Promise.all([...buyers, ...(random.chance(0.2) ? [cancel()] : [])]);
}
