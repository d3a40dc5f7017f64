import { signWebhook } from '../stripe/webhooks.ts';
import { member, textOf } from './journal.ts';
import { actInStripeDashboard, confirmAtStripe, decideDebit, retryUntil, type Story } from './shop.ts';
import { emailOf, optionOf, pickCodes } from './terms.ts';

export const shippingAddress = {
  name: 'Ada Example',
  line1: '12 Harbour Street',
  city: 'Lisboa',
  postalCode: '1100-001',
  country: 'PT',
};

/** Random order lines: mostly few, sometimes up to fifty, and often hot SKUs. */
export function createLines({ shop, tenant, random }: Story): { sku: string; quantity: number; price?: number }[] {
  const skus = shop.skus[tenant] ?? [];
  const hotSkus = skus.filter(({ hot }) => hot);
  const size = random.pickWeighted({ one: 60, few: 25, many: 15 });
  const count = { one: 1, few: random.int(2, 8), many: random.int(9, 50) }[size];
  return Array.from({ length: count }, () => {
    const { sku } = random.pick(random.chance(0.4) ? hotSkus : skus);
    return { sku, quantity: random.int(1, 3) };
  });
}

type OpenedPayment = { id: string; secret: string };
type PlacedOrder = { id: string; total: number; hasAddress: boolean; payment: OpenedPayment | undefined };

const paymentOf = (shown: unknown): OpenedPayment => ({
  id: textOf(shown, 'id'),
  secret: textOf(shown, 'clientSecret'),
});

async function place(story: Story, deferred: boolean): Promise<PlacedOrder | undefined> {
  const { random } = story;
  const key = story.unique('order');
  const hasAddress = random.chance(0.45);
  const isExpanded = !deferred && random.chance(0.5);
  const body = {
    customerId: story.name,
    items: createLines(story),
    purchaseOrderNumber: key, // unique, so that the audit finds the order of this request
    ...(hasAddress ? { shippingAddress } : {}),
    ...(hasAddress && random.chance(0.4) ? optionOf(story.shop, story.tenant) : {}),
    ...(random.chance(0.25) ? { discountCodes: pickCodes(story), email: emailOf(story) } : {}),
    ...(isExpanded ? { expand: ['payment'] } : {}),
  };
  const headers = deferred ? { prefer: 'respond-async' } : {};
  const response = await story.request('orders.place', 'POST', '/v1/orders', { key, body, headers });
  if (response?.status !== 201 && response?.status !== 202) return undefined;
  const payment = isExpanded ? paymentOf(member(response.body, 'payment')) : undefined;
  return { id: textOf(response.body, 'id'), total: Number(member(response.body, 'total')), hasAddress, payment };
}

export const read = (story: Story, id: string) => story.request('orders.read', 'GET', `/v1/orders/${id}`);

/** Opens the payment of an order, retrying until its stock is held. Undefined if the order cannot be paid. */
async function openPayment(story: Story, orderId: string): Promise<OpenedPayment | undefined> {
  let payment: OpenedPayment | undefined;
  await retryUntil(story, 12, async () => {
    const key = story.unique('payment');
    const response = await story.request('payments.create', 'POST', '/v1/payments', { key, body: { orderId } });
    if (response?.status === 201) {
      payment = paymentOf(response.body);
      return true;
    }
    const status = textOf((await read(story, orderId))?.body, 'status');
    return status !== 'created';
  });
  return payment;
}

const cancel = (story: Story, id: string) =>
  story.request('orders.cancel', 'POST', `/v1/orders/${id}/cancel`, {
    key: story.unique('cancel'),
    body: { reason: 'changed my mind' },
  });

function refund(story: Story, paymentId: string, amount?: number) {
  const key = story.unique('refund');
  const body = { reason: key, ...(amount === undefined ? {} : { amount }) };
  return story.request('payments.refund', 'POST', `/v1/payments/${paymentId}/refunds`, { key, body });
}

/** Sends the carrier's tracking updates: duplicated, and in random order. */
async function sendTracking(story: Story, trackingNumber: string): Promise<void> {
  const now = Date.now();
  for (const [status, minutesAgo] of story.random.shuffle([
    ['in_transit', 60],
    ['delivered', 1],
    ['delivered', 1],
  ] as const)) {
    const occurredAt = new Date(now - minutesAgo * 60_000).toISOString();
    const raw = JSON.stringify({ eventId: `${trackingNumber}-${status}`, trackingNumber, status, occurredAt });
    const headers = { 'x-signature': signWebhook(raw, ['whsec_dev'], Math.floor(Date.now() / 1000)) };
    await story.request('shipping.track', 'POST', '/webhooks/shipping/manual', { raw, headers });
  }
}

