import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCart } from '../support/carts.ts';
import { type Store, startStore } from '../support/harness.ts';
import { addShopper, makeCartToken } from '../support/shoppers.ts';

let store: Store;
let publishable: string;
let session: string;
beforeAll(async () => {
  // 10 requests a second, 5 at once, for an address and for a cart or session.
  store = await startStore({ variables: { KEY_LIMIT_REQUESTS: '100' } });
  publishable = await store.database.key({ kind: 'publishable' });
  session = (await addShopper(store.database)).session;
});
afterAll(() => store.close());

const order = '/v1/orders/019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f';

/** Sends 60 requests at once and counts the responses by status and by the limit that they name. */
async function flood(of: (n: number) => { key?: string; cart?: string; address?: string }): Promise<string[]> {
  const replies = await Promise.all(
    Array.from({ length: 60 }, (_, n) => {
      const { key = publishable, cart, address = `10.0.0.${n}` } = of(n);
      const headers = { 'cf-connecting-ip': address, ...(cart === undefined ? {} : { 'cart-token': cart }) };
      return store.send('GET', order, undefined, { key, headers });
    }),
  );
  return [
    ...new Set(replies.map(({ status, headers }) => `${status}${headers.get('ratelimit')?.split(';')[0] ?? ''}`)),
  ].sort();
}

test('many shoppers with one publishable key are not limited by that key', async () => {
  expect(await flood((n) => ({ cart: makeCartToken(), address: `192.0.2.${n}` }))).toEqual(['404']);
});

test('a page that sends many Cart-Tokens from one address is limited by the address', async () => {
  expect(await flood(() => ({ cart: makeCartToken(), address: '198.51.100.1' }))).toEqual(['404', '429"address"']);
  expect(await flood((n) => ({ cart: makeCartToken(), address: `203.0.113.${n}` }))).toEqual(['404']);
});

test('a cart and a session are limited each, from whatever addresses they come', async () => {
  const cart = makeCartToken();
  expect(await flood(() => ({ cart }))).toEqual(['404', '429"shopper"']);
  expect(await flood((n) => ({ key: session, address: `172.16.0.${n}` }))).toEqual(['404', '429"shopper"']);
});

test('an address that guesses discount codes is limited, whatever carts it makes, and only for these requests', async () => {
  const guessing = await startStore();
  const key = await guessing.database.key({ kind: 'publishable' });
  const at = (address: string) => ({ headers: { 'cf-connecting-ip': address } });
  const guess = async (address: string, change: object = { discountCodes: ['GUESS'] }) => {
    const cart = await openCart(guessing, {}, key, at(address).headers);
    return (await cart.send('PATCH', '', change, at(address))).status;
  };
  const statuses = new Set<number>();
  for (let round = 0; round < 10 && !statuses.has(429); round++) {
    for (const status of await Promise.all(Array.from({ length: 40 }, () => guess('192.0.2.1')))) statuses.add(status);
  }
  expect(statuses).toEqual(new Set([200, 429]));
  expect(await guess('192.0.2.2')).toBe(200);
  const honest = await Promise.all(
    Array.from({ length: 120 }, () => guess('192.0.2.3', { email: 'ada@example.com', discountCodes: [] })),
  );
  expect(new Set(honest)).toEqual(new Set([200]));
  await guessing.close();
}, 60_000);
