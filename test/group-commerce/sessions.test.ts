import { createHash, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Send, type Store, startStore, until } from '../support/harness.ts';

// From a browser, a customer's session joins and leaves campaigns as its customer, and nobody else's place is in reach.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

/** A customer with a session. */
async function createShopper(email = `${randomUUID()}@example.com`, expiresAt = new Date(Date.now() + 3_600_000)) {
  const { body } = await store.send('POST', '/v1/customers', { email });
  const key = `cs_${randomUUID().replaceAll('-', '')}`;
  await store.database.query(
    `insert into platform.customer_sessions (token_hash, tenant_id, customer_id, created_at, expires_at)
     values ($1, 'default', $2, now(), $3)`,
    [createHash('sha256').update(key).digest('hex'), body.id, expiresAt],
  );
  const act =
    (verb: 'join' | 'leave') =>
    (campaignId: string, body: object = {}, options: Send = {}) =>
      store.send('POST', `/v1/campaigns/${campaignId}/${verb}`, body, { key, ...options });
  return { id: body.id as string, email, key, join: act('join'), leave: act('leave') };
}

test('a session joins as its customer, with the customer’s e-mail unless it gives another one', async () => {
  const campaign = await fixture.start('OWN', 5, { minParticipants: 2 });
  const [ada, ben] = await Promise.all([createShopper(), createShopper()]);
  const joined = await ada.join(campaign.id);
  expect([joined.status, joined.headers.get('server-timing')]).toEqual([201, expect.stringMatching(/desc="1 calls"/)]);
  expect(joined.body).toMatchObject({ userId: ada.id, email: ada.email, total: 20 });
  const other = await ben.join(campaign.id, { userId: ben.id, email: 'office@example.com' });
  expect(other.body).toMatchObject({ userId: ben.id, email: 'office@example.com' });
  await until(async () => (await fixture.participants(campaign.id)).every(({ state }) => state === 'ordered'));
  const { body: order } = await store.send('GET', `/v1/orders/${joined.body.orderId}`);
  expect(order).toMatchObject({ customerId: ada.id, email: ada.email, campaignId: campaign.id, total: 20 });
});

test('the e-mail is set for a session only: a secret key that joins for a customer states it', async () => {
  const campaign = await fixture.start('STATED', 5);
  const ada = await createShopper();
  const { body } = await store.send('POST', `/v1/campaigns/${campaign.id}/join`, { userId: ada.id });
  expect(body).toMatchObject({ userId: ada.id, email: null });
  expect((await ada.join(campaign.id)).body).toEqual(body);
});

test('a session cannot join or leave as another user, and changes nothing', async () => {
  const campaign = await fixture.start('NOTOWN', 5, { minParticipants: 3 });
  const [ada, eve] = await Promise.all([createShopper(), createShopper()]);
  await ada.join(campaign.id);
  for (const act of [eve.join, eve.leave]) {
    for (const userId of [ada.id, 'guest']) {
      const refused = await act(campaign.id, { userId });
      expect([refused.status, refused.body.code]).toEqual([403, 'forbidden']);
      expect(refused.body.detail).toBe('A customer session joins and leaves as its own customer: leave userId out.');
    }
  }
  expect((await eve.leave(campaign.id)).status).toBe(404);
  expect(await fixture.statesOf(campaign.id)).toEqual({ [ada.id]: 'joined' });
});

test('a session leaves its own place, gets the same response to a repetition, and can join again', async () => {
  const campaign = await fixture.start('LEAVING', 5, { minParticipants: 3 });
  const [ada, ben] = await Promise.all([createShopper(), createShopper()]);
  await Promise.all([ada.join(campaign.id), ben.join(campaign.id)]);
  const left = await ada.leave(campaign.id);
  expect([left.status, left.body]).toEqual([200, expect.objectContaining({ userId: ada.id, state: 'released' })]);
  expect((await ada.leave(campaign.id, { userId: ada.id })).body).toEqual(left.body);
  expect(await fixture.statesOf(campaign.id)).toEqual({ [ada.id]: 'released', [ben.id]: 'joined' });
  expect(await fixture.stockOf('LEAVING')).toEqual({ quantity: 4, reserved: 1 });
  expect((await ada.join(campaign.id)).body.state).toBe('joined');
});

