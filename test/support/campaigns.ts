import Stripe from 'stripe';
import { expect } from 'vitest';
import { addProduct, type Store } from './harness.ts';

const day = 86_400_000;

/** Helpers for tests of campaigns: starting campaigns, joining, paying, and auditing the result. */
export function campaignFixture(store: Store, stripeAccount?: string) {
  const { hostname, port } = new URL(store.stripe.url);
  const stripe = new Stripe('sk_test_dev', {
    ...{ host: hostname, port, protocol: 'http', maxNetworkRetries: 2 },
    ...(stripeAccount === undefined ? {} : { stripeAccount }),
  });

  /** Starts an active campaign on a new product. By default it ends within the validity of an authorization. */
  async function start(sku: string, stock: number, more: Record<string, unknown> = {}) {
    const product = await addProduct(store, sku, stock, 30);
    const { status, body } = await store.send('POST', '/v1/campaigns', {
      productId: product.id,
      minParticipants: 2,
      maxParticipants: 10,
      price: 20,
      startTime: new Date(Date.now() - 60_000).toISOString(),
      endTime: new Date(Date.now() + day).toISOString(),
      ...more,
    });
    expect(status).toBe(201);
    return body as { id: string; productId: string; sku: string; endTime: string };
  }

  const join = (campaignId: string, userId: string, more: Record<string, unknown> = {}) =>
    store.send('POST', `/v1/campaigns/${campaignId}/join`, { userId, ...more });
  const leave = (campaignId: string, userId: string) =>
    store.send('POST', `/v1/campaigns/${campaignId}/leave`, { userId });
  const read = async (campaignId: string) => (await store.send('GET', `/v1/campaigns/${campaignId}`)).body;

  /** Confirms a client secret as Stripe.js does. A declined card is no error, because the buyer may try another one. */
  async function confirmSecret(secret: string, card: string) {
    const id = secret.split('_secret_')[0] ?? '';
    const options = { payment_method: card, return_url: 'https://shop.test' };
    try {
      if (id.startsWith('seti_')) await stripe.setupIntents.confirm(id, options);
      else await stripe.paymentIntents.confirm(id, options);
    } catch (error) {
      const closed =
        error instanceof Stripe.errors.StripeInvalidRequestError && /unexpected_state/.test(error.code ?? '');
      if (!(error instanceof Stripe.errors.StripeCardError || closed)) throw error;
    }
  }

  /** Gets the client secret through the API and confirms it with a card, as the buyer’s browser does. */
  async function confirm(orderId: string, card = 'pm_card_visa') {
    const { status, body: payment } = await store.send('POST', '/v1/payments', { orderId });
    expect(status).toBe(201);
    await confirmSecret(payment.clientSecret, card);
    return payment;
  }

  const participants = (campaignId: string) =>
    store.database.query<{ user_id: string; order_id: string; state: string; reason: string | null }>(
      'select user_id, order_id, state, reason from group_commerce.participants where campaign_id = $1 order by id',
      [campaignId],
    );
  const statesOf = async (campaignId: string) =>
    Object.fromEntries((await participants(campaignId)).map((row) => [row.user_id, row.state]));

  const stockOf = async (sku: string) => {
    const [row] = await store.database.query<{ quantity: number; reserved: number }>(
      'select quantity, reserved from inventory.inventory where sku = $1',
      [sku],
    );
    return row;
  };

  const eventsOf = async (key: string): Promise<string[]> =>
    (
      await store.database.query<{ topic: string }>('select topic from platform.events where key = $1 order by seq', [
        key,
      ])
    ).map((row) => row.topic.replace('group-commerce.campaign.', ''));

  type Intent = { id: string; status: string; amount_received: number; metadata: { orderId?: string } };
  /** Every payment intent of the emulator for these orders. */
  async function intentsOf(orders: string[]): Promise<Intent[]> {
    const wanted = new Set(orders);
    const found: Intent[] = [];
    for await (const intent of stripe.paymentIntents.list({ limit: 100 })) {
      if (wanted.has(intent.metadata.orderId ?? '')) found.push(intent as Intent);
    }
    return found;
  }

  /** Checks the invariants of a campaign in the database and at Stripe, after any race or settlement. */
  async function audit(campaign: { id: string; sku: string }, stock: number) {
    const { status, successOn, actualParticipants, securedParticipants, minParticipants, maxParticipants } = await read(
      campaign.id,
    );
    const places = await participants(campaign.id);
    const live = places.filter((place) => place.state !== 'released');
    const charged = live.filter((place) => place.state === 'charged');
    const units = await stockOf(campaign.sku);
    expect(actualParticipants).toBeLessThanOrEqual(maxParticipants);
    expect(units).toEqual({ quantity: stock - live.length, reserved: live.length - charged.length });
    if (status === 'active' || status === 'successful') expect(actualParticipants).toBe(live.length);
    else expect(live).toEqual([]);
    const topics = await eventsOf(campaign.id);
    expect(topics.filter((topic) => topic === 'successful')).toHaveLength(status === 'successful' ? 1 : 0);
    const counting = successOn === 'joined' ? actualParticipants : securedParticipants;
    if (status === 'active') expect(counting).toBeLessThan(minParticipants);

    const orders = await store.database.query<{ id: string; status: string; total: string }>(
      'select id, status, total from orders.orders where campaign_id = $1',
      [campaign.id],
    );
    const ids = new Set(places.map((place) => place.order_id));
    expect(orders.every((order) => ids.has(order.id))).toBe(true);
    const paid = orders.filter((order) => order.status === 'confirmed').map((order) => order.id);
    expect(paid.sort()).toEqual(charged.map((place) => place.order_id).sort());
    const taken = (await intentsOf([...ids])).filter((intent) => intent.status === 'succeeded');
    expect(taken.map((intent) => intent.metadata.orderId).sort()).toEqual(paid);
    const totals = new Map(orders.map((order) => [order.id, Math.round(Number(order.total) * 100)]));
    for (const intent of taken) expect(intent.amount_received).toBe(totals.get(intent.metadata.orderId ?? ''));
    return { status, live, charged, orders, taken };
  }

  return {
    stripe,
    start,
    join,
    leave,
    read,
    confirm,
    confirmSecret,
    participants,
    statesOf,
    stockOf,
    eventsOf,
    intentsOf,
    audit,
  };
}
