import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { oneLine, type Store, startStore } from '../support/harness.ts';
import { relayConnection, seqsOf, stopQueues } from '../support/outbox.ts';
import { jobSecret } from '../support/secrets.ts';

let store: Store;
const keys: Record<string, string> = {};
const tenants = ['acme', 'default'] as const;
beforeAll(async () => {
  store = await startStore();
  keys.default = store.key;
  keys.acme = await store.database.key({ tenant: 'acme' });
  // The consumers receive nothing, so that the jobs find all the work.
  await stopQueues(store.database);
});
afterAll(() => store.close());

const minutes = (count: number) => new Date(Date.now() + count * 60_000);
const call = async (tenant: string, method: string, path: string, body?: unknown, headers = {}) => {
  const reply = await store.send(method, path, body, { key: keys[tenant] ?? '', headers });
  expect(reply.status).toBeLessThan(300);
  return reply.body;
};

/**
 * Makes rows of a table fail on update (or delete), as if they were corrupt. Without `condition`, all rows of acme fail.
 */
async function makeRowsFail(table: string, event = 'update', condition = "old.tenant_id = 'acme'") {
  await store.database.query(`create or replace function public.spoilt() returns trigger language plpgsql as $$
    begin raise exception using errcode = '23514', constraint = 'spoilt_row', message = 'spoilt'; end $$`);
  await store.database.query(
    `create trigger spoilt before ${event} on ${table} for each row
     when (${condition}) execute function public.spoilt()`,
  );
  return () => store.database.query('drop function public.spoilt cascade');
}

/** The names of the jobs that have set aside rows of acme. */
const jobsWithFailedRows = async (): Promise<string[]> => {
  const { data } = await call('acme', 'GET', '/v1/dead-letters');
  const openDeadLetters = data.filter((deadLetter: { replayedAt: string | null }) => deadLetter.replayedAt === null);
  for (const deadLetter of openDeadLetters) expect(deadLetter.reason).toContain('spoilt_row');
  return [...new Set<string>(openDeadLetters.map((deadLetter: { sink: string }) => deadLetter.sink))].sort();
};

const createProduct = async (tenant: string, sku: string) =>
  call(tenant, 'POST', '/v1/products', { sku, name: sku, price: 20, currency: 'USD', inventory: 10 });
const statusOf = async (tenant: string, id: string) => (await call(tenant, 'GET', `/v1/orders/${id}`)).status;

test('expiring and deciding holds: failing rows are set aside, other tenants are not affected, and the rows recover', async () => {
  const held: Record<string, string> = {};
  const pending: Record<string, string> = {};
  for (const tenant of tenants) {
    await createProduct(tenant, 'HOLD');
    held[tenant] = (await call(tenant, 'POST', '/v1/orders', oneLine('HOLD'))).id;
    pending[tenant] = (await call(tenant, 'POST', '/v1/orders', oneLine('HOLD'), { prefer: 'respond-async' })).id;
  }
  const repair = await makeRowsFail('inventory.reservations');
  await store.cron('* * * * *', minutes(20));
  expect(await statusOf('default', held.default ?? '')).toBe('failed');
  expect((await call('default', 'GET', `/v1/orders/${pending.default}`)).reservation.status).toBe('held');
  expect(await statusOf('acme', held.acme ?? '')).toBe('created');
  expect(await jobsWithFailedRows()).toEqual(['decide-forgotten', 'expire-holds']);
  await repair();
  await store.cron('* * * * *', minutes(30));
  expect(await statusOf('acme', held.acme ?? '')).toBe('failed');
  expect((await call('acme', 'GET', `/v1/orders/${pending.acme}`)).reservation.status).toBe('held');
  expect(await jobsWithFailedRows()).toEqual([]);
});

/** Creates a campaign for each tenant, with two places whose payments are not secured. Returns their ids by tenant. */
async function createCampaigns(sku: string, fields: Record<string, unknown>) {
  const campaignIds: Record<string, string> = {};
  for (const tenant of tenants) {
    const { id: productId } = await createProduct(tenant, sku);
    const campaign = await call(tenant, 'POST', '/v1/campaigns', {
      productId,
      minParticipants: 3,
      maxParticipants: 9,
      price: 10,
      startTime: minutes(-1).toISOString(),
      endTime: minutes(600).toISOString(),
      ...fields,
    });
    campaignIds[tenant] = campaign.id;
    for (const userId of ['ada', 'bob']) await call(tenant, 'POST', `/v1/campaigns/${campaign.id}/join`, { userId });
  }
  return campaignIds;
}
const statesOf = async (id: string | undefined) =>
  (
    await store.database.query<{ state: string }>(
      'select distinct state from group_commerce.participants where campaign_id = $1',
      [id],
    )
  ).map((row) => row.state);