test('two customers with one idempotency key each get a place of their own, and each its own response again', async () => {
  const campaign = await fixture.start('SAMEKEY', 5);
  const [ada, ben] = await Promise.all([createShopper(), createShopper()]);
  const options = { idempotencyKey: randomUUID() };
  const first = await Promise.all([ada, ben].map((each) => each.join(campaign.id, {}, options)));
  expect(first.map(({ status, body }) => [status, body.userId])).toEqual([
    [201, ada.id],
    [201, ben.id],
  ]);
  const again = await Promise.all([ada, ben].map((each) => each.join(campaign.id, {}, options)));
  expect(again.map(({ body }) => body)).toEqual(first.map(({ body }) => body));
  expect(again.map(({ headers }) => headers.get('idempotent-replayed'))).toEqual(['true', 'true']);
});

test('a guest cannot join: a publishable key is told to use a session, and an expired session is not valid', async () => {
  const campaign = await fixture.start('GUEST', 5);
  const publishable = await store.database.key({ kind: 'publishable' });
  for (const verb of ['join', 'leave']) {
    const path = `/v1/campaigns/${campaign.id}/${verb}`;
    const refused = await store.send('POST', path, { userId: 'guest' }, { key: publishable });
    expect([refused.status, refused.body.code, refused.body.detail]).toEqual([
      ...[403, 'forbidden', 'A publishable key cannot do this: use a customer session or a secret key.'],
    ]);
  }
  const late = await createShopper(undefined, new Date(Date.now() - 1));
  expect((await late.join(campaign.id)).status).toBe(401);
  expect(await fixture.participants(campaign.id)).toEqual([]);
});

test('a session sees no other participants and cannot cancel, and another tenant’s campaign does not exist', async () => {
  const campaign = await fixture.start('HIDDEN', 5);
  const [ada, ben] = await Promise.all([createShopper(), createShopper()]);
  await ben.join(campaign.id);
  const list = await store.send('GET', `/v1/campaigns/${campaign.id}/participants`, undefined, { key: ada.key });
  const cancel = await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`, undefined, { key: ada.key });
  expect([list.body.data, cancel.status]).toEqual([[], 403]);
  await store.database.query(`update group_commerce.group_commerce_campaigns set tenant_id = 'acme' where id = $1`, [
    campaign.id,
  ]);
  expect((await (await createShopper()).join(campaign.id)).status).toBe(404);
});

test('a secret key must name the user', async () => {
  const campaign = await fixture.start('NAMED', 5);
  for (const verb of ['join', 'leave']) {
    const { status, body } = await store.send('POST', `/v1/campaigns/${campaign.id}/${verb}`, {});
    expect([status, body.errors]).toEqual([422, [{ pointer: '/userId', detail: 'is required' }]]);
  }
});

test('a session lists its own places of a campaign page by page, those that it left too, and nobody else’s', async () => {
  const campaign = await fixture.start('PLACES', 5, { minParticipants: 4 });
  const [ada, ben] = await Promise.all([createShopper(), createShopper()]);
  const list = (key: string, query = '', id = campaign.id) =>
    store.send('GET', `/v1/campaigns/${id}/participants${query}`, undefined, { key });
  const places: string[] = [];
  for (let n = 0; n < 3; n++) {
    places.unshift((await ada.join(campaign.id)).body.id);
    if (n < 2) await ada.leave(campaign.id);
    await ben.join(campaign.id);
  }
  const { body: first, headers } = await list(ada.key, '?limit=2');
  expect(headers.get('server-timing')).toContain('1 calls');
  const { body: second } = await list(ada.key, `?limit=2&cursor=${first.nextCursor}`);
  expect([...first.data, ...second.data].map(({ id }: { id: string }) => id)).toEqual(places);
  expect(first.data[0]).toEqual((await ada.join(campaign.id)).body);
  expect([second.nextCursor, (await list(ben.key)).body.data.length]).toEqual([null, 1]);
  expect((await list((await createShopper()).key)).body.data).toEqual([]);
  expect((await list(ada.key, '', randomUUID())).body.code).toBe('not_found');
  const publishable = await store.database.key({ kind: 'publishable' });
  expect((await list(publishable)).body.code).toBe('forbidden');
});
