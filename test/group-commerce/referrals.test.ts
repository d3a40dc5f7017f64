import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { addShopper } from '../support/shoppers.ts';

// `invitedBy` says who brought a buyer. A referral counts while the invited place is charged.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let shop: ReturnType<typeof paymentFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  fixture = campaignFixture(store);
  shop = paymentFixture(store);
});
afterAll(() => store.close());

const list = (campaignId: string, query = '', key?: string) =>
  store.send('GET', `/v1/campaigns/${campaignId}/referrals${query}`, undefined, key === undefined ? {} : { key });
const referralsOf = async (campaignId: string) => (await list(campaignId)).body.data;
const faultsOf = async (campaignId: string, userId: string, invitedBy: unknown) => {
  const { status, body } = await fixture.join(campaignId, userId, { invitedBy });
  return [status, body.errors];
};
const stateOf = async (campaignId: string, userId: string) => (await fixture.statesOf(campaignId))[userId];
const placeOf = async (campaignId: string, userId: string) =>
  (
    await store.database.query<{ order_id: string; payment_id: string }>(
      'select order_id, payment_id from group_commerce.participants where campaign_id = $1 and user_id = $2 order by id desc',
      [campaignId, userId],
    )
  )[0] ?? { order_id: '', payment_id: '' };
async function charge(campaignId: string, userId: string) {
  await fixture.confirm((await placeOf(campaignId, userId)).order_id);
  await until(async () => (await stateOf(campaignId, userId)) === 'charged');
}

describe('an invite', () => {
  test('names another user who has or had a place in the campaign', async () => {
    const campaign = await fixture.start('REF-1', 10);
    const other = await fixture.start('REF-2', 10);
    await fixture.join(other.id, 'elsewhere');
    const unknown = [422, [{ pointer: '/invitedBy', detail: 'has no place in this campaign' }]];
    expect(await faultsOf(campaign.id, 'a', 'a')).toEqual([
      422,
      [{ pointer: '/invitedBy', detail: 'must be another user' }],
    ]);
    expect(await faultsOf(campaign.id, 'a', 'nobody')).toEqual(unknown);
    expect(await faultsOf(campaign.id, 'a', 'elsewhere')).toEqual(unknown);
    for (const invitedBy of ['', 7, null]) {
      expect(await faultsOf(campaign.id, 'a', invitedBy)).toEqual([
        422,
        [{ pointer: '/invitedBy', detail: expect.any(String) }],
      ]);
    }
    expect(await fixture.participants(campaign.id)).toEqual([]);
    await fixture.join(campaign.id, 'left');
    await fixture.leave(campaign.id, 'left');
    const { status, body } = await fixture.join(campaign.id, 'a', { invitedBy: 'left' });
    expect([status, body.invitedBy]).toEqual([201, 'left']);
    const listed = await store.send('GET', `/v1/campaigns/${campaign.id}/participants`);
    expect(listed.body.data.map((place: { invitedBy: string }) => place.invitedBy)).toEqual(['left', null]);
  });

  test('cannot name the customer of the session itself', async () => {
    const campaign = await fixture.start('REF-3', 10);
    const { id, session } = await addShopper(store.database);
    const join = (invitedBy: string) =>
      store.send('POST', `/v1/campaigns/${campaign.id}/join`, { invitedBy }, { key: session });
    expect((await join(id)).body.errors).toEqual([{ pointer: '/invitedBy', detail: 'must be another user' }]);
    await fixture.join(campaign.id, 'friend');
    expect((await join('friend')).body.invitedBy).toBe('friend');
  });

  test('is kept with the place in a team, by id and by code', async () => {
    const campaign = await fixture.start('REF-4', 10, {
      ...{ mode: 'teams', teamSize: 3, teamSeconds: 3_600, minParticipants: undefined, maxParticipants: undefined },
    });
    const self = await store.send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId: 'a', invitedBy: 'a' });
    expect(self.body.errors).toEqual([{ pointer: '/invitedBy', detail: 'must be another user' }]);
    const { team } = (await store.send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId: 'a' })).body;
    const wrong = await store.send('POST', `/v1/teams/${team.id}/join`, { userId: 'b', invitedBy: 'nobody' });
    expect([wrong.status, wrong.body.errors[0].pointer]).toEqual([422, '/invitedBy']);
    const byId = await store.send('POST', `/v1/teams/${team.id}/join`, { userId: 'b', invitedBy: 'a' });
    expect(byId.body.participant.invitedBy).toBe('a');
    const byCode = await store.send('POST', `/v1/teams/by-code/${team.code}/join`, { userId: 'c', invitedBy: 'b' });
    expect(byCode.body.participant.invitedBy).toBe('b');
    expect(await referralsOf(campaign.id)).toEqual([
      { userId: 'a', invited: 1, charged: 0 },
      { userId: 'b', invited: 1, charged: 0 },
    ]);
  });
});