test('ending campaigns and processing places: failing rows are set aside, other tenants are not affected, and the rows recover', async () => {
  const [ending, unsecured, cancelled, successful] = [
    await createCampaigns('ENDS', { endTime: minutes(5).toISOString() }),
    await createCampaigns('UNSECURED', {}),
    await createCampaigns('CANCELLED', {}),
    await createCampaigns('WON', { minParticipants: 2, successOn: 'joined' }),
  ];
  for (const tenant of tenants) await call(tenant, 'POST', `/v1/campaigns/${cancelled[tenant]}/cancel`);
  const repair = await makeRowsFail('group_commerce.participants');
  const result = await store.database.query(
    `create trigger spoilt before update on group_commerce.group_commerce_campaigns for each row
     when (old.tenant_id = 'acme' and old.id = '${ending.acme}') execute function public.spoilt()`,
  );
  expect(result).toEqual([]);
  // The first turn creates the intents, because the queue is stopped. A later turn queries Stripe about them.
  for (const offset of [60, 66, 72]) await store.cron('* * * * *', minutes(offset));
  const outcomeOf = async (tenant: string) => ({
    ending: (await call(tenant, 'GET', `/v1/campaigns/${ending[tenant]}`)).status,
    unsecured: await statesOf(unsecured[tenant]),
    cancelled: await statesOf(cancelled[tenant]),
    successful: await statesOf(successful[tenant]),
  });
  const expected = { ending: 'expired', unsecured: ['released'], cancelled: ['released'], successful: ['ordered'] };
  expect(await outcomeOf('default')).toEqual(expected);
  expect((await outcomeOf('acme')).ending).toBe('active');
  expect(await statesOf(cancelled.acme)).toEqual(['joined']);
  const { data } = await call('acme', 'GET', '/v1/dead-letters');
  expect(data.some((deadLetter: { sink: string }) => deadLetter.sink === 'campaigns')).toBe(true);
  await repair();
  for (const offset of [200, 205]) await store.cron('* * * * *', minutes(offset));
  expect(await outcomeOf('acme')).toEqual(expected);
});

test('rows that cannot be deleted do not stop the purge of another tenant’s old rows', async () => {
  const insertOldRows = `insert into platform.inbox (tenant_id, consumer, event_id, applied_at)
    select t, 'orders', 'old-' || t || n, now() - interval '31 days' from unnest(array['acme', 'default']) t, generate_series(1, 3) n`;
  await store.database.query(insertOldRows);
  const repair = await makeRowsFail('platform.inbox', 'delete');
  await store.cron('17 * * * *');
  const remaining = () =>
    store.database.query(
      `select tenant_id, count(*)::int as n from platform.inbox where event_id like 'old-%' group by 1 order by 1`,
    );
  expect(await remaining()).toEqual([{ tenant_id: 'acme', n: 3 }]);
  await repair();
  expect(await jobsWithFailedRows()).toContain('purge');
  await store.cron('17 * * * *', minutes(120));
  expect(await remaining()).toEqual([]);
  expect(await jobsWithFailedRows()).not.toContain('purge');
});

test('the dead letter of a job is closed when the row no longer needs the job', async () => {
  await createProduct('acme', 'ENDED');
  const orderId = (await call('acme', 'POST', '/v1/orders', oneLine('ENDED'))).id;
  for (const job of ['expire-holds', 'decide-forgotten']) {
    await store.database.query('select platform.note_failed_row($1, $2)', [
      { jobSecret },
      { job, tenant: 'acme', key: orderId, reason: 'spoilt_row' },
    ]);
  }
  const jobs = ['decide-forgotten', 'expire-holds'];
  expect(await jobsWithFailedRows()).toEqual(expect.arrayContaining(jobs));
  await call('acme', 'POST', `/v1/orders/${orderId}/cancel`, {});
  await store.cron('* * * * *', minutes(5));
  expect((await jobsWithFailedRows()).filter((job) => jobs.includes(job))).toEqual([]);
});

const openDeadLetters = (sink: string) =>
  store.database.query<{ tenant_id: string; event_id: string; reason: string }>(
    'select tenant_id, event_id, reason from platform.dead_letters where sink = $1 and replayed_at is null order by seq, event_id',
    [sink],
  );

