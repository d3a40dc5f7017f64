import { createHash } from 'node:crypto';
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { Response as OutsideResponse } from 'miniflare';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type OidcIssuer, startOidc } from '../../dev/oidc/server.ts';
import { addProduct, type Store, startStore } from '../support/harness.ts';
import { addCustomer, addShopper } from '../support/shoppers.ts';

const audience = 'shop';
let oidc: OidcIssuer;
let store: Store;
let publishable: string;
beforeAll(async () => {
  oidc = await startOidc({ port: 0, audience });
  store = await startStore({
    variables: { ALLOW_LOOPBACK_URLS: 'true' },
    outside: async ({ hostname }) =>
      hostname === 'away.example' ? new OutsideResponse('no', { status: 500 }) : undefined,
  });
  publishable = await store.database.key({ kind: 'publishable' });
  const reply = await store.send('PATCH', '/v1/tenant', { oidc: { issuer: oidc.url, audience } });
  expect(reply.status).toBe(200);
});
afterAll(async () => {
  await store.close();
  await oidc.close();
});

const open = (body: object, more: object = {}) =>
  store.send('POST', '/v1/customer-sessions', body, { key: publishable, ...more });
const logIn = async (claims: object, more: object = {}) =>
  open({ idToken: await oidc.issue({ sub: 'nobody', ...claims }) }, more);
const me = (id: string, key: string) => store.send('GET', `/v1/customers/${id}`, undefined, { key });
const secondsLeft = (expiresAt: string) => (Date.parse(expiresAt) - Date.now()) / 1000;

describe('with a secret key', () => {
  test('a session of any customer lasts an hour, and only its hash is stored', async () => {
    const { id } = await addCustomer(store.database);
    const { status, body, headers } = await open({ customerId: id }, { key: store.key });
    expect([status, body.customerId, headers.get('cache-control')]).toEqual([201, id, 'no-store']);
    expect(body.token).toMatch(/^cs_live_[0-9A-Za-z]{32}$/);
    expect(secondsLeft(body.expiresAt)).toBeGreaterThan(3_590);
    expect(secondsLeft(body.expiresAt)).toBeLessThanOrEqual(3_601);
    expect((await me(id, body.token)).body.id).toBe(id);
    const [stored] = await store.database.query(
      'select token_hash, tenant_id from platform.customer_sessions where customer_id = $1',
      [id],
    );
    expect(stored).toEqual({ token_hash: createHash('sha256').update(body.token).digest('hex'), tenant_id: 'default' });
  });

  test('a repetition has null in place of the token, which was never stored', async () => {
    const { id } = await addCustomer(store.database);
    const options = { key: store.key, idempotencyKey: `once-${id}` };
    const first = await open({ customerId: id }, options);
    const second = await open({ customerId: id }, options);
    expect(second.body).toEqual({ ...first.body, token: null });
    expect(second.headers.get('idempotent-replayed')).toBe('true');
    const stored = await store.database.query('select answer from platform.idempotency where key = $1', [`once-${id}`]);
    expect(stored).toHaveLength(1);
    expect(JSON.stringify(stored)).not.toContain('cs_');
  });

  test('needs a customer of the tenant', async () => {
    const { id } = await addCustomer(store.database, 'acme');
    const { status, body } = await open({ customerId: id }, { key: store.key });
    expect([status, body.errors[0].pointer]).toEqual([422, '/customerId']);
    expect((await open({}, { key: store.key })).status).toBe(422);
    expect((await open({ customerId: id, idToken: 'x' }, { key: store.key })).status).toBe(422);
  });
});

