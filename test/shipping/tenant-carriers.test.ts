import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { encryptAgain, readSecretsKeys } from '../../dev/keys/credentials.ts';
import { withClient } from '../../dev/postgres/connection.ts';
import { encryptCredentials } from '../../src/domain/carrier-accounts.ts';
import trackUpdated from '../fixtures/carriers/shippo-track-updated.json' with { type: 'json' };
import { type FakeEasyPost, type FakeShippo, startFakeEasyPost, startFakeShippo } from '../support/carrier.ts';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { address, home, secret, shop, sign } from '../support/shipping.ts';

/** Any text that contains PLANTED fails the run if it is found in a log (test/support/secrets.ts). */
const keys = { acme: 'shippo_PLANTED_acme', corner: 'ez_PLANTED_corner', stall: 'shippo_PLANTED_stall' };
const tenants = ['acme', 'corner', 'stall'] as const;
type Tenant = (typeof tenants)[number];
const secretsKey = Buffer.alloc(32, 7).toString('base64');
const otherKey = Buffer.alloc(32, 8).toString('base64');
const senderOf = (tenant: string) => ({ ...address, name: `Depot of ${tenant}` });

let store: Store;
let shippo: FakeShippo;
let easyPost: FakeEasyPost;
const stores = {} as Record<Tenant, Store>;
const shops = {} as Record<Tenant, ReturnType<typeof shop>>;
const own = shop(() => store); // the tenant `default`, which uses the operator's carrier

/** Sets a tenant's sender and carrier. Null: those of the operator. */
async function setCarrier(
  tenant: Tenant,
  name: string | null,
  credentials: { apiKey?: string | null; webhookSecret?: string | null } = {},
): Promise<void> {
  const change = { shipFrom: senderOf(tenant), carrier: name && { name, ...credentials } };
  const { status, body } = await stores[tenant].send('PATCH', '/v1/tenant', change);
  if (status !== 200) throw new Error(JSON.stringify(body));
}

/** Replaces a tenant's key by one that was encrypted with a key that the Worker does not have. */
async function loseKey(tenant: Tenant): Promise<void> {
  const settings = { TENANT_SECRETS_KEY: [otherKey] } as unknown as Parameters<typeof encryptCredentials>[0];
  const encrypted = await encryptCredentials(settings, tenant, 'shippo', { apiKey: keys[tenant] });
  await store.database.query('update platform.tenants set carrier_credentials = $2 where id = $1', [
    tenant,
    JSON.stringify({ shippo: encrypted }),
  ]);
}

beforeAll(async () => {
  [shippo, easyPost] = await Promise.all([startFakeShippo(), startFakeEasyPost()]);
  store = await startStore({
    variables: {
      ...{ SHIPPING_WEBHOOK_SECRET: secret, TENANT_SECRETS_KEY: secretsKey },
      ...{ SHIPPO_API_URL: shippo.url, EASYPOST_API_URL: easyPost.url },
    },
  });
  await addProduct(store, 'GIFT', 1_000, 0);
  for (const tenant of tenants) {
    await store.database.query(`insert into platform.tenants (id, name) values ($1, $1) on conflict do nothing`, [
      tenant,
    ]);
    const key = await store.database.key({ tenant });
    const send: Store['send'] = (method, path, body, more) => store.send(method, path, body, { key, ...more });
    stores[tenant] = { ...store, key, send };
    shops[tenant] = shop(() => stores[tenant]);
    await addProduct(stores[tenant], 'GIFT', 1_000, 0);
  }
});
beforeEach(async () => {
  shippo.purchaseOutcome = () => 'sell';
  shippo.voidOutcome = 'void';
  shippo.rejectedKeys.clear();
  await setCarrier('acme', 'shippo', { apiKey: keys.acme });
  await setCarrier('corner', 'easypost', { apiKey: keys.corner });
  await setCarrier('stall', 'shippo', { apiKey: keys.stall });
});
afterAll(async () => {
  await store.close();
  await shippo.close();
  await easyPost.close();
});

