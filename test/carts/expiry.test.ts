import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCart, type Shopper } from '../support/carts.ts';
import { addProduct, type Store, startStore } from '../support/harness.ts';

let store: Store;
let publishable: string;
beforeAll(async () => {
  store = await startStore();
  publishable = await store.database.key({ kind: 'publishable' });
});
afterAll(() => store.close());

const inDays = (count: number) => new Date(Date.now() + count * 86_400_000);
const fill = async () => {
  const { sku } = await addProduct(store, `E-${randomUUID().slice(0, 8)}`, 5, 10);
  return openCart(store, { items: [{ sku, quantity: 1 }], email: 'ada@example.com' }, publishable);
};
const read = async (cart: Shopper) => (await cart.send('GET', '')).body;
/** Lets a cart expire now. */
const age = (cart: Shopper) =>
  store.database.query(`update orders.carts set expires_at = now() - interval '1 minute' where id = $1`, [cart.id]);
const eventsOf = async (cart: Shopper) => (await store.send('GET', `/v1/events?key=${cart.id}`)).body.data;

test('a cart expires a week after its latest change, or when its tenant says', async () => {
  const cart = await fill();
  const until = async () => Date.parse((await read(cart)).expiresAt) - Date.now();
  expect(await until()).toBeGreaterThan(6.99 * 86_400_000);
  await age(cart);
  await cart.send('PATCH', '', { phone: '1' });
  expect(await until()).toBeGreaterThan(6.99 * 86_400_000);
  await store.send('PATCH', '/v1/tenant', { cartSeconds: 3_600 }, { key: await store.database.key() });
  await cart.send('PATCH', '', { phone: '2' });
  expect(await until()).toBeLessThan(3_600_001);
  await store.send('PATCH', '/v1/tenant', { cartSeconds: null });
  await store.cron();
  expect((await read(cart)).status).toBe('open');
  await store.cron('* * * * *', inDays(8));
  expect((await read(cart)).status).toBe('expired');
  expect(await eventsOf(cart)).toMatchObject([{ type: 'cart.expired', data: { cartId: cart.id, customerId: null } }]);
  const changed = await cart.send('PATCH', '', { phone: '3' });
  expect([changed.status, changed.body.code]).toEqual([409, 'cart_not_open']);
  await store.cron('* * * * *', inDays(9));
  expect(await eventsOf(cart)).toHaveLength(1);
});

test('an ordered cart is not expired while its order waits, is completed with it, and expires once it has failed', async () => {
  const [waiting, paid, failed] = [await fill(), await fill(), await fill()];
  const placed = new Map<Shopper, string>();
  for (const cart of [waiting, paid, failed]) placed.set(cart, (await cart.checkout()).body.order.id);
  await store.database.query(`update orders.orders set status = 'confirmed' where id = $1`, [placed.get(paid)]);
  await store.database.query(`update orders.orders set status = 'failed' where id = $1`, [placed.get(failed)]);
  for (const cart of [waiting, paid, failed]) await age(cart);
  await store.cron();
  const shown = await Promise.all([waiting, paid, failed].map(read));
  expect(shown.map(({ status }) => status)).toEqual(['ordered', 'completed', 'expired']);
  expect(Date.parse(shown[0].expiresAt)).toBeGreaterThan(Date.now());
  const rows = await store.database.query<{ status: string }>(
    'select status from orders.carts where id = any($1) order by array_position($1, id)',
    [[waiting, paid, failed].map(({ id }) => id)],
  );
  expect(rows.map(({ status }) => status)).toEqual(['ordered', 'completed', 'expired']);
  expect([await eventsOf(waiting), await eventsOf(paid)]).toEqual([[], []]);
});

test('a cart is deleted 30 days after its end, and its order stays', async () => {
  const [ended, ordered, open] = [await fill(), await fill(), await fill()];
  await ended.send('POST', '/cancel');
  const { body } = await ordered.checkout();
  await store.database.query(`update orders.orders set status = 'confirmed' where id = $1`, [body.order.id]);
  await age(ordered);
  await store.cron();
  await store.cron('17 * * * *', inDays(29));
  expect((await read(ended)).status).toBe('cancelled');
  await store.cron('17 * * * *', inDays(31));
  expect([(await ended.send('GET', '')).status, (await ordered.send('GET', '')).status]).toEqual([404, 404]);
  expect((await store.send('GET', `/v1/orders/${body.order.id}`)).status).toBe(200);
  expect((await read(open)).status).toBe('open');
});

test('a cart that cannot be expired is set aside, and the others expire', async () => {
  const [bad, good] = [await fill(), await fill()];
  await store.database.query(
    `alter table orders.carts add constraint carts_test check (id <> '${bad.id}' or status = 'open') not valid`,
  );
  await age(bad);
  await age(good);
  await store.cron();
  expect((await read(good)).status).toBe('expired');
  expect((await read(bad)).status).toBe('open');
  const letters = await store.send('GET', '/v1/dead-letters');
  expect(letters.body.data).toMatchObject([{ sink: 'expire-carts', key: bad.id }]);
  await store.database.query('alter table orders.carts drop constraint carts_test');
  await store.cron('* * * * *', new Date(Date.now() + 120_000));
  expect((await read(bad)).status).toBe('expired');
});
