import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Reply, type Store, startStore, until } from '../support/harness.ts';

// `maxPerCustomer`: the units of one customer, over all teams of a campaign.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000', DATABASE_DEADLINE_MS: '60000' } });
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

const startTeams = (sku: string, stock: number, more: Record<string, unknown> = {}) =>
  fixture.start(sku, stock, {
    ...{ mode: 'teams', teamSize: 3, teamSeconds: 3_600, minParticipants: undefined, maxParticipants: undefined },
    ...more,
  });
const open = (campaignId: string, userId: string, more: object = {}) =>
  store.send('POST', `/v1/campaigns/${campaignId}/teams`, { userId, ...more });
const join = (teamId: string, userId: string, more: object = {}) =>
  store.send('POST', `/v1/teams/${teamId}/join`, { userId, ...more });
const leave = (teamId: string, userId: string) => store.send('POST', `/v1/teams/${teamId}/leave`, { userId });
const openTeams = async (campaignId: string, count: number) => {
  const opened = await Promise.all(Array.from({ length: count }, (_, n) => open(campaignId, `leader-${n}`)));
  return opened.map(({ body }) => body.team.id as string);
};
const outcome = ({ status, body }: Reply) => (status < 300 ? status : body.code);
const unitsOf = async (campaignId: string, userId: string) =>
  (
    await store.database.query<{ units: number }>(
      'select units from group_commerce.campaign_customers where campaign_id = $1 and user_id = $2',
      [campaignId, userId],
    )
  )[0]?.units ?? 0;

/** The counter of each customer has the units of the customer's live places, and is within the limit. */
async function expectCounted(campaignId: string, limit: number) {
  const rows = await store.database.query<{ user_id: string; counted: number; live: number }>(
    `select coalesce(n.user_id, p.user_id) as user_id, coalesce(n.units, 0) as counted, coalesce(p.units, 0)::int as live
     from (select * from group_commerce.campaign_customers where campaign_id = $1) n
     full join (select user_id, sum(quantity) as units from group_commerce.participants
       where campaign_id = $1 and state <> 'released' group by user_id) p on p.user_id = n.user_id`,
    [campaignId],
  );
  for (const row of rows) {
    expect(row).toEqual({ user_id: row.user_id, counted: row.live, live: row.live });
    expect(row.live).toBeLessThanOrEqual(limit);
  }
  return rows.length;
}
/** The units on hold are those of the live places. */
async function expectHeld(campaign: { id: string; sku: string }, stock: number) {
  const [row] = await store.database.query<{ units: number }>(
    `select coalesce(sum(quantity), 0)::int as units from group_commerce.participants
     where campaign_id = $1 and state <> 'released'`,
    [campaign.id],
  );
  const units = row?.units ?? 0;
  expect(await fixture.stockOf(campaign.sku)).toEqual({ quantity: stock - units, reserved: units });
}