/**
 * Prints the label, cancels or refunds the order before its parcel has moved, and then tries to print the label again.
 */
async function cancelAfterLabel(story: Story, order: PlacedOrder, paymentId: string): Promise<void> {
  const { random } = story;
  let shipment = '';
  await retryUntil(story, 10, async () => {
    shipment = textOf(member((await read(story, order.id))?.body, 'shipment'), 'id');
    return shipment !== '';
  });
  if (shipment === '') return;
  if (random.chance(0.6)) await story.request('shipping.label', 'GET', `/v1/shipments/${shipment}/label`);
  if (random.chance(0.5)) await cancel(story, order.id);
  else await refund(story, paymentId);
  const ended = await retryUntil(story, 8, async () =>
    ['cancelled', 'refunded'].includes(textOf((await read(story, order.id))?.body, 'status')),
  );
  if (ended) await story.request('shipping.label of an ended order', 'GET', `/v1/shipments/${shipment}/label`);
}

/** Keeps, cancels or returns a paid order, or follows its parcel. */
async function continueAfterPayment(story: Story, order: PlacedOrder, paymentId: string): Promise<void> {
  const { random } = story;
  const paid = await retryUntil(story, 6, async () => {
    const response = await read(story, order.id);
    return textOf(response?.body, 'status') === 'confirmed';
  });
  const plans = {
    keep: 40,
    cancel: 10,
    refund: 11,
    refundPart: 12,
    refundTwice: 11,
    trackParcel: 18,
    cancelAfterLabel: 18,
  };
  const next = random.pickWeighted(plans);
  if (!paid && (next === 'trackParcel' || next === 'cancelAfterLabel')) return;
  if (next === 'cancelAfterLabel' && order.hasAddress) await cancelAfterLabel(story, order, paymentId);
  const part = Math.max(Math.round(order.total * (0.2 + random.next() * 0.6) * 100) / 100, 0.01);
  if (next === 'cancel') await cancel(story, order.id);
  if (next === 'refund') await refund(story, paymentId);
  if (next === 'refundPart') await refund(story, paymentId, part);
  if (next === 'refundTwice') {
    const largePart = Math.max(Math.round(order.total * 60) / 100, 0.01);
    await Promise.all([
      refund(story, paymentId, largePart),
      refund(story, paymentId, random.chance(0.5) ? largePart : undefined),
    ]);
  }
  if (next !== 'trackParcel') return;
  await retryUntil(story, 10, async () => {
    const response = await read(story, order.id);
    const shipment = member(response?.body, 'shipment');
    const number = textOf(shipment, 'trackingNumber');
    if (number !== '') await sendTracking(story, number);
    return number !== '' || shipment === undefined;
  });
}

/** Places an order and pays it, leaves it unpaid, cancels it, or pays and cancels at the same time. */
export async function placeAndPay(story: Story): Promise<void> {
  const { random } = story;
  const order = await place(story, random.chance(0.25));
  if (!order) return;
  const plan = random.pickWeighted({ pay: 66, leave: 12, cancel: 10, payAndCancel: 12 });
  if (random.chance(0.3)) await read(story, order.id);
  if (plan === 'leave') return;
  if (plan === 'cancel') {
    await story.pause(0, 800);
    await cancel(story, order.id);
    return;
  }
  const payment = order.payment ?? (await openPayment(story, order.id));
  if (!payment || payment.secret === '') return;
  await story.pause(0, 400);
  if (random.chance(0.05)) {
    const change = random.pick([{ amount: 50 }, { amount: 99_999 }, { currency: 'eur' }]);
    await actInStripeDashboard(story, payment.secret, 'change', change);
  }
  if (plan === 'payAndCancel') {
    await Promise.all([confirmAtStripe(story, payment.secret), cancel(story, order.id)]);
    return;
  }
  const intentStatus = await confirmAtStripe(story, payment.secret);
  if (intentStatus === 'processing') {
    await decideDebit(story, payment.secret);
    if (random.chance(0.15)) await cancel(story, order.id);
  }
  if (random.chance(0.35)) await confirmAtStripe(story, payment.secret, 'pm_card_visa');
  await continueAfterPayment(story, order, payment.id);
}