/** Orders of each tenant whose label must be created, or voided if `isVoid` is set. */
async function addLabels(name: string, count: number, isVoid: boolean) {
  for (const tenant of tenants) {
    const values = [tenant, name, count, isVoid];
    await store.database.query(
      `with made as (
         insert into orders.orders (id, tenant_id, customer_id, items, total, currency, status, created_at, updated_at)
         select $2::text || '-' || $1::text || '-' || n, $1, 'c', '[]', 0, 'USD',
           case when $4 then 'cancelled' else 'confirmed' end, now(), now() from generate_series(1, $3::int) n returning id
       ), requested_labels as (
         insert into shipping.label_requests (order_id, tenant_id, shipment_id, status, address, sender, attempts, tried_at, created_at)
         select id, $1, 's-' || id, case when $4 then 'made' else 'open' end, '{}', '{}', 1, now() - interval '1 hour', now() from made
       )
       insert into shipping.label_voids (shipment_id, tenant_id, order_id, provider, carrier, tracking_number, status, due_at, created_at)
       select 's-' || id, $1, id, 'manual', 'manual', 'T-' || id, 'open', now(), now() from made where $4`,
      values,
    );
  }
}

test('reminding of labels: a failing row is set aside, and the others get their message', async () => {
  await addLabels('remind', 3, false);
  const repair = await makeRowsFail('shipping.label_requests', 'update', `old.order_id = 'remind-acme-2'`);
  const ordersWithLabelRequest = async () =>
    (
      await store.database.query<{ key: string }>(
        `select key from platform.events where topic = 'shipping.label.requested' order by key`,
      )
    ).map(({ key }) => key);
  await store.cron('* * * * *');
  const all = tenants.flatMap((tenant) => [1, 2, 3].map((n) => `remind-${tenant}-${n}`));
  expect(await ordersWithLabelRequest()).toEqual(all.filter((id) => id !== 'remind-acme-2'));
  expect(await openDeadLetters('remind-labels')).toMatchObject([
    { tenant_id: 'acme', event_id: 'remind-acme-2', reason: expect.stringContaining('spoilt_row') },
  ]);
  await repair();
  await store.cron('* * * * *', minutes(3));
  expect(await ordersWithLabelRequest()).toEqual(all);
  expect(await openDeadLetters('remind-labels')).toEqual([]);
});

test('voiding labels: rows that cannot be leased or updated are set aside, and the others are voided', async () => {
  await addLabels('void', 3, true);
  const repair = await makeRowsFail('shipping.label_voids', 'update', `old.order_id = 'void-acme-1'`);
  await store.database.query(
    `create trigger spoilt_too before update on shipping.label_voids for each row
     when (old.order_id = 'void-acme-2' and new.status = 'done') execute function public.spoilt()`,
  );
  const remaining = async () =>
    (
      await store.database.query<{ order_id: string }>(
        `select order_id from shipping.label_voids where status <> 'done' order by 1`,
      )
    ).map((row) => row.order_id);
  await store.cron('* * * * *', minutes(1));
  expect(await remaining()).toEqual(['void-acme-1', 'void-acme-2']);
  expect(await openDeadLetters('lease-voids')).toMatchObject([{ tenant_id: 'acme', event_id: 's-void-acme-1' }]);
  expect(await openDeadLetters('void-labels')).toMatchObject([{ tenant_id: 'acme', event_id: 's-void-acme-2' }]);
  await repair();
  await store.cron('* * * * *', minutes(10));
  expect(await remaining()).toEqual([]);
  expect([...(await openDeadLetters('lease-voids')), ...(await openDeadLetters('void-labels'))]).toEqual([]);
});

