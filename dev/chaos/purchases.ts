import { member, textOf } from './journal.ts';
import { shippingAddress } from './orders.ts';
import { retryUntil, type Story } from './shop.ts';

type Units = { lineId: string; quantity: number };

/** The lines of an order with their units, as the API shows them now. */
async function readLines(story: Story, orderId: string): Promise<Units[]> {
  const response = await story.request('orders.read', 'GET', `/v1/orders/${orderId}`);
  const items = member(response?.body, 'items');
  if (!Array.isArray(items)) return [];
  return items.map((item) => ({ lineId: textOf(item, 'id'), quantity: Number(member(item, 'quantity')) }));
}

/** Some units of some of these lines. */
function pickUnits({ random }: Story, lines: readonly Units[]): Units[] {
  const picked = random.shuffle(lines).slice(0, random.int(1, 3));
  return picked.map(({ lineId, quantity }) => ({ lineId, quantity: random.int(1, quantity) }));
}

/** Refunds units of a paid order, or the shipping. The reason is the key, so that the audit finds the refund. */
function refundUnits(story: Story, orderId: string, lines: readonly Units[]) {
  const { random } = story;
  const key = story.unique('refund');
  const part = random.pickWeighted({ some: 60, all: 15, shipping: 10, someAndShipping: 15 });
  const items = { some: pickUnits(story, lines), all: lines, shipping: [], someAndShipping: pickUnits(story, lines) };
  const body = {
    items: items[part],
    ...(part === 'some' ? {} : { shipping: true }),
    ...(random.chance(0.3) ? { restock: random.chance(0.5) } : {}),
    reason: key,
  };
  return story.request('orders.refund', 'POST', `/v1/orders/${orderId}/refunds`, { key, body });
}

/** Sends a paid order in parcels of some of its units, and then the rest. */
async function sendParcels(story: Story, orderId: string, lines: readonly Units[], address: object): Promise<void> {
  const ship = (items: object) =>
    story.request('shipments.create', 'POST', '/v1/shipments', {
      key: story.unique('parcel'),
      body: { orderId, address, ...items },
    });
  await ship({ items: pickUnits(story, lines) });
  if (story.random.chance(0.5)) await ship({ items: pickUnits(story, lines) });
  if (story.random.chance(0.7)) await ship({});
}

/** What happens to a paid order of a shopper: its units are refunded, sent in parcels or cancelled. */
export async function changePurchase(
  story: Story,
  { id, paymentId }: { id: string; paymentId: string },
): Promise<void> {
  const { random } = story;
  const plan = random.pickWeighted({ keep: 25, refund: 40, parcels: 15, cancel: 10, refundAmount: 10 });
  if (plan === 'keep') return;
  const key = story.unique('cancel');
  const cancel = () => story.request('orders.cancel', 'POST', `/v1/orders/${id}/cancel`, { key, body: {} });
  if (plan === 'cancel') await cancel();
  const refund = (lines: readonly Units[]) => refundUnits(story, id, lines);
  const lines = await readLines(story, id);
  if (lines.length === 0) return;
  if (plan === 'refund') {
    await Promise.all([refund(lines), random.chance(0.3) && refund(lines), random.chance(0.1) && cancel()]);
    if (random.chance(0.4)) await refund(lines);
  }
  if (plan === 'refundAmount') {
    const reason = story.unique('refund');
    const body = { amount: 0.5, reason };
    await Promise.all([
      story.request('payments.refund', 'POST', `/v1/payments/${paymentId}/refunds`, { key: reason, body }),
      refund(lines),
    ]);
  }
  if (plan !== 'parcels') return;
  await sendParcels(story, id, lines, shippingAddress);
  if (random.chance(0.3)) await refund(lines);
  await retryUntil(story, 2, async () => (await readLines(story, id)).length > 0);
}