const labelText = async (of: Store, shipmentId: string) => {
  const headers = { authorization: `Bearer ${of.key}` };
  const response = await fetch(`${store.url}/v1/shipments/${shipmentId}/label`, { headers });
  return new TextDecoder('latin1').decode(await response.arrayBuffer());
};
const rowOf = async (table: string, orderId: string) =>
  (await store.database.query(`select * from shipping.${table} where order_id = $1 order by 1 desc`, [orderId]))[0];
const later = (minutes: number) => store.cron('* * * * *', new Date(Date.now() + minutes * 60_000));
const cancel = (of: Store, id: string) => of.send('POST', `/v1/orders/${id}/cancel`);

describe('a label', () => {
  test('that is drawn shows the sender of its tenant, or the operator’s if the tenant has none', async () => {
    await setCarrier('acme', null);
    const shipments = [await shops.acme.shipped(await shops.acme.free(home)), await own.shipped(await own.free(home))];
    const [ofAcme, ofDefault] = [
      await labelText(stores.acme, shipments[0].id),
      await labelText(store, shipments[1].id),
    ];
    expect(ofAcme).toContain('Depot of acme');
    expect(ofAcme).not.toContain('(FusionCommerce) Tj');
    expect(ofDefault).toContain('(FusionCommerce) Tj');
    expect(ofDefault).not.toContain('Depot of acme');
  });

  test('is made with the carrier, key, sender and parcel of its tenant', async () => {
    const parcel = { weightGrams: 321, lengthMm: 111, widthMm: 99, heightMm: 55 };
    await stores.acme.send('PATCH', '/v1/tenant', { parcel });
    const from = shippo.calls.length;
    const orders = await Promise.all([
      ...[shops.acme.free(home), shops.acme.free(home), shops.stall.free(home), shops.corner.free(home)],
      own.free(home),
    ]);
    const [acme, acme2, stall, corner, byOperator] = orders as [string, string, string, string, string];
    for (const [tenant, id] of [
      ['acme', acme],
      ['acme', acme2],
      ['stall', stall],
    ] as const) {
      const shipment = await shops[tenant].shipped(id);
      expect(shippo.buyers.get(shipment.id)).toBe(keys[tenant]);
      expect(shippo.requests.get(shipment.id)).toMatchObject({
        address_from: { name: `Depot of ${tenant}` },
        parcels: [{ weight: tenant === 'acme' ? '321' : '500' }],
      });
    }
    expect(await shops.corner.shipped(corner)).toMatchObject({ carrier: 'USPS' });
    expect(new Set(easyPost.keys)).toEqual(new Set([keys.corner]));
    expect(await own.shipped(byOperator)).toMatchObject({ carrier: 'manual' });
    expect(new Set(shippo.calls.slice(from).map(({ key }) => key))).toEqual(new Set([keys.acme, keys.stall]));
    expect([await rowOf('shipments', acme), await rowOf('shipments', byOperator)]).toMatchObject([
      { provider: 'shippo', own_account: true },
      { provider: 'manual', own_account: false },
    ]);
  });

  test('is made at once by POST /v1/shipments with the tenant’s key, too', async () => {
    const id = await shops.stall.confirmed();
    const { status, body } = await shops.stall.ship(id);
    expect([status, shippo.buyers.get(body.id)]).toEqual([201, keys.stall]);
  });

  test('waits if the carrier rejects its tenant’s key, and the labels of other tenants are made', async () => {
    shippo.rejectedKeys.add(keys.acme);
    const waiting = await Promise.all(Array.from({ length: 25 }, () => shops.acme.free(home)));
    const id = await shops.stall.free(home);
    expect(await shops.stall.shipped(id)).toMatchObject({ carrier: 'USPS' });
    expect(await own.shipped(await own.free(home))).toMatchObject({ carrier: 'manual' });
    await until(async () => (await shops.acme.requestOf(waiting[0] as string))?.last_error !== null);
    const request = await shops.acme.requestOf(waiting[0] as string);
    expect(request?.last_error).toBe('shippo: responded with 401: Invalid token [secret]');
    shippo.rejectedKeys.clear();
    for (const order of waiting) expect(await shops.acme.shipped(order)).toMatchObject({ carrier: 'USPS' });
  });

  test('waits if its tenant’s key cannot be decrypted, and the reason says what to do', async () => {
    await loseKey('acme');
    const id = await shops.acme.confirmed();
    const { status, body } = await shops.acme.ship(id);
    expect([status, body.code]).toEqual([503, 'unavailable']);
    expect(body.detail).toMatch(/^shippo: The API key of this shop cannot be decrypted\. The operator must restore/);
    expect((await shops.acme.requestOf(id))?.last_error).toBe(body.detail);
    expect(await shops.stall.shipped(await shops.stall.free(home))).toMatchObject({ carrier: 'USPS' });
    await setCarrier('acme', 'shippo', { apiKey: keys.acme });
    expect(await shops.acme.shipped(id)).toMatchObject({ carrier: 'USPS' });
  });

  test('whose credentials were copied from another tenant is not made', async () => {
    await store.database.query(
      `update platform.tenants set carrier_credentials = (select s.carrier_credentials from platform.tenants s
       where s.id = 'stall') where id = 'acme'`,
    );
    const { body } = await shops.acme.ship(await shops.acme.confirmed());
    expect(body.detail).toContain('cannot be decrypted');
  });
});

