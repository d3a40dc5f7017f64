import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000', DATABASE_DEADLINE_MS: '60000' } });
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

type Entry = { id: string; user: string; state: string; was_offered: boolean };
const entriesOf = (campaignId: string) =>
  store.database.query<Entry>(
    `select id, user_id as user, state, offered_until is not null as was_offered
     from group_commerce.waiting_places where campaign_id = $1 order by id`,
    [campaignId],
  );

/** Checks what is true of a campaign with a waiting list at any time. */
async function audit(campaign: { id: string; sku: string }, stock: number) {
  const { live } = await fixture.audit(campaign, stock); // no stock is held and nothing is paid but for live places
  const entries = await entriesOf(campaign.id);
  const [counts] = await store.database.query<{ actual: number; offered: number; max: number }>(
    `select actual_participants as actual, offered_places as offered, max_participants as max
     from group_commerce.group_commerce_campaigns where id = $1`,
    [campaign.id],
  );
  const inLine = entries.filter(({ state }) => state === 'waiting' || state === 'offered');
  const offered = inLine.filter(({ state }) => state === 'offered');
  const { actual = 0, offered: counted, max = 0 } = counts ?? {};
  expect(counted).toBe(offered.length);
  expect(actual + offered.length).toBeLessThanOrEqual(max);
  if (inLine.length > offered.length) expect(actual + offered.length).toBe(max); // no free place while somebody waits
  expect(inLine.slice(0, offered.length)).toEqual(offered); // the offers are at the front of the line
  const users = [...inLine.map(({ user }) => user), ...live.map((place) => place.user_id)];
  expect(new Set(users).size).toBe(users.length); // nobody has two

  const events = await store.database.query<{ user: string }>(
    `select payload->>'userId' as user from platform.events
     where key = $1 and topic = 'group-commerce.place.offered' order by seq`,
    [campaign.id],
  );
  const wereOffered = entries.filter((entry) => entry.was_offered);
  expect(events.map(({ user }) => user)).toEqual(wereOffered.map(({ user }) => user)); // in the order of the line
  const payments = await store.database.query<{ order_id: string }>(
    'select order_id from payments.payments where campaign_id = $1',
    [campaign.id],
  );
  const orders = (await fixture.participants(campaign.id)).map((place) => place.order_id);
  expect(payments.map((payment) => payment.order_id).sort()).toEqual(orders.sort());
  return { live, inLine, offered, entries };
}

const start = (sku: string, stock: number, places: number) =>
  fixture.start(sku, stock, { minParticipants: places, maxParticipants: places, successOn: 'secured' });
const wait = (campaignId: string, user: string) => fixture.join(campaignId, user, { waitlist: true });

test('fifty buyers join a campaign with five places at once: five get one, the others wait in line', async () => {
  const campaign = await start('CROWD', 50, 5);
  const buyers = Array.from({ length: 50 }, (_, n) => `buyer-${n}`);
  const replies = await Promise.all(buyers.map((user) => wait(campaign.id, user)));
  expect(replies.filter(({ status }) => status === 201)).toHaveLength(5);
  const waiting = replies.filter(({ status }) => status === 202).map(({ body }) => body);
  expect(waiting).toHaveLength(45);
  const positions = waiting.map((entry) => entry.position).sort((a, b) => a - b);
  expect(positions).toEqual(Array.from({ length: 45 }, (_, n) => n + 1)); // as told while they joined
  expect((await audit(campaign, 50)).inLine).toHaveLength(45);

  // All five leave while the first ten in line and five newcomers try to join.
  const [placed, line] = [await fixture.participants(campaign.id), (await entriesOf(campaign.id)).map((e) => e.user)];
  const rush = await Promise.all([
    ...placed.map((place) => fixture.leave(campaign.id, place.user_id)),
    ...[...line.slice(0, 10), 'new-1', 'new-2', 'new-3', 'new-4', 'new-5'].map((user) =>
      fixture.join(campaign.id, user),
    ),
  ]);
  for (const { status, body } of rush.slice(5)) {
    if (status === 201) expect(line.slice(0, 5)).toContain(body.userId);
    else expect(body.code).toBe('campaign_full');
  }
  await audit(campaign, 50);
  const taken = await Promise.all(line.slice(0, 5).map((user) => fixture.join(campaign.id, user)));
  expect(taken.map(({ status }) => status)).toEqual([201, 201, 201, 201, 201]);
  const { live, inLine } = await audit(campaign, 50);
  expect(live.map((place) => place.user_id).sort()).toEqual(line.slice(0, 5).sort());
  expect(inLine.map(({ user }) => user)).toEqual(line.slice(5));
}, 120_000);

