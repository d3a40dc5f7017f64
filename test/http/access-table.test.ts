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

type Shown = { name: string; key: string | null; tenant: 'default' | 'acme'; scopes: string[]; good: boolean };
type Expected = { status: number; code: string } | { status: 'taken' };

const is = (status: number, code: string): Expected => ({ status, code });
const taken: Expected = { status: 'taken' };

/** What an operation that names nothing in its path says of another tenant's fixture that its body names. */
const namedInBody: Record<string, Expected> = {
  placeOrder: is(422, 'unknown_sku'),
  createCampaign: is(422, 'validation_failed'),
  createPayment: is(422, 'validation_failed'),
  createShipment: is(422, 'validation_failed'),
  createProduct: taken,
  importProducts: taken,
};

/** The rule by which every cell of the table is filled, from what the operation declares and what the key is. */
function expectedOf(route: Pick<Route, 'id' | 'scope' | 'path' | 'body' | 'stream'>, shown: Shown): Expected {
  if (!shown.good) return is(401, 'unauthenticated');
  if (!shown.scopes.includes(route.scope ?? '')) return is(403, 'forbidden');
  if (shown.tenant === 'default') return taken;
  if (route.path.includes('{')) return is(404, 'not_found');
  if (!route.body && !route.stream) return taken;
  const named = namedInBody[route.id];
  if (named === undefined) throw new Error(`${route.id}: say what it answers about another tenant's fixture`);
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

/** Every kind of key; each is of the tenant that owns the fixture unless its name says otherwise. */
async function keys(): Promise<Shown[]> {
  const past = new Date(Date.now() - 60_000);
  const { key } = store.database;
  const row = (name: string, shown: string | null, more: Partial<Shown> = {}): Shown => ({
    ...{ name, key: shown, tenant: 'default', scopes: all, good: true },
    ...more,
  });
  const good = await key({ scopes: all });
  return [
    row('none', null, { good: false }),
    row('of no form', good.replace('sk_', 'xx_'), { good: false }),
    row('with something behind it', `${good} ${good}`, { good: false }),
    row('unknown', `${good.slice(0, -4)}zzzz`, { good: false }),
    row('of other case', good.toUpperCase().replace('SK_TEST', 'sk_test').replace(/[a-f]/, 'A'), { good: false }),
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

/** One line for every cell that is not as the rule has it: the operation, the key, and what was answered. */
async function deviations(table: Route[], shown: Shown[], rule = expectedOf): Promise<string[]> {
  const found: string[] = [];
  for (const route of table) {
    for (const key of shown) {
      const expected = rule(route, key);
      // What is taken from the owner would use its fixture up: that is the last row, one operation after the other.
      if (expected.status === 'taken' && key.tenant === 'default') continue;
      const reply = await sendValid(store, validRequest(store, route, fixture), key.key);
      if (!fits(reply, expected)) {
        const told = `${reply.status} ${reply.body?.code ?? ''}`;
        found.push(`${route.id} × ${key.name}: ${told} and not ${JSON.stringify(expected)}`);
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

describe('every operation, asked for in a way that it would take,', () => {
  test('answers each kind of key as the document says, and changes nothing for those that it refuses', async () => {
    const shown = await keys();
    expect(all.length).toBeGreaterThan(8);
    expect(guarded.length).toBeGreaterThan(25);
    const before = await checksum(store, 'default');
    expect(await deviations(guarded, shown)).toEqual([]);
    // Of the owner's rows not one has moved, also not by the other tenant's requests that were taken.
    expect(await checksum(store, 'default')).toBe(before);
  });

  test('shows another tenant none of what it lists', async () => {
    const key = await store.database.key({ tenant: 'acme', scopes: all });
    const told: string[] = [];
    for (const route of guarded.filter(({ method, path }) => method === 'get' && !path.includes('{'))) {
      told.push(JSON.stringify((await store.send('GET', `${route.path}?limit=100`, undefined, { key })).body));
    }
    const { product, open, payment, campaign, shipment, letter } = fixture;
    for (const id of [product.id, open, payment.id, campaign.id, shipment.id, letter]) {
      expect(told.join('\n')).not.toContain(id);
    }
    // The same lists say all of it to the owner, so that their silence means something.
    const ours = (await store.send('GET', '/v1/events?limit=100')).body.data as { subject: string }[];
    expect(ours.map((event) => event.subject)).toContain(open);
  });

  test('takes it from the owner with that one scope alone: so it was the key that was refused', async () => {
    const answers: unknown[] = [];
    for (const route of guarded) {
      const key = await store.database.key({ scopes: [route.scope ?? ''] });
      const reply = await sendValid(store, validRequest(store, route, fixture), key);
      answers.push([route.id, fits(reply, taken) ? 'taken' : reply.body]);
    }
    expect(answers).toEqual(guarded.map((route) => [route.id, 'taken']));
  });
});

describe('the table', () => {
  test('finds an operation that asks for another scope than it declares, and a rule that is wrong', async () => {
    const shown = (await keys()).filter((key) => key.name !== 'of another tenant');
    const [route] = guarded.filter((each) => each.id === 'getOrder');
    if (!route) throw new Error('getOrder is gone');
    const declared = { ...route, scope: 'payments:read' };
    expect((await deviations([declared], shown)).map((line) => line.split(':', 2).join(':'))).toEqual([
      'getOrder × without payments:read',
    ]);
    const none = shown.slice(0, 1);
    expect(await deviations([route], none, () => is(403, 'forbidden'))).toHaveLength(1);
    expect(await deviations([route], none, () => is(401, 'forbidden'))).toHaveLength(1);
  });

  test('has no cell for an operation that nobody has thought about', () => {
    const shown: Shown = { name: 'of another tenant', key: null, tenant: 'acme', scopes: ['x:write'], good: true };
    const body = guarded.find((route) => route.body)?.body;
    if (!body) throw new Error('no operation takes a body');
    expect(() => expectedOf({ id: 'newOne', scope: 'x:write', path: '/v1/new', body }, shown)).toThrow(/newOne/);
  });
});
