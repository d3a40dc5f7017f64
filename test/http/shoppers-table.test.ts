import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Route } from '../../src/http/declaration.ts';
import {
  createFixture,
  type Fixture,
  guarded,
  sendValid,
  type Valid,
  validRequest,
  variables,
} from '../abuse/requests.ts';
import { type Reply, type Store, startStore } from '../support/harness.ts';
import { addCartOf, addSession, addShopper, makeCartToken } from '../support/shoppers.ts';

/**
 * Callers from a browser. The rows belong to one customer, whose orders came from carts with one token: `cart` has that
 * token, `own` is a session of that customer. The others have nothing of it.
 */
const callers = ['publishable', 'cart', 'foreign cart', 'own', 'other', 'acme'] as const;
type Caller = (typeof callers)[number];
type Expected = 'success' | 'forbidden' | 'not_found' | 'validation_failed';

type Reach = { by: Caller[]; otherwise: Expected };
/** Whose token reaches the row of an operation for shoppers, and the error for everybody else. */
const ofCart = { by: ['cart', 'own'], otherwise: 'not_found' } satisfies Reach;
const reach: Record<string, Reach> = {
  listOrders: { by: ['own', 'other', 'acme'], otherwise: 'forbidden' }, // each lists its own: see below
  getOrder: { by: ['cart', 'own'], otherwise: 'not_found' },
  listOrderEvents: { by: ['cart', 'own'], otherwise: 'not_found' },
  cancelOrder: { by: ['own'], otherwise: 'not_found' },
  createPayment: { by: ['cart', 'own'], otherwise: 'validation_failed' },
  getPayment: { by: ['cart', 'own'], otherwise: 'not_found' },
  getShipment: { by: ['cart', 'own'], otherwise: 'not_found' },
  getCustomer: { by: ['own'], otherwise: 'not_found' },
  updateCustomer: { by: ['own'], otherwise: 'not_found' },
  createCart: { by: [...callers], otherwise: 'not_found' },
  getCart: ofCart,
  updateCart: ofCart,
  setCartItem: ofCart,
  removeCartItem: ofCart,
  checkoutCart: ofCart,
  reopenCart: ofCart,
  cancelCart: ofCart,
  joinCampaign: { by: ['own', 'other'], otherwise: 'not_found' },
  leaveCampaign: { by: ['own', 'other'], otherwise: 'not_found' },
  openTeam: { by: ['own', 'other'], otherwise: 'not_found' },
  joinTeam: { by: ['own', 'other'], otherwise: 'not_found' },
  joinTeamByCode: { by: ['own', 'other'], otherwise: 'not_found' },
  leaveTeam: { by: ['own', 'other'], otherwise: 'not_found' }, // both have joined the team before
  listParticipants: { by: ['own', 'other'], otherwise: 'not_found' }, // each lists its own
  listReferrals: { by: ['own', 'other'], otherwise: 'not_found' }, // each lists its own
  listWaiting: { by: ['own', 'other'], otherwise: 'not_found' }, // each lists its own
  createCustomerSession: { by: [], otherwise: 'forbidden' }, // the request names a customer
};

/** Bodies with what a session may change. */
const bodies: Record<string, object> = {
  updateCustomer: { name: 'Ada', phone: null, addresses: [] },
  joinCampaign: {},
  leaveCampaign: {},
  openTeam: {},
  joinTeam: {},
  joinTeamByCode: {},
  leaveTeam: {},
};

function expectedOf({ id, scope, shoppers, path }: Route, caller: Caller): Expected {
  if (scope === 'catalog:read' || scope === 'campaigns:read') {
    return caller === 'acme' && path.includes('{') ? 'not_found' : 'success';
  }
  const kind = ['publishable', 'cart', 'foreign cart'].includes(caller) ? 'publishable' : 'session';
  if (!shoppers?.includes(kind)) return 'forbidden';
  const rule = reach[id];
  if (rule === undefined) throw new Error(`${id}: say in \`reach\` which of the callers reach its row`);
  return rule.by.includes(caller) ? 'success' : rule.otherwise;
}

