import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { teamFixture } from '../support/teams.ts';

/** `TEAMS=10000 npx vitest run …` measures more teams than CI has time for. */
const teamsDue = Number(process.env.TEAMS ?? 100);
const memberCount = 2;

let store: Store;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
});
afterAll(() => store.close());

/** Inserts teams of one tenant, whose time is over in an hour. */
async function fillTeams(of: Store, sku: string, count: number): Promise<void> {
  const teams = teamFixture(of, campaignFixture(of));
  const campaign = await teams.start(sku, 1, { maxPerCustomer: 1 });
  await store.database.query('update inventory.inventory set quantity = $2 where sku = $1', [
    sku,
    (memberCount + 1) * count,
  ]);
  await teams.fill(campaign.id, count, memberCount);
}

/** Gives each payment an intent at Stripe that its buyer can still pay. */
async function addIntents(): Promise<void> {
  const payments = await store.database.query<{ paymentId: string; orderId: string; tenant: string; id: string }>(
    `with opened as (
       update payments.payments
       set stripe_payment_intent_id = 'pi_' || replace(payment_id, '-', ''), intent_open = true, client_secret = 'secret'
       returning *
     ), intents as (
       insert into payments.intents (stripe_id, tenant_id, payment_id, amount, currency, status, created_at)
       select stripe_payment_intent_id, tenant_id, payment_id, amount, currency, 'requires_payment_method', now()
       from opened
     )
     select payment_id as "paymentId", order_id as "orderId", tenant_id as tenant, stripe_payment_intent_id as id
     from opened`,
  );
  const { emulator } = paymentFixture(store);
  for (let from = 0; from < payments.length; from += 1_000) {
    const intents = payments
      .slice(from, from + 1_000)
      .map(({ id, ...metadata }) => ({ id, amount: 2_000, currency: 'usd', metadata }));
    await emulator('POST', 'intents', { intents });
  }
}

type Left = { places: number; small: number; intents: number };
const readLeft = async (): Promise<Left> => {
  const [left] = await store.database.query<Left>(
    `select (select sum(reserved)::int from inventory.inventory where sku = 'QUEUE') as places,
       (select sum(reserved)::int from inventory.inventory where sku = 'QUEUE-SMALL') as small,
       (select count(*)::int from payments.payments where intent_open) as intents`,
  );
  if (!left) throw new Error('there is no count');
  return left;
};

test('many teams that expire at once are released, and their payments end at Stripe, beside those of another tenant', {
  timeout: 300 * Math.max(teamsDue, 400),
}, async () => {
  const acmeKey = await store.database.key({ tenant: 'acme' });
  const acme: Store = {
    ...store,
    send: (method, path, body, more) => store.send(method, path, body, { ...more, key: acmeKey }),
  };
  await fillTeams(store, 'QUEUE', teamsDue);
  await fillTeams(acme, 'QUEUE-SMALL', 10);
  await addIntents();
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1_000);
  const doneAfter = new Map<keyof Left, number>();
  let crons = 0;
  let running = Promise.resolve();
  while (doneAfter.size < 3) {
    if (seconds() >= 60 * crons) {
      crons++;
      const at = new Date(started + (60 + crons) * 60_000);
      running = running.then(() => store.cron('* * * * *', at));
    }
    for (const [what, left] of Object.entries(await readLeft()) as [keyof Left, number][]) {
      if (left === 0 && !doneAfter.has(what)) doneAfter.set(what, seconds());
    }
    await sleep(250);
  }
  await running;
  console.log(`${teamsDue} teams, ${crons} crons. Seconds until all is done:`, Object.fromEntries(doneAfter));
  await store.settled();
  const teams = await store.database.query(
    'select status, settled_at is not null as settled, count(*)::int from group_commerce.teams group by 1, 2',
  );
  expect(teams).toEqual([{ status: 'expired', settled: true, count: teamsDue + 10 }]);
  const payments = await store.database.query(
    'select status, stripe_status, count(*)::int from payments.payments group by 1, 2',
  );
  expect(payments).toEqual([{ status: 'cancelled', stripe_status: 'canceled', count: memberCount * (teamsDue + 10) }]);
  const { intents } = await paymentFixture(store).state();
  expect(intents.filter((intent) => intent.status !== 'canceled')).toEqual([]);
  expect(intents).toHaveLength(memberCount * (teamsDue + 10));
});