describe('a referral', () => {
  test('counts once the invited place is charged, and not while it is only taken', async () => {
    const campaign = await fixture.start('REF-5', 10);
    await fixture.join(campaign.id, 'a');
    expect(await referralsOf(campaign.id)).toEqual([]);
    await fixture.join(campaign.id, 'b', { invitedBy: 'a', quantity: 3 });
    await until(async () => (await stateOf(campaign.id, 'b')) === 'ordered');
    expect(await referralsOf(campaign.id)).toEqual([{ userId: 'a', invited: 1, charged: 0 }]);
    await charge(campaign.id, 'b');
    expect(await referralsOf(campaign.id)).toEqual([{ userId: 'a', invited: 1, charged: 1 }]);
    await fixture.join(campaign.id, 'b', { invitedBy: 'a' }); // a repeat
    expect(await referralsOf(campaign.id)).toEqual([{ userId: 'a', invited: 1, charged: 1 }]);
  });

  test('does not grow by leaving and joining again', async () => {
    const campaign = await fixture.start('REF-6', 10);
    await fixture.join(campaign.id, 'a');
    await fixture.leave(campaign.id, 'a');
    for (let n = 0; n < 3; n++) {
      await fixture.join(campaign.id, 'b', { invitedBy: 'a' });
      await fixture.leave(campaign.id, 'b');
    }
    expect(await referralsOf(campaign.id)).toEqual([{ userId: 'a', invited: 0, charged: 0 }]);
    await fixture.join(campaign.id, 'b', { invitedBy: 'a' });
    expect(await referralsOf(campaign.id)).toEqual([{ userId: 'a', invited: 1, charged: 0 }]);
  });

  test.each([true, false])('ends with a refund of the place (units back in stock: %s)', async (restock) => {
    const campaign = await fixture.start(`REF-7-${restock}`, 10);
    await fixture.join(campaign.id, 'a');
    await fixture.join(campaign.id, 'b', { invitedBy: 'a' });
    await until(async () => (await stateOf(campaign.id, 'b')) === 'ordered');
    await charge(campaign.id, 'b');
    const { payment_id } = await placeOf(campaign.id, 'b');
    const part = await store.send('POST', `/v1/payments/${payment_id}/refunds`, { amount: 5 });
    expect(part.status).toBe(201);
    await store.settled();
    expect(await referralsOf(campaign.id)).toEqual([{ userId: 'a', invited: 1, charged: 1 }]);
    await store.send('POST', `/v1/payments/${payment_id}/refunds`, { restock });
    await until(async () => (await referralsOf(campaign.id))[0].charged === 0);
    expect(await stateOf(campaign.id, 'b')).toBe(restock ? 'released' : 'charged');
  });

  describe('whose place was refunded, and the refund fails at the bank', () => {
    /** Charges the invited place of `b` and refunds it. `fail` makes the bank return the refund. */
    async function refund(sku: string, restock: boolean) {
      const campaign = await fixture.start(sku, 10);
      await fixture.join(campaign.id, 'a');
      await fixture.join(campaign.id, 'b', { invitedBy: 'a' });
      await until(async () => (await stateOf(campaign.id, 'b')) === 'ordered');
      await charge(campaign.id, 'b');
      const place = await placeOf(campaign.id, 'b');
      await store.send('POST', `/v1/payments/${place.payment_id}/refunds`, { restock });
      await until(async () => (await referralsOf(campaign.id))[0].charged === 0);
      await shop.quiet();
      const [intent] = await fixture.intentsOf([place.order_id]);
      const made = (await shop.state()).refunds.find((each) => each.payment_intent === intent?.id);
      const fail = async () => {
        await shop.emulator('POST', 'dashboard/fail_refund', { refund: made?.id });
        await until(async () => (await shop.orderOf(place.order_id)).status !== 'refunded');
        await shop.quiet();
      };
      return { campaign, orderId: place.order_id, fail };
    }
    const refundedOf = async (orderId: string) =>
      (
        await store.database.query<{ refunded: boolean }>(
          'select refunded from group_commerce.participants where order_id = $1',
          [orderId],
        )
      )[0]?.refunded;

    test('counts again, with its place and its order, if the units were not put back', async () => {
      const { campaign, orderId, fail } = await refund('REF-13', false);
      expect(await refundedOf(orderId)).toBe(true);
      await fail();
      expect(await referralsOf(campaign.id)).toEqual([{ userId: 'a', invited: 1, charged: 1 }]);
      expect(await refundedOf(orderId)).toBe(false);
      expect(await stateOf(campaign.id, 'b')).toBe('charged');
      expect(await shop.orderOf(orderId)).toMatchObject({ status: 'confirmed', payment: { amountRefunded: 0 } });
      expect(await fixture.stockOf('REF-13')).toEqual({ quantity: 8, reserved: 1 });
      // The merchant refunds it again, and then it counts no longer.
      const { payment_id } = await placeOf(campaign.id, 'b');
      await store.send('POST', `/v1/payments/${payment_id}/refunds`, { restock: true });
      await until(async () => (await stateOf(campaign.id, 'b')) === 'released');
      expect(await referralsOf(campaign.id)).toEqual([{ userId: 'a', invited: 0, charged: 0 }]);
      expect(await fixture.stockOf('REF-13')).toEqual({ quantity: 9, reserved: 1 });
      await shop.quiet();
    });

    test('stays ended if the place is gone: its order is cancelled, and no unit is taken or freed twice', async () => {
      const { campaign, orderId, fail } = await refund('REF-14', true);
      expect(await stateOf(campaign.id, 'b')).toBe('released');
      await fail();
      const outcome = async () => [
        (await referralsOf(campaign.id))[0],
        await stateOf(campaign.id, 'b'),
        (await shop.orderOf(orderId)).status,
        (await fixture.read(campaign.id)).actualParticipants,
        await fixture.stockOf('REF-14'),
      ];
      const expected = [
        { userId: 'a', invited: 0, charged: 0 },
        'released',
        'cancelled',
        1,
        { quantity: 9, reserved: 1 },
      ];
      expect(await outcome()).toEqual(expected);
      expect((await shop.orderOf(orderId)).failureReason).toBe('refund_failed');
      // The cron looks for places of ended orders whose message was lost.
      await store.cron('* * * * *', new Date(Date.now() + 600_000));
      expect(await outcome()).toEqual(expected);
      expect(await fixture.join(campaign.id, 'b', { invitedBy: 'a' })).toMatchObject({ status: 201 });
    });
  });

  test('of a free place counts at once when the campaign succeeds', async () => {
    const campaign = await fixture.start('REF-8', 10, { price: 0 });
    await fixture.join(campaign.id, 'a');
    await fixture.join(campaign.id, 'b', { invitedBy: 'a' });
    await until(async () => (await referralsOf(campaign.id))[0].charged === 1);
  });
});