describe('a label of a cancelled order', () => {
  const made = async (tenant: Tenant) => {
    const id = await shops[tenant].free(home);
    const shipment = await shops[tenant].shipped(id);
    return { id, shipmentId: shipment.id as string };
  };

  test('is voided with its tenant’s key for the carrier that made it, also after the tenant has changed its carrier', async () => {
    const { id, shipmentId } = await made('acme');
    await setCarrier('acme', 'easypost', { apiKey: keys.corner });
    await cancel(stores.acme, id);
    await store.cron();
    expect(shippo.voided).toContain(shipmentId);
    expect(await rowOf('label_voids', id)).toMatchObject({ status: 'done', provider: 'shippo', own_account: true });
    expect(shippo.calls.findLast(({ path }) => path === '/refunds')?.key).toBe(keys.acme);
  });

  test('is an exception of its shipment if the tenant has no key for that carrier any more', async () => {
    const { id, shipmentId } = await made('acme');
    await setCarrier('acme', null);
    await cancel(stores.acme, id);
    await store.cron();
    expect(shippo.voided).not.toContain(shipmentId);
    expect((await rowOf('shipments', id))?.exception).toMatch(
      /^The carrier did not void the label: shippo: This shop has no API key for this carrier any more\./,
    );
    const { body } = await stores.acme.send('GET', `/v1/events?topic=shipping.status.changed&key=${id}`);
    expect(body.data[0].data.status).toBe('exception');
  });

  test('is an exception of its shipment if the tenant’s new key is of another account', async () => {
    const { id } = await made('acme');
    await setCarrier('acme', 'shippo', { apiKey: 'shippo_PLANTED_other' });
    await cancel(stores.acme, id);
    await store.cron();
    expect(await rowOf('label_voids', id)).toMatchObject({
      status: 'open',
      last_error: expect.stringContaining('503'),
    });
    await later(31 * 24 * 60);
    expect((await rowOf('shipments', id))?.exception).toContain(
      'The carrier did not void the label: shippo: responded',
    );
  });

  test('is voided later if the key cannot be decrypted for now, and other tenants’ labels are voided', async () => {
    const [acme, stall] = [await made('acme'), await made('stall')];
    await loseKey('acme');
    await cancel(stores.acme, acme.id);
    await cancel(stores.stall, stall.id);
    await store.cron();
    expect(shippo.voided).toContain(stall.shipmentId);
    expect(await rowOf('label_voids', acme.id)).toMatchObject({ status: 'open' });
    await setCarrier('acme', 'shippo', { apiKey: keys.acme });
    await later(60);
    expect(shippo.voided).toContain(acme.shipmentId);
  });

  test('that a carrier may have made before the tenant changed it is voided there, and another one is made', async () => {
    const id = await shops.stall.confirmed();
    shippo.purchaseOutcome = () => 'unavailable';
    expect((await shops.stall.ship(id)).status).toBe(503);
    const first = await rowOf('label_requests', id);
    await setCarrier('stall', 'manual');
    const { status, body } = await shops.stall.ship(id);
    expect([status, body.carrier]).toEqual([201, 'manual']);
    expect(body.id).not.toBe(first?.shipment_id);
    expect(await rowOf('label_voids', id)).toMatchObject({
      ...{ shipment_id: first?.shipment_id, provider: 'shippo', own_account: true, status: 'open' },
    });
    await later(60);
    expect(await rowOf('label_voids', id)).toMatchObject({ status: 'done' });
    expect(await rowOf('shipments', id)).toMatchObject({ cancelled_at: null, status: 'created' });
  });
});

