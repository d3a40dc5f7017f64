import { textOf } from './journal.ts';
import { shippingAddress } from './orders.ts';
import { actInStripeDashboard, confirmAtStripe, retryUntil, type Story } from './shop.ts';
import { termsOfJoin } from './terms.ts';

type Campaign = { id: string; minParticipants: number };

/** Creates a product and a campaign for it. Undefined if the API rejects one of them. */
async function createCampaign(story: Story): Promise<Campaign | undefined> {
  const { random } = story;
  const sku = story.unique('group');
  const product = await story.request('products.create', 'POST', '/v1/products', {
    key: story.unique('product'),
    body: { sku, name: `Group ${sku}`, price: 30, currency: 'USD', inventory: random.int(3, 12) },
  });
  if (product?.status !== 201) return undefined;
  const minParticipants = random.int(2, 5);
  const end = random.pickWeighted({ soon: 60, later: 12, far: 28 });
  // Cards are saved, not held, for a campaign that ends too far ahead.
  const lastsSeconds = { soon: random.int(4, 15), later: 86_400, far: 8 * 86_400 }[end];
  const now = Date.now();
  const response = await story.request('campaigns.create', 'POST', '/v1/campaigns', {
    key: story.unique('campaign'),
    body: {
      productId: textOf(product.body, 'id'),
      minParticipants,
      maxParticipants: minParticipants + random.int(0, 4),
      price: random.chance(0.08) ? 0 : 20,
      startTime: new Date(now - 60_000).toISOString(),
      endTime: new Date(now + lastsSeconds * 1000).toISOString(),
      successOn: random.pick(['joined', 'secured'] as const),
    },
  });
  if (response?.status !== 201) return undefined;
  return { id: textOf(response.body, 'id'), minParticipants };
}

/** Joins a campaign, pays for the place or not, and sometimes leaves. */
async function takePlace(story: Story, campaign: Campaign, userId: string): Promise<void> {
  const { random } = story;
  await story.pause(0, 1_500);
  const joined = await story.request('campaigns.join', 'POST', `/v1/campaigns/${campaign.id}/join`, {
    key: story.unique('join'),
    body: { userId, ...termsOfJoin(story, shippingAddress) },
  });
  if (joined?.status !== 201) return;
  const leave = () =>
    story.request('campaigns.leave', 'POST', `/v1/campaigns/${campaign.id}/leave`, {
      key: story.unique('leave'),
      body: { userId },
    });
  const plan = random.pickWeighted({ pay: 74, idle: 12, leave: 8, leaveLater: 6 });
  if (plan === 'leave') await leave();
  if (plan === 'idle' || plan === 'leave') return;
  const orderId = textOf(joined.body, 'orderId');
  await payForPlace(story, orderId);
  if (plan !== 'leaveLater') return;
  if (random.chance(0.5)) await leave();
  else await cancelOrder(story, orderId);
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
  const size = random.int(Math.max(campaign.minParticipants - 2, 1), campaign.minParticipants + 3);
  const buyers = Array.from({ length: size }, () => takePlace(story, campaign, story.unique('user')));
  const cancel = async () => {
    await story.pause(200, 3_000);
    await story.request('campaigns.cancel', 'POST', `/v1/campaigns/${campaign.id}/cancel`, {
      key: story.unique('cancel-campaign'),
    });
  };
  await Promise.all([...buyers, ...(random.chance(0.2) ? [cancel()] : [])]);
}