describe('the list of referrals', () => {
  test('is paged by the ids of the inviters', async () => {
    const campaign = await fixture.start('REF-9', 50, { minParticipants: 40, maxParticipants: 40 });
    const inviters = ['Zoë', 'a@b.example', 'ä 1', 'm-2', 'm-1'];
    for (const user of inviters) await fixture.join(campaign.id, user);
    for (const [n, invitedBy] of [...inviters, ...inviters].entries()) {
      await fixture.join(campaign.id, `friend-${n}`, { invitedBy });
    }
    const seen: { userId: string }[] = [];
    for (let cursor = ''; ; ) {
      const { status, body } = await list(campaign.id, `?limit=2${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
      expect(status).toBe(200);
      seen.push(...body.data);
      if (body.nextCursor === null) break;
      cursor = body.nextCursor;
    }
    expect(seen.map(({ userId }) => userId).sort()).toEqual([...inviters].sort());
    expect(seen).toEqual(seen.map(({ userId }) => ({ userId, invited: 2, charged: 0 })));
    expect(seen).toEqual(await referralsOf(campaign.id));
  });

  test('shows a session only its own', async () => {
    const campaign = await fixture.start('REF-10', 10, { minParticipants: 9 });
    const [ada, ben] = [await addShopper(store.database), await addShopper(store.database)];
    for (const { session } of [ada, ben]) {
      await store.send('POST', `/v1/campaigns/${campaign.id}/join`, {}, { key: session });
    }
    await fixture.join(campaign.id, 'c', { invitedBy: ada.id });
    await fixture.join(campaign.id, 'd', { invitedBy: ben.id });
    await fixture.join(campaign.id, 'e', { invitedBy: ben.id });
    expect((await list(campaign.id, '', ben.session)).body).toEqual({
      data: [{ userId: ben.id, invited: 2, charged: 0 }],
      nextCursor: null,
    });
    const { session } = await addShopper(store.database);
    expect((await list(campaign.id, '', session)).body.data).toEqual([]);
  });

  test('is not for publishable keys, other tenants or unknown campaigns', async () => {
    const campaign = await fixture.start('REF-11', 10);
    const publishable = await store.database.key({ kind: 'publishable' });
    expect((await list(campaign.id, '', publishable)).status).toBe(403);
    const acme = await store.database.key({ tenant: 'acme' });
    expect((await list(campaign.id, '', acme)).status).toBe(404);
    expect((await list('019ab3f3-3d4e-7f50-8b62-7c8d9e0f1a2b')).status).toBe(404);
    expect((await list(campaign.id, '?cursor=x')).body.code).toBe('invalid_cursor');
  });
});

test('the export of a customer has its invite, and its erasure keeps the ids', async () => {
  const campaign = await fixture.start('REF-12', 10);
  const [ada, ben] = [await addShopper(store.database), await addShopper(store.database)];
  const join = ({ session }: { session: string }, more: object = {}) =>
    store.send('POST', `/v1/campaigns/${campaign.id}/join`, more, { key: session });
  await join(ada);
  await store.send('POST', `/v1/campaigns/${campaign.id}/leave`, {}, { key: ada.session });
  await join(ben, { invitedBy: ada.id, quantity: 2 });
  const exported = await store.send('GET', `/v1/customers/${ben.id}/export`);
  expect(exported.body.places).toMatchObject([{ invitedBy: ada.id, quantity: 2, sku: 'REF-12', teamId: null }]);
  expect((await store.send('DELETE', `/v1/customers/${ada.id}`)).status).toBe(204);
  expect(await referralsOf(campaign.id)).toEqual([{ userId: ada.id, invited: 1, charged: 0 }]);
});
