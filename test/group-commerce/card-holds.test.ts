import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { holdWithinSeconds } from '../../src/domain/group-commerce/card-holds.ts';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore } from '../support/harness.ts';

// Money is held only if the latest possible end, with the time for late payers, is within the card network's window.
// Otherwise the card is saved.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore();
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

const defaultGrace = 900;
const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1_000).toISOString();
const modeOf = async (paymentId: string) =>
  (
    await store.database.query<{ mode: string; authorized: string | null }>(
      'select mode, authorized from payments.payments where payment_id = $1',
      [paymentId],
    )
  )[0];
let campaigns = 0;
const start = (fields: Record<string, unknown>) => fixture.start(`HOLD-${++campaigns}`, 20, fields);
/** The mode of the payment of a place in a pool that ends after these seconds. */
async function ofPool(seconds: number, fields: Record<string, unknown> = {}) {
  const campaign = await start({ endTime: inSeconds(seconds), ...fields });
  return modeOf((await fixture.join(campaign.id, 'a')).body.paymentId);
}
/** The mode of the payment of a leader's place. */
async function ofTeam(fields: Record<string, unknown>, place: Record<string, unknown> = {}) {
  const campaign = await start({
    ...{ mode: 'teams', teamSize: 3, minParticipants: undefined, maxParticipants: undefined },
    ...{ endTime: inSeconds(holdWithinSeconds + 10 * 86_400), ...fields },
  });
  const { status, body } = await store.send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId: 'a', ...place });
  expect(status).toBe(201);
  return { campaign, team: body.team, payment: await modeOf(body.participant.paymentId) };
}

/** Seconds around the boundary, far enough for the time that a request takes. */
const inside = holdWithinSeconds - defaultGrace - 60;
const outside = holdWithinSeconds - defaultGrace + 60;

describe('the money of a place', () => {
  test('in a pool is held if its end and the grace are within the window', async () => {
    expect(await ofPool(inside)).toEqual({ mode: 'hold', authorized: null });
    expect(await ofPool(outside)).toEqual({ mode: 'card', authorized: null });
  });

  test('in a pool is held by the tenant’s own grace', async () => {
    expect((await store.send('PATCH', '/v1/tenant', { graceSeconds: 7_200 })).status).toBe(200);
    expect(await ofPool(inside)).toMatchObject({ mode: 'card' });
    expect(await ofPool(inside - 7_200)).toMatchObject({ mode: 'hold' });
    await store.send('PATCH', '/v1/tenant', { graceSeconds: null });
  });

  test('in a pool with tiers is authorized at the entry price', async () => {
    const tiers = [{ participants: 2, price: 15 }];
    expect(await ofPool(inside, { tiers })).toEqual({ mode: 'hold', authorized: '20.00' });
    expect(await ofPool(outside, { tiers })).toEqual({ mode: 'card', authorized: null });
  });

  test('in a team is held if its end time and the grace are within the window', async () => {
    expect((await ofTeam({ teamSeconds: inside })).payment).toEqual({ mode: 'hold', authorized: null });
    expect((await ofTeam({ teamSeconds: outside })).payment).toEqual({ mode: 'card', authorized: null });
  });

  test('in a team that ends with the campaign is held by the campaign’s end', async () => {
    const fields = { teamSeconds: 30 * 86_400 };
    expect((await ofTeam({ ...fields, endTime: inSeconds(inside) })).payment).toMatchObject({ mode: 'hold' });
    expect((await ofTeam({ ...fields, endTime: inSeconds(outside) })).payment).toMatchObject({ mode: 'card' });
  });

  test('in a team that may merge is held only if the campaign’s end is within the window', async () => {
    const fields = { teamSeconds: 3_600, onShort: 'merge' };
    expect((await ofTeam(fields, { merge: true })).payment).toMatchObject({ mode: 'card' });
    expect((await ofTeam(fields, { merge: false })).payment).toMatchObject({ mode: 'hold' });
    const near = { ...fields, endTime: inSeconds(inside) };
    expect((await ofTeam(near, { merge: true })).payment).toMatchObject({ mode: 'hold' });
    expect((await ofTeam({ ...near, endTime: inSeconds(outside) }, { merge: true })).payment).toMatchObject({
      mode: 'card',
    });
    // A campaign that merges no teams.
    const alone = { teamSeconds: 3_600, onShort: 'release' };
    expect((await ofTeam(alone, { merge: true })).payment).toMatchObject({ mode: 'hold' });
  });

  test('in a team is held for a member by the same rule', async () => {
    const { team } = await ofTeam({ teamSeconds: 3_600, onShort: 'merge' });
    for (const [userId, merge, mode] of [
      ['b', true, 'card'],
      ['c', false, 'hold'],
    ] as const) {
      const { body } = await store.send('POST', `/v1/teams/${team.id}/join`, { userId, merge });
      expect(await modeOf(body.participant.paymentId)).toMatchObject({ mode });
    }
  });
});
