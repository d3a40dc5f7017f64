import { signWebhook } from '../stripe/webhooks.ts';
import { member, textOf } from './journal.ts';
import { bankDecides, comesTrue, confirmAtStripe, inDashboard, type Story } from './shop.ts';

const shippingAddress = {
  name: 'Ada Example',
  line1: '12 Harbour Street',
  city: 'Lisboa',
  postalCode: '1100-001',
  country: 'PT',
};

/** Lines of an order: mostly few, sometimes fifty, the hot ones often. */
function linesOf({ shop, tenant, draw }: Story): { sku: string; quantity: number; price?: number }[] {
  const all = shop.skus[tenant] ?? [];
  const hot = all.filter((one) => one.hot);
  const size = draw.weigh({ one: 60, few: 25, many: 15 });
  const count = { one: 1, few: draw.int(2, 8), many: draw.int(9, 50) }[size];
  return Array.from({ length: count }, () => {
    const { sku } = draw.pick(draw.chance(0.4) ? hot : all);
    return { sku, quantity: draw.int(1, 3) };
  });
}

type Placed = { id: string; total: number; address: boolean };

async function place(story: Story, deferred: boolean): Promise<Placed | undefined> {
  const { draw } = story;
  const key = story.unique('order');
  const address = draw.chance(0.45);
  const body = {
    customerId: story.name,
    items: linesOf(story),
    purchaseOrderNumber: key, // unique, so that the audit finds what this request has made
    ...(address ? { shippingAddress } : {}),
  };
  const headers = deferred ? { prefer: 'respond-async' } : {};
  const answer = await story.ask('orders.place', 'POST', '/v1/orders', { key, body, headers });
  if (answer?.status !== 201 && answer?.status !== 202) return undefined;
  return { id: textOf(answer.body, 'id'), total: Number(member(answer.body, 'total')), address };
}

const read = (story: Story, id: string) => story.ask('orders.read', 'GET', `/v1/orders/${id}`);

/** The payment with its secret, asked for until the stock is held; undefined if the order will not be paid. */
async function openPayment(story: Story, orderId: string): Promise<{ id: string; secret: string } | undefined> {
  let found: { id: string; secret: string } | undefined;
  await comesTrue(story, 12, async () => {
    const key = story.unique('payment');
    const answer = await story.ask('payments.create', 'POST', '/v1/payments', { key, body: { orderId } });
    if (answer?.status === 201) {
      found = { id: textOf(answer.body, 'id'), secret: textOf(answer.body, 'clientSecret') };
      return true;
    }
    const status = textOf((await read(story, orderId))?.body, 'status');
    return status !== 'created';
  });
  return found;
}

const cancel = (story: Story, id: string) =>
  story.ask('orders.cancel', 'POST', `/v1/orders/${id}/cancel`, {
    key: story.unique('cancel'),
    body: { reason: 'changed my mind' },
  });

function refund(story: Story, paymentId: string, amount?: number) {
  const key = story.unique('refund');
  const body = { reason: key, ...(amount === undefined ? {} : { amount }) };
  return story.ask('payments.refund', 'POST', `/v1/payments/${paymentId}/refunds`, { key, body });
}

/** The carrier tells of the parcel, twice and backwards as it may. */
async function track(story: Story, trackingNumber: string): Promise<void> {
  const now = Date.now();
  for (const [status, minutesAgo] of story.draw.shuffle([
    ['in_transit', 60],
    ['delivered', 1],
    ['delivered', 1],
  ] as const)) {
    const occurredAt = new Date(now - minutesAgo * 60_000).toISOString();
    const raw = JSON.stringify({ eventId: `${trackingNumber}-${status}`, trackingNumber, status, occurredAt });
    const headers = { 'x-signature': signWebhook(raw, ['whsec_dev'], Math.floor(Date.now() / 1000)) };
    await story.ask('shipping.track', 'POST', '/webhooks/shipping/manual', { raw, headers });
  }
}