describe('a tracking update', () => {
  let senders = 0;
  /** From another address each time, because the rejected requests of an address are limited. */
  const webhook = (path: string, body: string, headers: Record<string, string> = {}) =>
    store.send('POST', `/webhooks/shipping/${path}`, body, {
      ...{ key: null, idempotencyKey: null },
      headers: { ...headers, 'cf-connecting-ip': `198.51.100.${++senders}` },
    });
  const manualUpdate = (trackingNumber: string) =>
    JSON.stringify({
      ...{ eventId: crypto.randomUUID(), trackingNumber, status: 'in_transit' },
      occurredAt: new Date().toISOString(),
    });
  const statusOf = async (of: Store, shipmentId: string) =>
    (await of.send('GET', `/v1/shipments/${shipmentId}`)).body.status;
  const refused = { status: 400, code: 'invalid_signature' };
  const outcomeOf = ({ status, body }: Awaited<ReturnType<typeof webhook>>) => ({ status, code: body.code });

  test('signed by a tenant’s own secret is applied to that tenant’s shipments only', async () => {
    await setCarrier('acme', 'manual', { webhookSecret: 'PLANTED-of-acme-0123' });
    await setCarrier('stall', 'manual', { webhookSecret: 'PLANTED-of-stall-0123' });
    const acme = await shops.acme.shipped(await shops.acme.free(home));
    const stall = await shops.stall.shipped(await shops.stall.free(home));
    for (const [place, key, trackingNumber] of [
      ['manual/stall', 'PLANTED-of-acme-0123', stall.trackingNumber],
      ['manual/acme', 'PLANTED-of-stall-0123', acme.trackingNumber],
      ['manual/acme', secret, acme.trackingNumber],
      ['manual', 'PLANTED-of-acme-0123', acme.trackingNumber],
    ] as const) {
      const body = manualUpdate(trackingNumber);
      expect(outcomeOf(await webhook(place, body, { 'x-signature': sign(body, key) }))).toEqual(refused);
    }
    const foreign = manualUpdate(stall.trackingNumber);
    expect(
      (await webhook('manual/acme', foreign, { 'x-signature': sign(foreign, 'PLANTED-of-acme-0123') })).status,
    ).toBe(200);
    expect(await statusOf(stores.stall, stall.id)).toBe('created');
    const body = manualUpdate(acme.trackingNumber);
    expect((await webhook('manual/acme', body, { 'x-signature': sign(body, 'PLANTED-of-acme-0123') })).status).toBe(
      200,
    );
    expect(await statusOf(stores.acme, acme.id)).toBe('in_transit');
  });

  test('of the operator’s account changes no shipment that was made with a tenant’s own account', async () => {
    await setCarrier('acme', 'manual', { webhookSecret: 'PLANTED-of-acme-0123' });
    const acme = await shops.acme.shipped(await shops.acme.free(home));
    const byOperator = await own.shipped(await own.free(home));
    for (const place of ['manual', 'manual/default']) {
      const body = manualUpdate(acme.trackingNumber);
      expect((await webhook(place, body, { 'x-signature': sign(body) })).status).toBe(200);
    }
    expect(await statusOf(stores.acme, acme.id)).toBe('created');
    const body = manualUpdate(byOperator.trackingNumber);
    await webhook('manual', body, { 'x-signature': sign(body) });
    expect(await statusOf(store, byOperator.id)).toBe('in_transit');
  });

  test('for an unknown tenant, a tenant without a secret or an unknown cell is answered like a wrong signature', async () => {
    await setCarrier('acme', 'manual', { webhookSecret: 'PLANTED-of-acme-0123' });
    const answers = await Promise.all(
      ['acme', 'stall', 'nobody', 'acme@eu9', 'default@default'].map(async (place) => {
        const body = manualUpdate('FC00000000000000000000');
        const {
          headers: _headers,
          body: problem,
          status,
        } = await webhook(`manual/${place}`, body, {
          'x-signature': sign(body, 'wrong'),
        });
        const { requestId: _requestId, instance: _instance, ...rest } = problem;
        return { status, ...rest };
      }),
    );
    expect(answers[0]).toMatchObject(refused);
    for (const answer of answers) expect(answer).toEqual(answers[0]);
  });

  test('of a tenant’s own account is accepted for a carrier that the operator does not use, and after a change of carrier', async () => {
    await setCarrier('acme', 'shippo', { apiKey: keys.acme, webhookSecret: 'PLANTED-token-of-acme' });
    const { id, trackingNumber } = await shops.acme.shipped(await shops.acme.free(home));
    await setCarrier('acme', 'manual');
    const body = JSON.stringify({ ...trackUpdated, data: { ...trackUpdated.data, tracking_number: trackingNumber } });
    expect(outcomeOf(await webhook('shippo/acme?token=guess', body))).toEqual(refused);
    const reply = await webhook('shippo/acme?token=PLANTED-token-of-acme', body);
    expect(reply.status).toBe(200);
    expect(reply.headers.get('server-timing')).toContain('2 calls');
    expect(await statusOf(stores.acme, id)).toBe('in_transit');
  });
});