let store: Store;
let fixture: Fixture;
let keys: Record<Caller, string>;
const cartToken = makeCartToken();
beforeAll(async () => {
  store = await startStore({ variables });
  fixture = await createFixture(store);
  const { database } = store;
  const orders = [
    fixture.open,
    fixture.cancellable,
    fixture.confirmed,
    fixture.payment.orderId,
    fixture.shipment.orderId,
  ];
  for (const order of orders) await addCartOf(database, order, cartToken);
  await database.query('update orders.orders set customer_id = $1 where id = any($2)', [fixture.customer.id, orders]);
  await database.query('update orders.carts set token_hash = $1, customer_id = $2 where id = any($3)', [
    createHash('sha256').update(cartToken).digest('hex'),
    fixture.customer.id,
    [fixture.cart, fixture.freeCart, fixture.doomedCart],
  ]);
  const other = await addShopper(database);
  const publishable = await database.key({ kind: 'publishable' });
  keys = {
    ...{ publishable, cart: publishable, 'foreign cart': publishable },
    own: await addSession(database, fixture.customer.id),
    other: other.session,
    acme: (await addShopper(database, 'acme')).session,
  };
});
afterAll(() => store.close());

const headersOf = (caller: Caller): Record<string, string> => {
  if (caller === 'foreign cart') return { 'cart-token': makeCartToken() };
  // A cart's token at another tenant's key, and at another customer's session that may list, reaches nothing.
  return caller === 'cart' || caller === 'acme' ? { 'cart-token': cartToken } : {};
};

const request = (route: Route, caller: Caller): Valid => {
  const valid = validRequest(store, route, fixture);
  const body = bodies[route.id] ?? valid.body;
  return { ...valid, body, headers: { ...valid.headers, ...headersOf(caller) } };
};

/** A caller whose cart is not open has reached it: an earlier caller has ordered or cancelled it. */
const outcomeOf = ({ status, body }: Reply): string =>
  (status >= 200 && status < 300) || body.code === 'cart_not_open' ? 'success' : body.code;
/** Reads before writes, so that nothing is cancelled that is still to be read. */
const table = guarded.toSorted((a, b) => Number(a.method !== 'get') - Number(b.method !== 'get'));

test('a shopper reaches its own rows by the operations for shoppers, and nothing else', async () => {
  const deviations: string[] = [];
  for (const route of table) {
    for (const caller of callers) {
      const expected = expectedOf(route, caller);
      const reply = await sendValid(store, request(route, caller), keys[caller]);
      if (outcomeOf(reply) !== expected)
        deviations.push(`${route.id} × ${caller}: ${outcomeOf(reply)}, not ${expected}`);
      if (route.shoppers) {
        expect([route.id, caller, reply.headers.get('cache-control')]).toEqual([route.id, caller, 'no-store']);
      }
    }
  }
  expect(deviations).toEqual([]);
}, 120_000);

test('a secret key needs no token for any of these operations', async () => {
  for (const route of table.filter(({ shoppers }) => shoppers)) {
    const reply = await sendValid(store, validRequest(store, route, fixture), store.key);
    expect([route.id, outcomeOf(reply)]).toEqual([route.id, 'success']);
  }
});

test('an expired session is rejected everywhere', async () => {
  const key = await addSession(store.database, fixture.customer.id, 'default', -1);
  for (const route of table) {
    const reply = await sendValid(store, validRequest(store, route, fixture), key);
    expect([route.id, reply.status, reply.body.code]).toEqual([route.id, 401, 'unauthenticated']);
  }
}, 60_000);

test('no list and no read shows a shopper the rows of another', async () => {
  const { customer, open, payment, shipment } = fixture;
  const people = ['the-leader', '"user-0"']; // of the fixture's team
  const secrets = [customer.email, open, payment.id, payment.clientSecret ?? payment.id, shipment.id, ...people];
  for (const caller of callers.filter((each) => each !== 'own' && each !== 'cart')) {
    const shown: string[] = [];
    for (const route of table.filter(({ method }) => method === 'get')) {
      shown.push(JSON.stringify((await sendValid(store, request(route, caller), keys[caller])).body));
    }
    // The paths of its own requests are in the problem documents.
    const text = shown.join('\n').replaceAll(/"instance":"[^"]*"/g, '');
    for (const secret of secrets) expect([caller, secret, text.includes(secret)]).toEqual([caller, secret, false]);
  }
  const { body } = await store.send('GET', '/v1/orders', undefined, { key: keys.own });
  expect(body.data.map((order: { id: string }) => order.id)).toContain(open);
}, 60_000);