describe('with a publishable key', () => {
  test('a customer cannot be named', async () => {
    const { id } = await addCustomer(store.database);
    const { status, body } = await open({ customerId: id });
    expect([status, body.code]).toEqual([403, 'forbidden']);
    expect(body.detail).toContain('idToken');
  });

  test('a first log-in creates one customer with the verified e-mail, later ones find it by issuer and subject', async () => {
    const email = 'Grace@Example.com';
    const first = await logIn({ sub: 'grace', email, email_verified: true });
    expect([first.status, first.headers.get('server-timing')]).toEqual([201, expect.stringContaining('2 calls')]);
    const { body: customer } = await me(first.body.customerId, first.body.token);
    expect(customer.email).toBe(email);
    // The provider's other claims may change.
    for (const claims of [{ sub: 'grace' }, { sub: 'grace', email: 'other@example.com', email_verified: true }]) {
      expect((await logIn(claims)).body.customerId).toBe(first.body.customerId);
    }
  });

  test('an e-mail that the provider has verified finds a customer, in upper or lower case, and binds it', async () => {
    const { id } = await addCustomer(store.database, 'default', { email: 'Alan@example.com' });
    expect((await logIn({ sub: 'alan', email: 'aLAN@example.COM', email_verified: true })).body.customerId).toBe(id);
    const [bound] = await store.database.query('select oidc_issuer, oidc_subject from orders.customers where id = $1', [
      id,
    ]);
    expect(bound).toEqual({ oidc_issuer: oidc.url, oidc_subject: 'alan' });
    expect((await logIn({ sub: 'alan' })).body.customerId).toBe(id);
  });

  test('an e-mail that is not verified finds nobody and creates nobody', async () => {
    const { email } = await addCustomer(store.database);
    for (const claims of [{ email }, { email, email_verified: false }, { email, email_verified: 'no' }, {}]) {
      const { status, body } = await logIn({ sub: 'mallory', ...claims });
      expect([status, body.code]).toEqual([403, 'forbidden']);
      expect(body.detail).toContain('verified e-mail');
    }
    expect(await store.database.query(`select 1 from orders.customers where oidc_subject = 'mallory'`)).toEqual([]);
  });

  test('a customer that is bound to another subject of the issuer is not taken over', async () => {
    const claims = { email: 'edsger@example.com', email_verified: true };
    const { body } = await logIn({ sub: 'edsger', ...claims });
    const other = await logIn({ sub: 'impostor', ...claims });
    expect([other.status, other.body.detail]).toEqual([403, expect.stringContaining('another account')]);
    expect((await logIn({ sub: 'edsger' })).body.customerId).toBe(body.customerId);
  });

  test('twenty first log-ins of one person at once make one customer', async () => {
    const claims = { sub: 'barbara', email: 'barbara@example.com', email_verified: true };
    const replies = await Promise.all(Array.from({ length: 20 }, () => logIn(claims)));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([201]));
    expect(new Set(replies.map(({ body }) => body.customerId)).size).toBe(1);
    expect(new Set(replies.map(({ body }) => body.token)).size).toBe(20);
  });

  test('one person who logs in with two e-mails at once has one customer', async () => {
    await addCustomer(store.database, 'default', { email: 'two@example.com' });
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        logIn({ sub: 'both', email: n % 2 === 0 ? 'one@example.com' : 'two@example.com', email_verified: true }),
      ),
    );
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([201]));
    expect(new Set(replies.map(({ body }) => body.customerId)).size).toBe(1);
  });

  test('two people who log in with one e-mail at once: one gets the customer', async () => {
    const claims = { email: 'shared@example.com', email_verified: true };
    const replies = await Promise.all(Array.from({ length: 10 }, (_, n) => logIn({ sub: `person-${n}`, ...claims })));
    const outcomes = replies.map(({ status }) => status).sort();
    expect(outcomes).toEqual([201, ...Array.from({ length: 9 }, () => 403)]);
  });

  test('a session is never longer than its ID token', async () => {
    const exp = Math.floor(Date.now() / 1000) + 600;
    const { body } = await logIn({ sub: 'short', email: 'short@example.com', email_verified: true, exp });
    expect(Date.parse(body.expiresAt)).toBe(exp * 1000);
    const long = await logIn({ sub: 'short', exp: exp + 100_000 });
    expect(secondsLeft(long.body.expiresAt)).toBeLessThanOrEqual(3_601);
  });

  test('two people with one Idempotency-Key get a session each, and a repetition has no token', async () => {
    const options = { idempotencyKey: 'the same' };
    const claims = (name: string) => ({ sub: name, email: `${name}@example.com`, email_verified: true });
    const [ada, bob] = [await oidc.issue(claims('ada')), await oidc.issue(claims('bob'))];
    const first = await open({ idToken: ada }, options);
    const second = await open({ idToken: bob }, options);
    expect([first.status, second.status]).toEqual([201, 201]);
    expect(first.body.customerId).not.toBe(second.body.customerId);
    expect((await open({ idToken: ada }, options)).body).toEqual({ ...first.body, token: null });
  });
});

