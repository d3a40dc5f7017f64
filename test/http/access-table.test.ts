import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Route } from '../../src/http/declaration.ts';
import {
  checksum,
  createFixture,
  type Fixture,
  guarded,
  sendValid,
  validRequest,
  variables,
} from '../abuse/requests.ts';
import { type Reply, type Store, startStore } from '../support/harness.ts';

const allScopes = [...new Set(guarded.map((route) => route.scope ?? ''))].sort();

type KeyCase = { name: string; key: string | null; tenant: 'default' | 'acme'; scopes: string[]; valid: boolean };
type Expected = { status: number; code: string } | { status: 'success' };

const rejection = (status: number, code: string): Expected => ({ status, code });
const success: Expected = { status: 'success' };

/** The responses to requests with another tenant’s rows in the body, for operations without a path parameter. */
const otherTenantInBody: Record<string, Expected> = {
  placeOrder: rejection(422, 'unknown_sku'),
  createCart: success, // with a message that the SKU is unknown
  createCampaign: rejection(422, 'validation_failed'),
  createPayment: rejection(422, 'validation_failed'),
  createShipment: rejection(422, 'validation_failed'),
  createKey: success,
  createProduct: success,
  createProductGroup: success,
  createCollection: success,
  createPriceList: success,
  createDiscount: success,
  createShippingOption: success,
  createTaxRate: success,
  createCustomer: success,
  createCustomerSession: rejection(422, 'validation_failed'),
  importProducts: success,
  updateTenant: success,
  openStripeAccount: success,
};

/** The response to a publishable key without a Cart-Token, where its kind of key may reach its own rows. */
const toPublishable: Record<string, Expected> = {
  createCart: success,
  createCustomerSession: rejection(403, 'forbidden'), // a customer is named
  createPayment: rejection(422, 'validation_failed'),
};

/** The expected response of every cell of the table, from the declaration of the operation and the kind of key. */
function expectedOf(
  route: Pick<Route, 'id' | 'scope' | 'shoppers' | 'path' | 'body' | 'stream'>,
  keyCase: KeyCase,
): Expected {
  if (!keyCase.valid) return rejection(401, 'unauthenticated');
  // test/http/shoppers-table.test.ts has the other callers from a browser.
  if (keyCase.name === 'publishable' && route.shoppers?.includes('publishable')) {
    return toPublishable[route.id] ?? rejection(404, 'not_found');
  }
  if (!keyCase.scopes.includes(route.scope ?? '')) return rejection(403, 'forbidden');
  if (keyCase.tenant === 'default') return success;
  if (route.path.includes('{')) return rejection(404, 'not_found');
  if (!route.body && !route.stream) return success;
  const expected = otherTenantInBody[route.id];
  if (expected === undefined) {
    throw new Error(`${route.id}: add its response for another tenant's rows to otherTenantInBody`);
  }
  return expected;
}

const matches = (reply: Reply, expected: Expected): boolean =>
  expected.status === 'success'
    ? reply.status >= 200 && reply.status < 300
    : reply.status === expected.status &&
      reply.body.code === expected.code &&
      reply.headers.get('content-type') === 'application/problem+json';

let store: Store;
let fixture: Fixture;
const publishable = ['catalog:read', 'campaigns:read'];

/** Every kind of key. Each belongs to the tenant that owns the rows, unless its name says otherwise. */
async function createKeys(): Promise<KeyCase[]> {
  const past = new Date(Date.now() - 60_000);
  const { key } = store.database;
  const row = (name: string, key: string | null, fields: Partial<KeyCase> = {}): KeyCase => ({
    ...{ name, key, tenant: 'default', scopes: allScopes, valid: true },
    ...fields,
  });
  const validKey = await key({ scopes: allScopes });
  return [
    row('none', null, { valid: false }),
    row('with another prefix', validKey.replace('sk_', 'xx_'), { valid: false }),
    row('with text after it', `${validKey} ${validKey}`, { valid: false }),
    row('unknown', `${validKey.slice(0, -4)}zzzz`, { valid: false }),
    row('in another letter case', validKey.toUpperCase().replace('SK_TEST', 'sk_test').replace(/[a-f]/, 'A'), {
      valid: false,
    }),
    row('revoked', await key({ scopes: allScopes, revokedAt: past }), { valid: false }),
    row('expired', await key({ scopes: allScopes, expiresAt: past }), { valid: false }),
    row('publishable', await key({ kind: 'publishable' }), { scopes: publishable }),
    row('without a scope', await key({ scopes: [] }), { scopes: [] }),
    ...(await Promise.all(
      allScopes.map(async (missing) => {
        const scopes = allScopes.filter((scope) => scope !== missing);
        return row(`without ${missing}`, await key({ scopes }), { scopes });
      }),
    )),
    row('of another tenant', await key({ tenant: 'acme', scopes: allScopes }), { tenant: 'acme' }),
  ];
}

