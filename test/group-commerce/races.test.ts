import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000', DATABASE_DEADLINE_MS: '60000' } });
  fixture = campaignFixture(store);
  await store.database.query(
    `insert into orders.tax_rates (id, tenant_id, name, country, rate, created_at, updated_at)
     values ('rate', 'default', 'VAT', 'DE', 19, now(), now())`,
  );
});
/** A buyer with this address pays tax. */
const billingAddress = { line1: 'Am Sandtorkai 30', city: 'Hamburg', country: 'DE' };
afterAll(() => store.close());

type Step =
  | { do: 'join' | 'leave'; user: string }
  | { do: 'pay'; user: string; card: string }
  | { do: 'cancel' | 'expire' | 'cron' };

const user = fc.integer({ min: 1, max: 8 }).map((n) => `user-${n}`);
const card = fc.constantFrom('pm_card_visa', 'pm_card_visa', 'pm_card_chargeCustomerFail', 'pm_card_chargeDeclined');
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: user.map((name) => ({ do: 'join' as const, user: name })) },
  { weight: 3, arbitrary: user.map((name) => ({ do: 'leave' as const, user: name })) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('pay' as const), user, card }) },
  { weight: 1, arbitrary: fc.constantFrom('cancel', 'expire', 'cron').map((action) => ({ do: action as 'cron' })) },
);
const race = fc.record({
  min: fc.integer({ min: 1, max: 6 }),
  extra: fc.integer({ min: 0, max: 3 }),
  stock: fc.integer({ min: 0, max: 8 }),
  successOn: fc.constantFrom('joined', 'secured'),
  saved: fc.boolean(),
  taxed: fc.boolean(),
  /** The steps of a wave run concurrently, and the waves one after the other. */
  waves: fc.array(fc.array(step, { minLength: 4, maxLength: 14 }), { minLength: 2, maxLength: 4 }),
});

let races = 0;

/** Runs a race and waits until all its work is done. */
async function runRace({
  min,
  extra,
  stock,
  successOn,
  saved,
  taxed,
  waves,
}: typeof race extends fc.Arbitrary<infer T> ? T : never) {
  const days = saved ? 10 : 1;
  const campaign = await fixture.start(`RACE-${++races}`, stock, {
    minParticipants: min,
    maxParticipants: min + extra,
    successOn,
    endTime: new Date(Date.now() + days * 86_400_000).toISOString(),
  });
  /** The orders of the accepted joins, by user. */
  const orders = new Map<string, string>();
  const endNow = `update group_commerce.group_commerce_campaigns set end_time = now() - interval '1 second' where id = $1`;
  const runStep = async (step: Step) => {
    switch (step.do) {
      case 'join': {
        const { status, body } = await fixture.join(campaign.id, step.user, taxed ? { billingAddress } : {});
        if (status === 201) orders.set(step.user, body.orderId);
        else expect(body.code).toMatch(/^(campaign_full|campaign_not_open|insufficient_inventory)$/);
        return;
      }
      case 'leave': {
        const { status, body } = await fixture.leave(campaign.id, step.user);
        if (status !== 200) expect(body.code).toMatch(/^(not_found|campaign_not_open)$/);
        return;
      }
      case 'pay': {
        const orderId = orders.get(step.user);
        if (orderId === undefined) return;
        const { status, body } = await store.send('POST', '/v1/payments', { orderId });
        if (status !== 201) expect(body.code).toBe('order_not_payable');
        else if (body.clientSecret) await fixture.confirmSecret(body.clientSecret, step.card);
        return;
      }
      case 'cancel': {
        const { status, body } = await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
        if (status !== 200) expect(body.code).toBe('conflict');
        return;
      }
      case 'expire':
        await store.database.query(endNow, [campaign.id]);
        await store.cron();
        return;
      case 'cron':
        await store.cron();
    }
  };
  for (const wave of waves) await Promise.all(wave.map(runStep));
  await untilIdle(campaign.id);
  return { campaign, endNow };
}

/** Waits until every message and webhook is applied, and the campaign and its payments need no further work. */
async function untilIdle(campaignId: string) {
  await store.settled();
  await until(async () => {
    const [left] = await store.database.query<{ n: number }>(
      `select count(*)::int as n from payments.payments p
       join group_commerce.group_commerce_campaigns c on c.id = p.campaign_id
       where c.id = $1 and ((p.capture_asked and p.status = 'pending') or (p.status <> 'pending' and p.intent_open)
         or (c.status <> 'active' and c.settled_at is null))`,
      [campaignId],
    );
    if (left?.n === 0) return true;
    await store.cron();
    return false;
  });
  await store.settled();
}

test('concurrent joins, leaves, payments, cancellations, successes and expiries violate no invariant', async () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  console.log(`campaign races: SEED=${seed}`);
  await fc.assert(
    fc.asyncProperty(race, async (parameters) => {
      const { campaign, endNow } = await runRace(parameters);
      const { status, live } = await fixture.audit(campaign, parameters.stock);

      // A campaign succeeds if and only if the minimum was reached at some moment. The events contain every count.
      const counts = await store.database.query<{ joined: number; secured: number }>(
        `select (coalesce(payload->'campaign', payload)->>'actualParticipants')::int as joined,
           (coalesce(payload->'campaign', payload)->>'securedParticipants')::int as secured
         from platform.events where key = $1`,
        [campaign.id],
      );
      if (parameters.successOn === 'joined') {
        expect(status === 'successful').toBe(counts.some(({ joined }) => joined >= parameters.min));
      } else if (status === 'successful') expect(counts.some(({ secured }) => secured >= parameters.min)).toBe(true);
      expect(Math.max(0, ...counts.map(({ joined }) => joined))).toBeLessThanOrEqual(parameters.min + parameters.extra);

      // Let everything end: an active campaign expires, and an unpaid order fails when its grace period ends.
      await store.database.query(endNow, [campaign.id]);
      await store.database.query(
        `update inventory.reservations set expires_at = now() - interval '1 second' where status = 'held' and isfinite(expires_at)
         and order_id in (select order_id from group_commerce.participants where campaign_id = $1)`,
        [campaign.id],
      );
      await store.cron();
      await untilIdle(campaign.id);
      const ended = await fixture.audit(campaign, parameters.stock);
      expect(ended.status).toBe(status === 'active' ? 'expired' : status);
      expect(ended.live.length).toBe(ended.charged.length);
      expect((await fixture.stockOf(campaign.sku))?.reserved).toBe(0);
      expect(live.length).toBeGreaterThanOrEqual(ended.live.length);
      const unfinished = await store.database.query(
        `select from payments.payments where campaign_id = $1 and (status = 'pending' or intent_open)`,
        [campaign.id],
      );
      expect(unfinished).toEqual([]);
      const orders = (await fixture.participants(campaign.id)).map((place) => place.order_id);
      const held = (await fixture.intentsOf(orders)).filter(
        ({ status: intentStatus }) => !['succeeded', 'canceled'].includes(intentStatus),
      );
      expect(held).toEqual([]);
    }),
    { seed, numRuns: Number(process.env.RUNS ?? 15), endOnFailure: true },
  );
}, 300_000);