describe('an ID token that proves nothing', () => {
  const verified = { email: 'victim@example.com', email_verified: true };
  const past = Math.floor(Date.now() / 1000) - 60;

  test('is 401 with the reason, and the publishable key stays valid', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const payload = { iss: oidc.url, aud: audience, sub: 'victim', exp: past + 3_600, ...verified };
    const sign = (header: object, claims: object = payload) =>
      new SignJWT({ ...claims }).setProtectedHeader({ alg: 'ES256', ...header }).sign(privateKey);
    const good = await oidc.issue({ sub: 'victim', ...verified });
    const kid = JSON.parse(atob(good.split('.')[0] ?? '')).kid;
    const secret = new TextEncoder().encode(JSON.stringify(await exportJWK(publicKey)));
    const parts = good.split('.');
    const forged: Record<string, string> = {
      'alg none': new UnsecuredJWT(payload).encode(),
      'alg none with its key': `${btoa(JSON.stringify({ alg: 'none', kid })).replace(/=+$/, '')}.${parts[1]}.`,
      'a shared secret': await new SignJWT(payload).setProtectedHeader({ alg: 'HS256', kid }).sign(secret),
      'an unknown key': await sign({ kid: 'unknown' }),
      'another key under a known id': await sign({ kid }),
      'a key in its own header': await sign({ jwk: await exportJWK(publicKey) }),
      'other claims under a signature': `${parts[0]}.${btoa(JSON.stringify(payload)).replace(/=+$/, '')}.${parts[2]}`,
      'another audience': await oidc.issue({ sub: 'victim', ...verified, aud: 'another' }),
      'several audiences': await oidc.issue({ sub: 'victim', ...verified, aud: [audience, 'another'] }),
      'another issuer': await oidc.issue({ sub: 'victim', ...verified, iss: 'https://issuer.example' }),
      'an issuer that differs by a slash': await oidc.issue({ sub: 'victim', ...verified, iss: `${oidc.url}/` }),
      expired: await oidc.issue({ sub: 'victim', ...verified, exp: past }),
      'expired within the tolerance': await oidc.issue({ sub: 'victim', ...verified, exp: past + 55 }),
      'without an end': await oidc.issue({ sub: 'victim', ...verified, exp: undefined }),
      'not valid yet': await oidc.issue({ sub: 'victim', ...verified, nbf: past + 360 }),
      'without a subject': await oidc.issue({ sub: undefined, ...verified }),
      'an endless subject': await oidc.issue({ sub: 'x'.repeat(256), ...verified }),
      'a subject with a null character': await oidc.issue({ sub: 'a\u0000b', ...verified }),
      'not a token': 'nonsense',
    };
    for (const [name, idToken] of Object.entries(forged)) {
      const { status, body } = await open({ idToken });
      expect([name, status, body.code]).toEqual([name, 401, 'unauthenticated']);
      expect([name, body.detail]).toEqual([name, expect.stringContaining('ID token')]);
    }
    expect(await store.database.query(`select 1 from orders.customers where email = $1`, [verified.email])).toEqual([]);
    expect((await store.send('GET', '/v1/products', undefined, { key: publishable })).status).toBe(200);
  });

  test('counts against its address, so that nobody tries endlessly', async () => {
    const headers = { 'cf-connecting-ip': '192.0.2.55' };
    const statuses = new Set<number>();
    for (let round = 0; round < 10 && !statuses.has(429); round++) {
      const replies = await Promise.all(Array.from({ length: 100 }, () => open({ idToken: 'nonsense' }, { headers })));
      for (const { status } of replies) statuses.add(status);
    }
    expect(statuses).toEqual(new Set([401, 429]));
    expect((await store.send('GET', '/v1/products', undefined, { key: publishable, headers })).status).toBe(200);
  });
});

