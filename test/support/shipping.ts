import { createHmac } from 'node:crypto';
import { oneLine, type Store, until } from './harness.ts';

/** The secret for signing tracking updates. */
export const secret = 'shipping_dev';
export const address = {
  line1: '1092 Indian Summer Court',
  city: 'San José',
  state: 'CA',
  postalCode: '95122',
  country: 'US',
};
export const home = { ...address, name: 'Zoë Łukasiewicz' };
/** An address that no label can print, because its letters are neither in the fonts nor transliterated. */
export const unprintable = { ...home, line1: 'ถนนสุขุมวิท 21' };

export const sign = (body: string, by = secret, at = Math.floor(Date.now() / 1000)) =>
  `t=${at},v1=${createHmac('sha256', by).update(`${at}.${body}`).digest('hex')}`;

export type DeadLetter = { id: string; eventId: string; topic: string; reason: string };

/** Helpers for tests of shipping, with any carrier. */
export function shop(store: () => Store) {
  const orderOf = async (id: string) => (await store().send('GET', `/v1/orders/${id}`)).body;
  const free = async (shippingAddress?: object, sku = 'GIFT') => {
    const { body } = await store().send('POST', '/v1/orders', oneLine(sku, 1, shippingAddress && { shippingAddress }));
    return body.id as string;
  };
  const reaches = (id: string, status: string) => until(async () => (await orderOf(id)).status === status);
  return {
    orderOf,
    free,
    reaches,
    /** A confirmed order of total 0 without an address, which the shipping consumer has already processed. */
    confirmed: async () => {
      const id = await free();
      await until(async () => {
        const seen = await store().database.query(
          `select from platform.inbox i join platform.events e on e.id::text = i.event_id
           where i.consumer = 'shipping' and e.key = $1 and e.topic = 'order.confirmed'`,
          [id],
        );
        return seen.length === 1;
      });
      return id;
    },
    shipped: async (id: string) => {
      await until(async () => (await orderOf(id)).shipment !== null);
      return (await orderOf(id)).shipment;
    },
    ship: (orderId: string, to: object = home, idempotencyKey?: string) =>
      store().send('POST', '/v1/shipments', { orderId, address: to }, idempotencyKey ? { idempotencyKey } : {}),
    historyOf: async (id: string): Promise<string[]> =>
      (await store().send('GET', `/v1/orders/${id}/events?limit=100`)).body.data.map((e: { type: string }) => e.type),
    deadLettersOf: async (key: string, status = 'open'): Promise<DeadLetter[]> =>
      (await store().send('GET', `/v1/dead-letters?limit=100&status=${status}`)).body.data.filter(
        (deadLetter: { key: string; sink: string }) => deadLetter.key === key && deadLetter.sink === 'shipping',
      ),
    requestOf: async (orderId: string) => {
      const [row] = await store().database.query<{ status: string; last_error: string; attempts: number }>(
        'select status, last_error, attempts from shipping.label_requests where order_id = $1',
        [orderId],
      );
      return row;
    },
  };
}
