import { textOf } from './journal.ts';
import { comesTrue, confirmAtStripe, inDashboard, type Story } from './shop.ts';

type Campaign = { id: string; places: number };

async function begin(story: Story): Promise<Campaign | undefined> {
  const { draw } = story;
  const sku = story.unique('group');
  const made = await story.ask('products.create', 'POST', '/v1/products', {
    key: story.unique('product'),
    body: { sku, name: `Group ${sku}`, price: 30, currency: 'USD', inventory: draw.int(3, 12) },
  });
  if (made?.status !== 201) return undefined;
  const minParticipants = draw.int(2, 5);
  const seconds = draw.weigh({ soon: 60, later: 12, far: 28 });
  const lasts = { soon: draw.int(4, 15), later: 86_400, far: 8 * 86_400 }[seconds]; // far: cards are saved, not held
  const now = Date.now();
  const answer = await story.ask('campaigns.create', 'POST', '/v1/campaigns', {
    key: story.unique('campaign'),
    body: {
      productId: textOf(made.body, 'id'),
      minParticipants,
      maxParticipants: minParticipants + draw.int(0, 4),
      price: draw.chance(0.08) ? 0 : 20,
      startTime: new Date(now - 60_000).toISOString(),
      endTime: new Date(now + lasts * 1000).toISOString(),
      successOn: draw.pick(['joined', 'secured'] as const),
    },
  });
  if (answer?.status !== 201) return undefined;
  return { id: textOf(answer.body, 'id'), places: minParticipants };
}

/** Joins, confirms or not, and sometimes leaves again. */
async function take(story: Story, campaign: Campaign, userId: string): Promise<void> {
  const { draw } = story;
  await story.pause(0, 1_500);
  const joined = await story.ask('campaigns.join', 'POST', `/v1/campaigns/${campaign.id}/join`, {
    key: story.unique('join'),
    body: { userId },
  });
  if (joined?.status !== 201) return;
  const leave = () =>
    story.ask('campaigns.leave', 'POST', `/v1/campaigns/${campaign.id}/leave`, {
      key: story.unique('leave'),
      body: { userId },
    });
  const plan = draw.weigh({ pays: 74, idles: 12, leaves: 8, leavesLater: 6 });
  if (plan === 'leaves') await leave();
  if (plan === 'idles' || plan === 'leaves') return;
  const orderId = textOf(joined.body, 'orderId');
  let secret = '';
  await comesTrue(story, 6, async () => {
    const key = story.unique('payment');
    const answer = await story.ask('payments.create', 'POST', '/v1/payments', { key, body: { orderId } });
    secret = textOf(answer?.body, 'clientSecret');
    return secret !== '' || answer?.status === 409 || answer?.status === 404;
  });
  if (secret !== '') await confirmAtStripe(story, secret);
  if (secret.startsWith('pi_') && draw.chance(0.1)) {
    const [action, more] = draw.pick([
      ['capture', {}],
      ['capture', { amount: draw.int(1, 1_999) }],
      ['cancel', {}],
    ] as const);
    await inDashboard(story, secret, action, more);
  }
  if (plan !== 'leavesLater') return;
  if (draw.chance(0.5)) await leave();
  else {
    await story.ask('orders.cancel', 'POST', `/v1/orders/${orderId}/cancel`, { key: story.unique('cancel'), body: {} });
  }
}

/** A campaign with all of its buyers, who come at once; it fills, succeeds, expires or is cancelled. */
export async function groupBuying(story: Story): Promise<void> {
  const { draw } = story;
  const campaign = await begin(story);
  if (!campaign) return;
  const size = draw.int(Math.max(campaign.places - 2, 1), campaign.places + 3);
  const buyers = Array.from({ length: size }, () => take(story, campaign, story.unique('user')));
  const cancel = async () => {
    await story.pause(200, 3_000);
    await story.ask('campaigns.cancel', 'POST', `/v1/campaigns/${campaign.id}/cancel`, {
      key: story.unique('cancel-campaign'),
    });
  };
  await Promise.all([...buyers, ...(draw.chance(0.2) ? [cancel()] : [])]);
}