describe('the limit of a customer', () => {
  test('in a pool is that of its place', async () => {
    const campaign = await fixture.start('LIM-1', 20, { maxPerCustomer: 3 });
    const over = await fixture.join(campaign.id, 'a', { quantity: 4 });
    expect(over).toMatchObject({ status: 409, body: { code: 'limit_per_customer' } });
    expect(over.body.detail).toBe('A customer may have 3 units of this campaign. None is taken so far.');
    expect((await fixture.join(campaign.id, 'a', { quantity: 3 })).status).toBe(201);
    expect(await unitsOf(campaign.id, 'a')).toBe(3);
    await fixture.leave(campaign.id, 'a');
    expect(await unitsOf(campaign.id, 'a')).toBe(0);
    expect((await fixture.join(campaign.id, 'a', { quantity: 2 })).status).toBe(201);
    await expectCounted(campaign.id, 3);
  });

  test('is counted over all teams of the campaign, and not over other campaigns', async () => {
    const campaign = await startTeams('LIM-2', 50, { maxPerCustomer: 3 });
    const [first = '', second = '', third = ''] = await openTeams(campaign.id, 3);
    expect(outcome(await join(first, 'a', { quantity: 2 }))).toBe(201);
    const over = await join(second, 'a', { quantity: 2 });
    expect(over).toMatchObject({ status: 409, body: { code: 'limit_per_customer' } });
    expect(over.body.detail).toContain('2 are taken so far.');
    expect(outcome(await join(second, 'a'))).toBe(201);
    expect(outcome(await join(third, 'a'))).toBe('limit_per_customer');
    expect(outcome(await open(campaign.id, 'a'))).toBe('limit_per_customer');
    expect(outcome(await join(third, 'b', { quantity: 3 }))).toBe(201);
    // A rejected join takes no place, no stock and no money.
    const { body: team } = await join(third, 'b');
    expect(team.team.joined).toBe(2);
    await expectHeld(campaign, 50);
    const other = await startTeams('LIM-3', 50, { maxPerCustomer: 3 });
    expect(outcome(await open(other.id, 'a', { quantity: 3 }))).toBe(201);
    expect(await expectCounted(campaign.id, 3)).toBe(5);
    const payments = await store.database.query(
      `select from payments.payments p where p.campaign_id = $1 and not exists (
         select from group_commerce.participants x where x.payment_id = p.payment_id)`,
      [campaign.id],
    );
    expect(payments).toEqual([]);
  });

  test('is not counted without `maxPerCustomer`', async () => {
    const campaign = await startTeams('LIM-4', 50);
    for (const team of await openTeams(campaign.id, 3))
      expect(outcome(await join(team, 'a', { quantity: 5 }))).toBe(201);
    expect(await unitsOf(campaign.id, 'a')).toBe(0);
  });

  test('is free again after leaving a team, and a repeated leave frees nothing twice', async () => {
    const campaign = await startTeams('LIM-5', 50, { maxPerCustomer: 4 });
    const [first = '', second = ''] = await openTeams(campaign.id, 2);
    await join(first, 'a', { quantity: 2 });
    await join(second, 'a', { quantity: 2 });
    await Promise.all([leave(first, 'a'), leave(first, 'a'), leave(first, 'a')]);
    expect(await unitsOf(campaign.id, 'a')).toBe(2);
    expect(outcome(await open(campaign.id, 'a', { quantity: 3 }))).toBe('limit_per_customer');
    expect(outcome(await open(campaign.id, 'a', { quantity: 2 }))).toBe(201);
    await expectCounted(campaign.id, 4);
  });

  test('is free again if a place is not secured in time', async () => {
    const campaign = await startTeams('LIM-6', 50, { maxPerCustomer: 1 });
    const [team = ''] = await openTeams(campaign.id, 1);
    await join(team, 'a');
    await store.database.query(
      `update group_commerce.participants set secure_by = now() - interval '1 second'
       where campaign_id = $1 and user_id = 'a'`,
      [campaign.id],
    );
    await until(async () => {
      await store.cron();
      return (await unitsOf(campaign.id, 'a')) === 0;
    });
    await expectCounted(campaign.id, 1);
    expect(outcome(await join(team, 'a'))).toBe(201);
  });

  test('is free again if a place is refunded before its order exists', async () => {
    const campaign = await fixture.start('LIM-7', 10, { maxPerCustomer: 2, minParticipants: 3 });
    const { body: place } = await fixture.join(campaign.id, 'a', { quantity: 2 });
    const payment = await fixture.confirm(place.orderId);
    await until(async () => (await fixture.statesOf(campaign.id)).a === 'secured');
    await fixture.stripe.paymentIntents.cancel(payment.stripePaymentIntentId);
    await until(async () => (await fixture.statesOf(campaign.id)).a === 'released');
    expect(await unitsOf(campaign.id, 'a')).toBe(0);
  });

  test('is free again if the place is refunded and its units are back in stock, and not otherwise', async () => {
    const campaign = await fixture.start('LIM-8', 20, { maxPerCustomer: 2 });
    for (const user of ['a', 'b']) {
      const { body: place } = await fixture.join(campaign.id, user, { quantity: 2 });
      await fixture.confirm(place.orderId);
    }
    await until(async () => Object.values(await fixture.statesOf(campaign.id)).every((state) => state === 'charged'));
    const places = await store.database.query<{ user_id: string; payment_id: string }>(
      'select user_id, payment_id from group_commerce.participants where campaign_id = $1',
      [campaign.id],
    );
    for (const { user_id, payment_id } of places) {
      const refund = await store.send('POST', `/v1/payments/${payment_id}/refunds`, { restock: user_id === 'a' });
      expect(refund.status).toBe(201);
    }
    await until(async () => (await fixture.statesOf(campaign.id)).a === 'released');
    await store.settled();
    expect([await unitsOf(campaign.id, 'a'), await unitsOf(campaign.id, 'b')]).toEqual([0, 2]);
    expect(outcome(await fixture.join(campaign.id, 'a', { quantity: 2 }))).toBe(201);
    await expectCounted(campaign.id, 2);
  });

  test.each(['cancelled', 'expired'])('is free again once the campaign is %s', async (how) => {
    const campaign = await fixture.start(`LIM-9-${how}`, 20, { maxPerCustomer: 5, minParticipants: 5 });
    await fixture.join(campaign.id, 'a', { quantity: 5 });
    await fixture.join(campaign.id, 'b', { quantity: 1 });
    if (how === 'cancelled') await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
    else {
      await store.database.query(
        `update group_commerce.group_commerce_campaigns set end_time = now() - interval '1 second' where id = $1`,
        [campaign.id],
      );
      await store.cron();
    }
    await until(async () => Object.values(await fixture.statesOf(campaign.id)).every((state) => state === 'released'));
    expect(await expectCounted(campaign.id, 5)).toBe(2);
    expect(await unitsOf(campaign.id, 'a')).toBe(0);
  });
});