type Step =
  | { do: 'join' | 'wait' | 'leave' | 'lapse' | 'lose'; user: string }
  | { do: 'cancel' | 'expire' | 'cron' | 'cron again' };
const user = fc.integer({ min: 1, max: 9 }).map((n) => `user-${n}`);
const stepOf = (action: Step['do']) => user.map((name) => ({ do: action, user: name }) as Step);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: stepOf('wait') },
  { weight: 4, arbitrary: stepOf('join') },
  { weight: 5, arbitrary: stepOf('leave') },
  { weight: 3, arbitrary: stepOf('lapse') },
  { weight: 2, arbitrary: stepOf('lose') },
  { weight: 2, arbitrary: stepOf('cron') },
);
const race = fc.record({
  places: fc.integer({ min: 1, max: 4 }),
  stock: fc.integer({ min: 3, max: 9 }),
  end: fc.constantFrom('cancel' as const, 'expire' as const),
  /** The steps of a wave run concurrently, and the waves one after the other. */
  waves: fc.array(fc.array(step, { minLength: 4, maxLength: 14 }), { minLength: 2, maxLength: 5 }),
});

async function runStep(campaignId: string, action: Step) {
  switch (action.do) {
    case 'join':
    case 'wait': {
      const { status, body } = await fixture.join(campaignId, action.user, { waitlist: action.do === 'wait' });
      if (status === 202) expect([action.do, body.state]).toEqual(['wait', 'waiting']);
      else if (status !== 201) {
        const refusals = action.do === 'wait' ? [] : ['campaign_full'];
        expect([...refusals, 'insufficient_inventory', 'campaign_not_open']).toContain(body.code);
      }
      return;
    }
    case 'leave': {
      const { status, body } = await fixture.leave(campaignId, action.user);
      // A place of a campaign that is being cancelled is released without leaving it.
      if (status !== 200) expect(['not_found', 'campaign_not_open']).toContain(body.code);
      return;
    }
    case 'lapse': // the time of this user's offer is over
      await store.database.query(
        `update group_commerce.waiting_places set offered_until = now() - interval '1 second'
         where campaign_id = $1 and user_id = $2 and state = 'offered'`,
        [campaignId, action.user],
      );
      return store.cron();
    case 'lose': // the payment of this user's place was not secured in time
      await store.database.query(
        `update group_commerce.participants set secure_by = now() - interval '1 second'
         where campaign_id = $1 and user_id = $2 and state = 'joined'`,
        [campaignId, action.user],
      );
      return store.cron();
    case 'cancel': {
      const { status } = await store.send('POST', `/v1/campaigns/${campaignId}/cancel`);
      expect(status).toBe(200);
      return;
    }
    case 'expire':
      await store.database.query(
        `update group_commerce.group_commerce_campaigns set end_time = now() - interval '1 second' where id = $1`,
        [campaignId],
      );
      return store.cron();
    default:
      return store.cron();
  }
}

let races = 0;

test('joins, leaves, offers that are taken or lapse, and lost places at once violate no invariant', async () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  console.log(`waiting list races: SEED=${seed}`);
  await fc.assert(
    fc.asyncProperty(race, async ({ places, stock, end, waves }) => {
      const campaign = await start(`LINE-${++races}`, stock, places);
      for (const wave of waves) {
        await Promise.all(wave.map((action) => runStep(campaign.id, action)));
        await audit(campaign, stock);
      }
      // The end, while others still join and leave.
      await Promise.all([{ do: end } as Step, ...(waves[0] ?? [])].map((action) => runStep(campaign.id, action)));
      await until(async () => {
        await store.cron();
        const { inLine } = await audit(campaign, stock);
        return inLine.length === 0;
      });
    }),
    { seed, numRuns: Number(process.env.RUNS ?? 12), endOnFailure: true },
  );
}, 300_000);