describe('an outbox row that fails in the database', () => {
  let relayed: Record<(typeof tenants)[number], number[]>;
  beforeEach(async () => {
    await store.database.query(
      `update platform.sinks set paused_until = case sink when 'queue' then timestamptz 'infinity' else '-infinity' end, failures = 0`,
    );
    await store.database.query(`delete from platform.outbox`);
    await store.database.query(`delete from platform.dead_letters where sink = 'relay'`);
    relayed = { acme: [], default: [] };
    for (const tenant of tenants) {
      const rows = await store.database.query<{ seq: string }>(
        `insert into platform.events (tenant_id, topic, key, payload, time)
         select $1::varchar, 'order.confirmed', $1::varchar || '-' || (n + 1) / 2, '{}', now() from generate_series(1, 6) n returning seq`,
        [tenant],
      );
      relayed[tenant] = rows.map(({ seq }) => Number(seq)).sort((a, b) => a - b);
    }
    await store.database.query(
      `insert into platform.outbox (sink, seq, tenant_id, key, due_at)
       select 'queue', seq, tenant_id, key, now() from platform.events where seq = any($1)`,
      [[...relayed.acme, ...relayed.default]],
    );
    await store.database.query(`update platform.sinks set paused_until = '-infinity' where sink = 'queue'`);
  });
  afterEach(async () => {
    await store.database.query(`delete from platform.outbox`);
    await stopQueues(store.database);
  });
  /** The first two rows of acme, which have the same key. The first one fails. */
  const failingKey = () => relayed.acme.slice(0, 2);
  const otherRows = () =>
    [...relayed.acme, ...relayed.default].filter((seq) => !failingKey().includes(seq)).sort((a, b) => a - b);
  const makeRowFail = (seq: number | undefined, event: string) =>
    makeRowsFail('platform.outbox', event, `old.seq = ${seq}`);
  const minutesLater = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString();

  test('when it is leased waits with its key: all others are delivered, and it is delivered once it is repaired', async () => {
    const repair = await makeRowFail(failingKey()[0], 'update');
    const relay = await relayConnection(store.database, 'A', 'queue');
    expect(seqsOf(await relay.turn())).toEqual(otherRows());
    expect(seqsOf(await relay.turn({ delivered: otherRows() }))).toEqual([]);
    expect(await openDeadLetters('relay')).toMatchObject([
      { tenant_id: 'acme', event_id: `queue ${failingKey()[0]}`, reason: expect.stringContaining('spoilt_row') },
    ]);
    await repair();
    const now = minutesLater(3);
    expect(seqsOf(await relay.turn({ now }))).toEqual(failingKey());
    await relay.turn({ now, delivered: failingKey() });
    expect(await openDeadLetters('relay')).toEqual([]);
  });

  test('when it is deleted is delivered again later, and the others are settled', async () => {
    const repair = await makeRowFail(failingKey()[0], 'delete');
    const relay = await relayConnection(store.database, 'A', 'queue');
    const all = seqsOf(await relay.turn());
    expect(all).toHaveLength(12);
    expect(seqsOf(await relay.turn({ delivered: all }))).toEqual([]);
    expect(await store.database.query('select seq::int from platform.outbox')).toEqual([{ seq: failingKey()[0] }]);
    expect(await openDeadLetters('relay')).toHaveLength(1);
    await repair();
    const now = minutesLater(3);
    expect(seqsOf(await relay.turn({ now }))).toEqual([failingKey()[0]]);
    await relay.turn({ now, delivered: failingKey().slice(0, 1) });
    expect(await openDeadLetters('relay')).toEqual([]);
  });

  test('when it is returned or given up does not affect the other rows', async () => {
    const repair = await makeRowFail(failingKey()[0], 'update or delete');
    await store.database.query('alter table platform.outbox disable trigger spoilt');
    const relay = await relayConnection(store.database, 'A', 'queue');
    const all = seqsOf(await relay.turn());
    await store.database.query('alter table platform.outbox enable trigger spoilt');
    const failed = all.map((seq) => ({ seq, error: 'refused', dead: true }));
    expect(seqsOf(await relay.turn({ failed }))).toEqual([]);
    expect(await openDeadLetters('queue')).toHaveLength(11);
    expect(await openDeadLetters('relay')).toMatchObject([{ event_id: `queue ${failingKey()[0]}` }]);
    await repair();
  });

  test('because its event is missing does not affect the other rows', async () => {
    await store.database.query('delete from platform.events where seq = $1', [failingKey()[0]]);
    const relay = await relayConnection(store.database, 'A', 'queue');
    expect(seqsOf(await relay.turn())).toEqual(otherRows());
    expect(await openDeadLetters('relay')).toMatchObject([{ event_id: `queue ${failingKey()[0]}` }]);
  });

  test('does not affect other tenants, even if no dead letter can be written', async () => {
    const repair = await makeRowsFail('platform.outbox');
    await store.database.query(
      `create trigger spoilt before insert on platform.dead_letters for each row when (new.tenant_id = 'acme') execute function public.spoilt()`,
    );
    const relay = await relayConnection(store.database, 'A', 'queue');
    expect(seqsOf(await relay.turn())).toEqual(relayed.default);
    await repair();
    expect(seqsOf(await relay.turn({ delivered: relayed.default }))).toEqual(relayed.acme);
  });
});

test('reconciling payments: a payment that cannot be updated is set aside, and the others are updated', async () => {
  await store.database.query(
    `insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id, stripe_payment_intent_id,
       intent_open, checked_at)
     select t || '-unknown', t || '-unknown', 10, 'USD', 'cancelled', t, 'pi_' || t || '_unknown', true,
       now() - interval '1 hour'
     from unnest(array['acme', 'default']) t`,
  );
  const repair = await makeRowsFail('payments.payments');
  await store.cron();
  const waiting = await store.database.query<{ tenant_id: string }>(
    `select tenant_id from payments.payments where payment_id like '%-unknown' and checked_at < now() - interval '50 minutes'`,
  );
  expect(waiting).toEqual([{ tenant_id: 'acme' }]);
  expect(await openDeadLetters('reconcile-payments')).toMatchObject([{ tenant_id: 'acme', event_id: 'acme-unknown' }]);
  await repair();
});
