import type { Answer, Order, Payment, Shop } from './shop.ts';
import { comesTrue } from './shop.ts';

/** What a buyer does, told before it happens. */
export const stories = {
  pays: 'pay with a card that passes',
  mindsLater: 'pay, then cancel',
  returnsPart: 'pay, then send a part back',
  returnsAll: 'pay, then send all of it back',
  returnsTwice: 'pay, then ask for two refunds at the same instant',
  getsParcel: 'pay and give an address',
  declinedOnce: 'are declined, then pay with another card',
  authenticates: 'pay with 3-D Secure',
  failsBank: 'fail 3-D Secure, then pay with another card',
  declined: 'are declined, and leave',
  abandons: 'leave the basket',
  cancelsFirst: 'cancel before they pay',
  paysLast: 'pay in the very moment in which the hold runs out',
  waits: 'order without waiting for the stock, and pay',
} as const;

export type Story = keyof typeof stories;

export type Buyer = {
  name: string;
  story: Story;
  /** Null: nothing was left for them. */
  order: Order | null;
  payment: Payment | null;
  /** What Stripe said to each card. */
  said: string[];
};

const names = 'Ada Bao Chloé Dmitri Eleni Farid Grace Hana Ines Jürgen Keiko Łukasz Mona Noor Óscar Priya'.split(' ');

/** Every story once, in order, then at random: a small day has all of them too. */
export function castBuyers(count: number, random: () => number): Buyer[] {
  const all = Object.keys(stories) as Story[];
  return Array.from({ length: count }, (_, index) => ({
    name: names[Math.floor(random() * names.length)] ?? 'Ada',
    story: all[index] ?? all[Math.floor(random() * all.length)] ?? 'pays',
    order: null,
    payment: null,
    said: [],
  }));
}

const address = (name: string) => ({
  name: `${name} Example`,
  line1: '12 Harbour Street',
  city: 'Lisboa',
  postalCode: '1100-001',
  country: 'PT',
});

/** Places the buyer's order, and pays or does not, as their story goes. */
export async function shopAs(shop: Shop, buyer: Buyer, items: { sku: string; quantity: number }[]): Promise<void> {
  const placed = await placeOrder(shop, buyer, items);
  if (placed.status === 409) return; // the shelf is empty
  if (placed.status > 299) throw new Error(`an order was answered ${placed.status}: ${JSON.stringify(placed.body)}`);
  const order = placed.body as Order;
  // Asked for at the same time by the queue's consumer: there is one payment all the same. Held later: not payable yet.
  const held = async () => {
    const answer = await shop.ask('POST', '/v1/payments', { orderId: order.id });
    if (answer.status === 201) buyer.payment = answer.body as Payment;
    return answer.status === 201 || (await shop.readOrder(order.id)).status === 'failed';
  };
  await comesTrue(held, 20);
  if (buyer.payment === null) return;
  buyer.order = order;
  await payAs(shop, buyer, buyer.payment);
}

function placeOrder(shop: Shop, { name, story }: Buyer, items: { sku: string; quantity: number }[]): Promise<Answer> {
  const body = {
    customerId: name.toLowerCase(),
    items,
    ...(story === 'getsParcel' ? { shippingAddress: address(name) } : {}),
  };
  return shop.ask('POST', '/v1/orders', body, story === 'waits' ? { prefer: 'respond-async' } : {});
}

async function payAs(shop: Shop, buyer: Buyer, payment: Payment): Promise<void> {
  const card = async (method: string) => buyer.said.push(await shop.confirm(payment, method));
  switch (buyer.story) {
    case 'abandons':
    case 'paysLast':
      return;
    case 'cancelsFirst':
      await shop.expectOk('POST', `/v1/orders/${buyer.order?.id}/cancel`, { reason: 'changed my mind' });
      return;
    case 'declined':
      await card('pm_card_visa_chargeDeclinedInsufficientFunds');
      return;
    case 'declinedOnce':
      await card('pm_card_visa_chargeDeclined');
      break;
    case 'authenticates':
      await card('pm_card_authenticationRequired');
      await shop.answerBank(payment, 'succeed');
      return;
    case 'failsBank':
      await card('pm_card_authenticationRequired');
      await shop.answerBank(payment, 'fail');
      break;
    case 'returnsAll':
      await card('pm_card_pendingRefund');
      return;
  }
  await card('pm_card_visa');
}

/** What buyers do once they have paid. Resolves with how many refunds were promised, and how many were refused. */
export async function regretAs(shop: Shop, buyer: Buyer): Promise<{ promised: number; refused: number }> {
  const { order, payment, story } = buyer;
  if (order === null || payment === null) return { promised: 0, refused: 0 };
  const refund = (amount?: number) =>
    shop.ask('POST', `/v1/payments/${payment.id}/refunds`, amount === undefined ? {} : { amount, reason: 'sent back' });
  const answers: Answer[] = [];
  const most = Math.ceil(order.total * 0.6);
  if (story === 'mindsLater')
    await shop.expectOk('POST', `/v1/orders/${order.id}/cancel`, { reason: 'too late for me' });
  if (story === 'returnsPart') answers.push(await refund(1.5));
  if (story === 'returnsAll') answers.push(await refund());
  if (story === 'returnsTwice') answers.push(...(await Promise.all([refund(most), refund(most)])));
  const strange = answers.find((answer) => answer.status !== 201 && answer.status !== 422);
  if (strange) throw new Error(`a refund was answered ${strange.status}: ${JSON.stringify(strange.body)}`);
  const promised = answers.filter((answer) => answer.status === 201).length;
  return { promised, refused: answers.length - promised };
}