/** Gets the label, then calls the sale off before the parcel has moved, and tries to print the label all the same. */
async function callOffLabel(story: Story, order: Placed, paymentId: string): Promise<void> {
  const { draw } = story;
  let shipment = '';
  await comesTrue(story, 10, async () => {
    shipment = textOf(member((await read(story, order.id))?.body, 'shipment'), 'id');
    return shipment !== '';
  });
  if (shipment === '') return;
  if (draw.chance(0.6)) await story.ask('shipping.label', 'GET', `/v1/shipments/${shipment}/label`);
  if (draw.chance(0.5)) await cancel(story, order.id);
  else await refund(story, paymentId);
  const ended = await comesTrue(story, 8, async () =>
    ['cancelled', 'refunded'].includes(textOf((await read(story, order.id))?.body, 'status')),
  );
  if (ended) await story.ask('shipping.label of an ended order', 'GET', `/v1/shipments/${shipment}/label`);
}

async function afterPayment(story: Story, order: Placed, paymentId: string): Promise<void> {
  const { draw } = story;
  const paid = await comesTrue(story, 6, async () => {
    const answer = await read(story, order.id);
    return textOf(answer?.body, 'status') === 'confirmed';
  });
  const plans = { keeps: 40, cancels: 10, returns: 11, returnsPart: 12, returnsTwice: 11, parcel: 18, labelOff: 18 };
  const next = draw.weigh(plans);
  if (!paid && (next === 'parcel' || next === 'labelOff')) return;
  if (next === 'labelOff' && order.address) await callOffLabel(story, order, paymentId);
  const part = Math.max(Math.round(order.total * (0.2 + draw.next() * 0.6) * 100) / 100, 0.01);
  if (next === 'cancels') await cancel(story, order.id);
  if (next === 'returns') await refund(story, paymentId);
  if (next === 'returnsPart') await refund(story, paymentId, part);
  if (next === 'returnsTwice') {
    const most = Math.max(Math.round(order.total * 60) / 100, 0.01);
    await Promise.all([refund(story, paymentId, most), refund(story, paymentId, draw.chance(0.5) ? most : undefined)]);
  }
  if (next !== 'parcel') return;
  await comesTrue(story, 10, async () => {
    const answer = await read(story, order.id);
    const shipment = member(answer?.body, 'shipment');
    const number = textOf(shipment, 'trackingNumber');
    if (number !== '') await track(story, number);
    return number !== '' || shipment === undefined;
  });
}

/** Places an order and does with it what its draw says: pays, leaves, cancels, changes its mind in the middle. */
export async function shopping(story: Story): Promise<void> {
  const { draw } = story;
  const order = await place(story, draw.chance(0.25));
  if (!order) return;
  const plan = draw.weigh({ pays: 66, leaves: 12, cancels: 10, races: 12 });
  if (draw.chance(0.3)) await read(story, order.id);
  if (plan === 'leaves') return;
  if (plan === 'cancels') {
    await story.pause(0, 800);
    await cancel(story, order.id);
    return;
  }
  const payment = await openPayment(story, order.id);
  if (!payment || payment.secret === '') return;
  await story.pause(0, 400);
  if (draw.chance(0.05)) {
    const change = draw.pick([{ amount: 50 }, { amount: 99_999 }, { currency: 'eur' }]);
    await inDashboard(story, payment.secret, 'change', change);
  }
  if (plan === 'races') {
    await Promise.all([confirmAtStripe(story, payment.secret), cancel(story, order.id)]);
    return;
  }
  const state = await confirmAtStripe(story, payment.secret);
  if (state === 'processing') {
    await bankDecides(story, payment.secret);
    if (draw.chance(0.15)) await cancel(story, order.id);
  }
  if (draw.chance(0.35)) await confirmAtStripe(story, payment.secret, 'pm_card_visa');
  await afterPayment(story, order, payment.id);
}
