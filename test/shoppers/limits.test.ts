import { afterAll, beforeAll, expect, test } from 'vitest';
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