describe('the carrier in /v1/tenant', () => {
  beforeEach(async () => {
    await setCarrier('stall', null);
    await setCarrier('stall', 'shippo', { apiKey: keys.stall });
  });
  const patch = (change: object, headers: Record<string, string> = {}) =>
    stores.stall.send('PATCH', '/v1/tenant', change, { headers });
  const pointersOf = ({ body }: { body: { errors: { pointer: string }[] } }) =>
    body.errors.map(({ pointer }) => pointer);

  test('shows which credentials are set and never a credential, and a change takes two database calls', async () => {
    const apiKey = 'shippo_PLANTED_again';
    const changed = await patch({ carrier: { name: 'shippo', apiKey, webhookSecret: 'PLANTED-secret-of-stall' } });
    expect(changed.body.carrier).toEqual({ name: 'shippo', hasApiKey: true, hasWebhookSecret: true });
    expect(changed.headers.get('server-timing')).toContain('2 calls');
    expect((await stores.stall.send('GET', '/v1/tenant')).body).toEqual(changed.body);
    expect(JSON.stringify(changed.body)).not.toContain('PLANTED');
    const [row] = await store.database.query<{ carrier_credentials: string }>(
      `select carrier_credentials from platform.tenants where id = 'stall'`,
    );
    expect(Object.keys(JSON.parse(row?.carrier_credentials ?? '{}'))).toEqual(['shippo']);
    expect(row?.carrier_credentials).not.toContain('PLANTED');
  });

  test('keeps a credential that a change leaves out, and removes one that is null', async () => {
    await patch({ carrier: { name: 'shippo', webhookSecret: 'PLANTED-secret-of-stall' } });
    expect((await patch({ carrier: { name: 'shippo' } })).body.carrier).toMatchObject({ hasWebhookSecret: true });
    expect((await patch({ carrier: { name: 'manual' } })).body.carrier).toEqual({
      ...{ name: 'manual', hasApiKey: false, hasWebhookSecret: false },
    });
    expect((await patch({ carrier: { name: 'shippo', webhookSecret: null } })).body.carrier).toEqual({
      ...{ name: 'shippo', hasApiKey: true, hasWebhookSecret: false },
    });
    expect((await patch({ carrier: null })).body.carrier).toBeNull();
    expect(pointersOf(await patch({ carrier: { name: 'shippo' } }))).toEqual(['/carrier/apiKey']);
  });

  test('needs a key and a sender, and rejects what no carrier has', async () => {
    expect(pointersOf(await patch({ carrier: { name: 'shippo', apiKey: null } }))).toEqual(['/carrier/apiKey']);
    expect(pointersOf(await patch({ carrier: { name: 'easypost' } }))).toEqual(['/carrier/apiKey']);
    expect(pointersOf(await patch({ shipFrom: null }))).toEqual(['/shipFrom']);
    for (const [carrier, pointer] of [
      [{ name: 'dhl' }, '/carrier/name'],
      [{ name: 'shippo', apiKey: 'with space' }, '/carrier/apiKey'],
      [{ name: 'shippo', apiKey: '' }, '/carrier/apiKey'],
      [{ name: 'shippo', webhookSecret: 'short' }, '/carrier/webhookSecret'],
      [{ name: 'shippo', webhookSecret: 'long-enough-secret,short' }, '/carrier/webhookSecret'],
      [{ name: 'shippo', secret: 'x' }, '/carrier/secret'],
    ] as const) {
      expect(pointersOf(await patch({ carrier }))).toEqual([pointer]);
    }
    expect((await patch({ carrier: { name: 'shippo', apiKey: keys.stall } }, { 'if-match': '"0"' })).status).toBe(412);
    const reader = await store.database.key({ tenant: 'stall', scopes: ['tenant:read'] });
    const forbidden = { carrier: { name: 'shippo', apiKey: keys.stall } };
    expect((await store.send('PATCH', '/v1/tenant', forbidden, { key: reader })).body.code).toBe('forbidden');
  });

  test('in a database that is changed by hand needs a key and a sender, too', async () => {
    const update = (change: string) => store.database.query(`update platform.tenants set ${change} where id = 'stall'`);
    await expect(update('carrier_credentials = null')).rejects.toThrow('tenants_carrier_has_key');
    await expect(update('ship_from = null')).rejects.toThrow('tenants_carrier_has_sender');
  });

  test('is encrypted again with a new key by the operator’s command, and what no key decrypts stays and is named', async () => {
    await loseKey('acme');
    const newKey = Buffer.alloc(32, 9).toString('base64');
    const recrypt = (...twoKeys: string[]) =>
      withClient(store.database.url, (client) => encryptAgain(client, readSecretsKeys(twoKeys.join())));
    const { encrypted, lost } = await recrypt(newKey, secretsKey);
    expect([encrypted, lost]).toEqual([expect.any(Number), ['acme shippo apiKey']]);
    const { body } = await shops.stall.ship(await shops.stall.confirmed());
    expect(body.detail).toContain('cannot be decrypted'); // the Worker has the old key alone
    const again = await recrypt(secretsKey, newKey);
    expect(again).toEqual({ encrypted, lost });
    expect((await shops.stall.ship(await shops.stall.confirmed())).status).toBe(201);
    expect(() => readSecretsKeys('c2hvcnQ=')).toThrow('32 bytes');
  });
});

