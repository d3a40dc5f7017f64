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

const all = [...new Set(guarded.map((route) => route.scope ?? ''))].sort();

type KeyCase = { name: string; key: string | null; tenant: 'default' | 'acme'; scopes: string[]; good: boolean };
type Expected = { status: number; code: string } | { status: 'taken' };

const is = (status: number, code: string): Expected => ({ status, code });
const success: Expected = { status: 'taken' };

/** The responses to requests with another tenant’s rows in the body, for operations without a path parameter. */
const namedInBody: Record<string, Expected> = {
  placeOrder: is(422, 'unknown_sku'),
  createCampaign: is(422, 'validation_failed'),
  createPayment: is(422, 'validation_failed'),
  createShipment: is(422, 'validation_failed'),
  createProduct: success,
  importProducts: success,
};

/** The expected response of every cell of the table, from the declaration of the operation and the kind of key. */
function expectedOf(route: Pick<Route, 'id' | 'scope' | 'path' | 'body' | 'stream'>, keyCase: KeyCase): Expected {
  if (!keyCase.good) return is(401, 'unauthenticated');
  if (!keyCase.scopes.includes(route.scope ?? '')) return is(403, 'forbidden');
  if (keyCase.tenant === 'default') return success;
  if (route.path.includes('{')) return is(404, 'not_found');
  if (!route.body && !route.stream) return success;
  const named = namedInBody[route.id];
  if (named === undefined) throw new Error(`${route.id}: add its response about another tenant's rows to namedInBody`);
  return named;
}

const fits = (reply: Reply, expected: Expected): boolean =>
  expected.status === 'taken'
    ? reply.status >= 200 && reply.status < 300
    : reply.status === expected.status &&
      reply.body.code === expected.code &&
      reply.headers.get('content-type') === 'application/problem+json';

let store: Store;
let fixture: Fixture;
const publishable = ['catalog:read', 'campaigns:read'];

/** Every kind of key. Each belongs to the tenant that owns the rows, unless its name says otherwise. */
async function keys(): Promise<KeyCase[]> {
  const past = new Date(Date.now() - 60_000);
  const { key } = store.database;
  const row = (name: string, key: string | null, more: Partial<KeyCase> = {}): KeyCase => ({
    ...{ name, key, tenant: 'default', scopes: all, good: true },
    ...more,
  });
  const good = await key({ scopes: all });
  return [
    row('none', null, { good: false }),
    row('with another prefix', good.replace('sk_', 'xx_'), { good: false }),
    row('with text after it', `${good} ${good}`, { good: false }),
    row('unknown', `${good.slice(0, -4)}zzzz`, { good: false }),
    row('in other deadLetter case', good.toUpperCase().replace('SK_TEST', 'sk_test').replace(/[a-f]/, 'A'), {
      good: false,
    }),
    row('revoked', await key({ scopes: all, revokedAt: past }), { good: false }),
    row('expired', await key({ scopes: all, expiresAt: past }), { good: false }),
    row('publishable', await key({ kind: 'publishable' }), { scopes: publishable }),
    row('without a scope', await key({ scopes: [] }), { scopes: [] }),
    ...(await Promise.all(
      all.map(async (left) => {
        const scopes = all.filter((scope) => scope !== left);
        return row(`without ${left}`, await key({ scopes }), { scopes });
      }),
    )),
    row('of another tenant', await key({ tenant: 'acme', scopes: all }), { tenant: 'acme' }),
  ];
}

/** One line for every cell that deviates from the rule: the operation, the key and the response. */
async function deviations(table: Route[], keyCases: KeyCase[], rule = expectedOf): Promise<string[]> {
  const found: string[] = [];
  for (const route of table) {
    for (const key of keyCases) {
      const expected = rule(route, key);
      // A request that succeeds for the owner would change the rows. The last test of this group sends those.
      if (expected.status === 'taken' && key.tenant === 'default') continue;
      const reply = await sendValid(store, validRequest(store, route, fixture), key.key);
      if (!fits(reply, expected)) {
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
    const keyCases = await keys();
    expect(all.length).toBeGreaterThan(8);
    expect(guarded.length).toBeGreaterThan(25);
    const before = await checksum(store, 'default');
    expect(await deviations(guarded, keyCases)).toEqual([]);
    // No row of the owner has changed, not even by the other tenant’s successful requests.
    expect(await checksum(store, 'default')).toBe(before);
  });

  test('lists nothing of another tenant', async () => {
    const key = await store.database.key({ tenant: 'acme', scopes: all });
    const response: string[] = [];
    for (const route of guarded.filter(({ method, path }) => method === 'get' && !path.includes('{'))) {
      response.push(JSON.stringify((await store.send('GET', `${route.path}?limit=100`, undefined, { key })).body));
    }
    const { product, open, payment, campaign, shipment, deadLetter } = fixture;
    for (const id of [product.id, open, payment.id, campaign.id, shipment.id, deadLetter]) {
      expect(response.join('\n')).not.toContain(id);
    }
    // The owner’s list contains the order, so that its absence above is significant.
    const ours = (await store.send('GET', '/v1/events?limit=100')).body.data as { subject: string }[];
    expect(ours.map((event) => event.subject)).toContain(open);
  });

  test('succeeds with a key of the owner that has only the declared scope, so the key was the reason for each rejection', async () => {
    const answers: unknown[] = [];
    for (const route of guarded) {
      const key = await store.database.key({ scopes: [route.scope ?? ''] });
      const reply = await sendValid(store, validRequest(store, route, fixture), key);
      answers.push([route.id, fits(reply, success) ? 'taken' : reply.body]);
    }
    expect(answers).toEqual(guarded.map((route) => [route.id, 'taken']));
  });
});

describe('the access table', () => {
  test('detects an operation that checks another scope than it declares, and a wrong rule', async () => {
    const keyCases = (await keys()).filter((key) => key.name !== 'of another tenant');
    const [route] = guarded.filter((each) => each.id === 'getOrder');
    if (!route) throw new Error('getOrder is gone');
    const declared = { ...route, scope: 'payments:read' };
    expect((await deviations([declared], keyCases)).map((line) => line.split(':', 2).join(':'))).toEqual([
      'getOrder × without payments:read',
    ]);
    const none = keyCases.slice(0, 1);
    expect(await deviations([route], none, () => is(403, 'forbidden'))).toHaveLength(1);
    expect(await deviations([route], none, () => is(401, 'forbidden'))).toHaveLength(1);
  });

  test('throws for a new operation without an expected response', () => {
    const keyCases: KeyCase = { name: 'of another tenant', key: null, tenant: 'acme', scopes: ['x:write'], good: true };
    const body = guarded.find((route) => route.body)?.body;
    if (!body) throw new Error('no operation takes a body');
    expect(() => expectedOf({ id: 'newOne', scope: 'x:write', path: '/v1/new', body }, keyCases)).toThrow(/newOne/);
  });
});