describe('a provider', () => {
  test('that is unavailable, not public or another one than the tenant’s is 503', async () => {
    const acme = await store.database.key({ tenant: 'acme' });
    const key = await store.database.key({ tenant: 'acme', kind: 'publishable' });
    const idToken = await oidc.issue({ sub: 'x' });
    expect(await open({ idToken }, { key })).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    for (const issuer of ['https://away.example', 'https://10.0.0.7', `http://localhost:${oidc.port}`]) {
      const change = await store.send('PATCH', '/v1/tenant', { oidc: { issuer, audience } }, { key: acme });
      expect(change.status).toBe(200);
      const { status, body } = await open({ idToken }, { key });
      expect([issuer, status, body.code]).toEqual([issuer, 503, 'unavailable']);
      expect(body.detail).toContain('OpenID provider');
    }
  });

  test('of one tenant logs nobody in at another', async () => {
    const acme = await store.database.key({ tenant: 'acme' });
    const key = await store.database.key({ tenant: 'acme', kind: 'publishable' });
    await store.send('PATCH', '/v1/tenant', { oidc: { issuer: oidc.url, audience: 'acme' } }, { key: acme });
    expect((await logIn({ sub: 'grace' }, { key })).status).toBe(401);
    // The same person is another customer there.
    const claims = { sub: 'grace', email: 'grace@example.com', email_verified: true };
    const there = await logIn({ ...claims, aud: 'acme' }, { key });
    const here = await logIn(claims);
    expect([there.status, here.status]).toEqual([201, 201]);
    expect(there.body.customerId).not.toBe(here.body.customerId);
  });
});

describe('a session', () => {
  test('ends at its time, and the hourly job deletes it', async () => {
    const shopper = await addShopper(store.database);
    const old = await addShopper(store.database);
    await store.database.query(
      `update platform.customer_sessions set expires_at = now() - interval '1 second' where customer_id = $1`,
      [old.id],
    );
    expect((await me(old.id, old.session)).status).toBe(401);
    expect((await me(shopper.id, shopper.session)).status).toBe(200);
    await store.cron('17 * * * *');
    const left = await store.database.query(
      'select customer_id from platform.customer_sessions where customer_id = any($1)',
      [[old.id, shopper.id]],
    );
    expect(left).toEqual([{ customer_id: shopper.id }]);
  });

  test('ends with its customer', async () => {
    const shopper = await addShopper(store.database);
    expect((await me(shopper.id, shopper.session)).status).toBe(200);
    await store.database.query('delete from orders.customers where id = $1', [shopper.id]);
    expect((await me(shopper.id, shopper.session)).status).toBe(401);
    expect((await store.send('GET', '/v1/orders', undefined, { key: shopper.session })).status).toBe(401);
  });

  test('opens no other session', async () => {
    const shopper = await addShopper(store.database);
    const { status } = await open({ customerId: shopper.id }, { key: shopper.session });
    expect(status).toBe(403);
  });
});

test('a product and its price are read with a session', async () => {
  const product = await addProduct(store, 'SESSION-1', 3);
  const shopper = await addShopper(store.database);
  const read = (path: string) =>
    store.send('GET', `/v1/products/${product.id}${path}`, undefined, { key: shopper.session });
  expect((await read('')).status).toBe(200);
  expect((await read('/price')).body.price).toBe(10);
});