/** One line for every cell that deviates from the rule: the operation, the key and the response. */
async function findDeviations(table: Route[], keyCases: KeyCase[], rule = expectedOf): Promise<string[]> {
  const found: string[] = [];
  for (const route of table) {
    for (const key of keyCases) {
      const expected = rule(route, key);
      // A request that succeeds for the owner would change rows. The last test of this group sends those requests.
      if (expected.status === 'success' && key.tenant === 'default') continue;
      const reply = await sendValid(store, validRequest(store, route, fixture), key.key);
      if (!matches(reply, expected)) {
        const response = `${reply.status} ${reply.body?.code ?? ''}`;
        found.push(`${route.id} × ${key.name}: ${response} and not ${JSON.stringify(expected)}`);
      }
    }
  }
  return found;
}

beforeAll(async () => {
  store = await startStore({ variables });
  fixture = await createFixture(store);
});
afterAll(() => store.close());

describe('a valid request to every operation', () => {
  test('gets the documented response for each kind of key, and changes nothing if it is rejected', async () => {
    const keyCases = await createKeys();
    expect(allScopes.length).toBeGreaterThan(8);
    expect(guarded.length).toBeGreaterThan(25);
    const before = await checksum(store, 'default');
    expect(await findDeviations(guarded, keyCases)).toEqual([]);
    // No row of the owner has changed, not even by the other tenant’s successful requests.
    expect(await checksum(store, 'default')).toBe(before);
  }, 180_000);

  test('lists nothing of another tenant', async () => {
    const key = await store.database.key({ tenant: 'acme', scopes: allScopes });
    const responses: string[] = [];
    for (const route of guarded.filter(({ method, path }) => method === 'get' && !path.includes('{'))) {
      responses.push(JSON.stringify((await store.send('GET', `${route.path}?limit=100`, undefined, { key })).body));
    }
    const { product, open, payment, campaign, shipment, deadLetter } = fixture;
    for (const id of [product.id, open, payment.id, campaign.id, shipment.id, deadLetter]) {
      expect(responses.join('\n')).not.toContain(id);
    }
    // The owner’s list contains the order, so its absence above is not a fault of the list.
    const ownEvents = (await store.send('GET', '/v1/events?limit=100')).body.data as { subject: string }[];
    expect(ownEvents.map((event) => event.subject)).toContain(open);
  });

  test('succeeds with a key of the owner that has only the declared scope, so only the key caused each rejection', async () => {
    const outcomes: unknown[] = [];
    for (const route of guarded) {
      const key = await store.database.key({ scopes: [route.scope ?? ''] });
      const reply = await sendValid(store, validRequest(store, route, fixture), key);
      outcomes.push([route.id, matches(reply, success) ? 'success' : reply.body]);
    }
    expect(outcomes).toEqual(guarded.map((route) => [route.id, 'success']));
  });
});

describe('the access table', () => {
  test('detects an operation that checks another scope than it declares, and a wrong rule', async () => {
    const keyCases = (await createKeys()).filter((key) => key.name !== 'of another tenant');
    const [route] = guarded.filter((each) => each.id === 'getOrder');
    if (!route) throw new Error('getOrder is gone');
    const declared = { ...route, scope: 'payments:read' };
    expect((await findDeviations([declared], keyCases)).map((line) => line.split(':', 2).join(':'))).toEqual([
      'getOrder × without payments:read',
    ]);
    const withoutKey = keyCases.slice(0, 1);
    expect(await findDeviations([route], withoutKey, () => rejection(403, 'forbidden'))).toHaveLength(1);
    expect(await findDeviations([route], withoutKey, () => rejection(401, 'forbidden'))).toHaveLength(1);
  });

  test('throws for a new operation without an expected response', () => {
    const keyCases: KeyCase = {
      name: 'of another tenant',
      key: null,
      tenant: 'acme',
      scopes: ['x:write'],
      valid: true,
    };
    const body = guarded.find((route) => route.body)?.body;
    if (!body) throw new Error('no operation takes a body');
    expect(() => expectedOf({ id: 'newOne', scope: 'x:write', path: '/v1/new', body }, keyCases)).toThrow(/newOne/);
  });
});