test('a Worker without TENANT_SECRETS_KEY rejects credentials with 503 that names it, and makes drawn labels', async () => {
  const plain = await startStore();
  try {
    const carrier = { name: 'shippo', apiKey: 'shippo_PLANTED_plain' };
    const { status, body } = await plain.send('PATCH', '/v1/tenant', { shipFrom: senderOf('default'), carrier });
    expect([status, body.code, body.detail]).toEqual([
      503,
      'unavailable',
      expect.stringContaining('TENANT_SECRETS_KEY'),
    ]);
    expect((await plain.send('PATCH', '/v1/tenant', { carrier: { name: 'manual' } })).status).toBe(200);
    const { ship, confirmed } = shop(() => plain);
    await addProduct(plain, 'GIFT', 10, 0);
    expect((await ship(await confirmed())).status).toBe(201);
  } finally {
    await plain.close();
  }
});

test('no credential of a tenant is in the audit log, an event, an answer or a stored response', async () => {
  const rows = await store.database.query<{ text: string }>(
    `select l::text as text from audit.log l union all select e::text from platform.events e
     union all select i::text from platform.idempotency i union all select d::text from platform.dead_letters d
     union all select r::text from shipping.label_requests r union all select s::text from shipping.shipments s`,
  );
  expect(rows.length).toBeGreaterThan(0);
  expect(rows.filter(({ text }) => /PLANTED|apiKey/.test(text))).toEqual([]);
});
