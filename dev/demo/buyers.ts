import type { ApiResponse, Order, Payment, Shop } from './shop.ts';
import { waitUntil } from './shop.ts';

/** The plans that buyers follow, as the output describes them. */
export const stories = {
  pays: 'pay with a card that is accepted',
  cancelsPaid: 'pay, then cancel',
  returnsPart: 'pay, then return some of the goods',
  returnsAll: 'pay, then return all goods',
  returnsTwice: 'pay, then ask for two refunds at the same time',
  getsParcel: 'give an address, pay, and get a parcel',
  declinedOnce: 'are declined, then pay with another card',
  authenticates: 'pay with 3-D Secure',
  failsBank: 'fail 3-D Secure, then pay with another card',
  declined: 'are declined and leave',
  abandons: 'leave without paying',
  cancelsFirst: 'cancel before paying',
  paysLast: 'pay at the moment when the hold expires',
  waits: 'order with respond-async, then pay',
} as const;

export type Story = keyof typeof stories;

export type Buyer = {
  name: string;
  story: Story;
  /** Null if the product was sold out. */
  order: Order | null;
  payment: Payment | null;
  /** Stripe's result for each card. */
  cardResults: string[];
};

const names = 'Ada Bao Chloé Dmitri Eleni Farid Grace Hana Ines Jürgen Keiko Łukasz Mona Noor Óscar Priya'.split(' ');

/** Creates buyers: first one for each story, then with random stories. So even a short run has every story. */
export function createBuyers(count: number, random: () => number): Buyer[] {
  const all = Object.keys(stories) as Story[];
  return Array.from({ length: count }, (_, index) => ({
    name: names[Math.floor(random() * names.length)] ?? 'Ada',
    story: all[index] ?? all[Math.floor(random() * all.length)] ?? 'pays',
    order: null,
    payment: null,
    cardResults: [],
  }));
}

const address = (name: string) => ({
  name: `${name} Example`,
  line1: '12 Harbour Street',
  city: 'Lisboa',
  postalCode: '1100-001',
  country: 'PT',
});

/** Places the buyer's order, and pays it or not, as the story says. */
export async function placeAndPay(shop: Shop, buyer: Buyer, items: { sku: string; quantity: number }[]): Promise<void> {
  const placed = await placeOrder(shop, buyer, items);
  if (placed.status === 409) return; // sold out
  if (placed.status > 299) throw new Error(`POST /v1/orders returned ${placed.status}: ${JSON.stringify(placed.body)}`);
  const order = placed.body as Order;
  // The queue consumer may create the payment at the same time; both get the same one. Until the stock is held, the
  // order is not payable.
  const isPayable = async () => {
    const response = await shop.request('POST', '/v1/payments', { orderId: order.id });
    if (response.status === 201) buyer.payment = response.body as Payment;
    return response.status === 201 || (await shop.readOrder(order.id)).status === 'failed';
  };
  await waitUntil(isPayable, 20);
  if (buyer.payment === null) return;
  buyer.order = order;
  await payAs(shop, buyer, buyer.payment);
}

function placeOrder(
  shop: Shop,
  { name, story }: Buyer,
  items: { sku: string; quantity: number }[],
): Promise<ApiResponse> {
  const body = {
    customerId: name.toLowerCase(),
    items,
    ...(story === 'getsParcel' ? { shippingAddress: address(name) } : {}),
  };
  return shop.request('POST', '/v1/orders', body, story === 'waits' ? { prefer: 'respond-async' } : {});
}

async function payAs(shop: Shop, buyer: Buyer, payment: Payment): Promise<void> {
  const card = async (method: string) => buyer.cardResults.push(await shop.confirm(payment, method));
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
      await shop.completeAuthentication(payment, 'succeed');
      return;
    case 'failsBank':
      await card('pm_card_authenticationRequired');
      await shop.completeAuthentication(payment, 'fail');
      break;
    case 'returnsAll':
      await card('pm_card_pendingRefund');
      return;
  }
  await card('pm_card_visa');
}

/** Cancels or returns, as the story says. Resolves with the number of refunds that the API accepted and rejected. */
export async function cancelOrReturn(shop: Shop, buyer: Buyer): Promise<{ accepted: number; rejected: number }> {
  const { order, payment, story } = buyer;
  if (order === null || payment === null) return { accepted: 0, rejected: 0 };
  const refund = (amount?: number) =>
    shop.request(
      'POST',
      `/v1/payments/${payment.id}/refunds`,
      amount === undefined ? {} : { amount, reason: 'returned' },
    );
  const responses: ApiResponse[] = [];
  const largePart = Math.ceil(order.total * 0.6);
  if (story === 'cancelsPaid')
    await shop.expectOk('POST', `/v1/orders/${order.id}/cancel`, { reason: 'too late for me' });
  if (story === 'returnsPart') responses.push(await refund(1.5));
  if (story === 'returnsAll') responses.push(await refund());
  if (story === 'returnsTwice') responses.push(...(await Promise.all([refund(largePart), refund(largePart)])));
  const unexpected = responses.find((response) => response.status !== 201 && response.status !== 422);
  if (unexpected) throw new Error(`POST refunds returned ${unexpected.status}: ${JSON.stringify(unexpected.body)}`);
  const accepted = responses.filter((response) => response.status === 201).length;
  return { accepted, rejected: responses.length - accepted };
}