describe('parallel joins of one customer', () => {
  test('in many teams never exceed the limit, and use it up', async () => {
    const campaign = await startTeams('LIM-10', 200, { maxPerCustomer: 3 });
    const teams = await openTeams(campaign.id, 12);
    const outcomes = (await Promise.all(teams.map((team) => join(team, 'a')))).map(outcome);
    expect(outcomes.filter((code) => code === 201)).toHaveLength(3);
    expect(outcomes.filter((code) => code === 'limit_per_customer')).toHaveLength(9);
    expect(await unitsOf(campaign.id, 'a')).toBe(3);
    await expectCounted(campaign.id, 3);
    await expectHeld(campaign, 200);
  });

  test('in one team take one place', async () => {
    const campaign = await startTeams('LIM-11', 20, { maxPerCustomer: 4 });
    const [team = ''] = await openTeams(campaign.id, 1);
    const replies = await Promise.all(Array.from({ length: 8 }, () => join(team, 'a', { quantity: 2 })));
    expect(replies.map(outcome)).toEqual(Array(8).fill(201));
    expect(new Set(replies.map(({ body }) => body.participant.id)).size).toBe(1);
    expect(await unitsOf(campaign.id, 'a')).toBe(2);
    await expectHeld(campaign, 20);
  });

  test('with leaves and several quantities keep the counter right', async () => {
    const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
    console.log(`limit races: SEED=${seed}`);
    let runs = 0;
    const step = fc.record({
      user: fc.constantFrom('a', 'a', 'a', 'b'),
      team: fc.integer({ min: 0, max: 3 }),
      quantity: fc.integer({ min: 1, max: 4 }),
      leaves: fc.boolean(),
    });
    const waves = fc.array(fc.array(step, { minLength: 4, maxLength: 12 }), { minLength: 2, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(waves, fc.integer({ min: 1, max: 7 }), async (waves, maxPerCustomer) => {
        const campaign = await startTeams(`LIM-RACE-${++runs}`, 500, { maxPerCustomer, teamSize: 4 });
        const teams = await openTeams(campaign.id, 4);
        for (const wave of waves) {
          const replies = await Promise.all(
            wave.map(({ user, team, quantity, leaves }) =>
              leaves ? leave(teams[team] ?? '', user) : join(teams[team] ?? '', user, { quantity }),
            ),
          );
          for (const reply of replies) expect(['limit_per_customer', 'not_found', 200, 201]).toContain(outcome(reply));
          await expectCounted(campaign.id, maxPerCustomer);
          await expectHeld(campaign, 500);
        }
      }),
      { seed, numRuns: 12 },
    );
  }, 120_000);
});
