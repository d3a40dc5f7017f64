import { afterAll, beforeAll, expect, test } from 'vitest';
import { oneLine, type Store, startStore } from './harness.ts';
import { stopQueues } from './outbox-rig.ts';

let store: Store;
const keys: Record<string, string> = {};
const tenants = ['acme', 'default'] as const;
beforeAll(async () => {
  store = await startStore();
  keys.default = store.key;
  keys.acme = await store.database.key({ tenant: 'acme' });
  // Nothing reaches the consumers, so that the jobs find all of it.
  await stopQueues(store.database);
});
afterAll(() => store.close());

const minutes = (count: number) => new Date(Date.now() + count * 60_000);
const call = async (tenant: string, method: string, path: string, body?: unknown, headers = {}) => {
  const reply = await store.send(method, path, body, { key: keys[tenant] ?? '', headers });
  expect(reply.status).toBeLessThan(300);
  return reply.body;
};

/** Rows of acme in a table cannot be changed (or deleted), as if one of them were spoilt. */
async function spoil(table: string, event: 'update' | 'delete' = 'update') {
  await store.database.query(`create or replace function public.spoilt() returns trigger language plpgsql as $$
    begin raise exception using errcode = '23514', constraint = 'spoilt_row', message = 'spoilt'; end $$`);
  await store.database.query(
    `create trigger spoilt before ${event} on ${table} for each row when (old.tenant_id = 'acme') execute function public.spoilt()`,
  );
  return () => store.database.query('drop function public.spoilt cascade');
}

/** The jobs that tell acme of rows that they could not process. */
const aside = async (): Promise<string[]> => {
  const { data } = await call('acme', 'GET', '/v1/dead-letters');
  const open = data.filter((letter: { replayedAt: string | null }) => letter.replayedAt === null);
  for (const letter of open) expect(letter.reason).toContain('spoilt_row');
  return [...new Set<string>(open.map((letter: { sink: string }) => letter.sink))].sort();
};

const product = async (tenant: string, sku: string) =>
  call(tenant, 'POST', '/v1/products', { sku, name: sku, price: 20, currency: 'USD', inventory: 10 });
const statusOf = async (tenant: string, id: string) => (await call(tenant, 'GET', `/v1/orders/${id}`)).status;

test('holds that end, and holds that nobody decided: the other tenant’s go on, and the bad ones once they are whole', async () => {
  const held: Record<string, string> = {};
  const pending: Record<string, string> = {};
  for (const tenant of tenants) {
    await product(tenant, 'HOLD');
    held[tenant] = (await call(tenant, 'POST', '/v1/orders', oneLine('HOLD'))).id;
    pending[tenant] = (await call(tenant, 'POST', '/v1/orders', oneLine('HOLD'), { prefer: 'respond-async' })).id;
  }
  const heal = await spoil('inventory.reservations');
  await store.cron('* * * * *', minutes(20));
  expect(await statusOf('default', held.default ?? '')).toBe('failed');
  expect((await call('default', 'GET', `/v1/orders/${pending.default}`)).reservation.status).toBe('held');
  expect(await statusOf('acme', held.acme ?? '')).toBe('created');
  expect(await aside()).toEqual(['decide-forgotten', 'expire-holds']);
  await heal();
  await store.cron('* * * * *', minutes(30));
  expect(await statusOf('acme', held.acme ?? '')).toBe('failed');
  expect((await call('acme', 'GET', `/v1/orders/${pending.acme}`)).reservation.status).toBe('held');
  expect(await aside()).toEqual([]);
});

/** A campaign of each tenant with two places whose money nobody has secured. */
async function campaigns(sku: string, more: Record<string, unknown>) {
  const made: Record<string, string> = {};
  for (const tenant of tenants) {
    const { id: productId } = await product(tenant, sku);
    const campaign = await call(tenant, 'POST', '/v1/campaigns', {
      productId,
      minParticipants: 3,
      maxParticipants: 9,
      price: 10,
      startTime: minutes(-1).toISOString(),
      endTime: minutes(600).toISOString(),
      ...more,
    });
    made[tenant] = campaign.id;
    for (const userId of ['ada', 'bob']) await call(tenant, 'POST', `/v1/campaigns/${campaign.id}/join`, { userId });
  }
  return made;
}
const statesOf = async (id: string | undefined) =>
  (
    await store.database.query<{ state: string }>(
      'select distinct state from group_commerce.participants where campaign_id = $1',
      [id],
    )
  ).map((row) => row.state);

test('campaigns that end, and places: unsecured, to be released, to be ordered', async () => {
  const [ends, unsecured, cancelled, won] = [
    await campaigns('ENDS', { endTime: minutes(5).toISOString() }),
    await campaigns('UNSECURED', {}),
    await campaigns('CANCELLED', {}),
    await campaigns('WON', { minParticipants: 2, successOn: 'joined' }),
  ];
  for (const tenant of tenants) await call(tenant, 'POST', `/v1/campaigns/${cancelled[tenant]}/cancel`);
  const heal = await spoil('group_commerce.participants');
  const healToo = await store.database.query(
    `create trigger spoilt before update on group_commerce.group_commerce_campaigns for each row
     when (old.tenant_id = 'acme' and old.id = '${ends.acme}') execute function public.spoilt()`,
  );
  expect(healToo).toEqual([]);
  // The first turn makes the intents that the stopped queue did not, and a later one asks Stripe about them.
  for (const later of [60, 66, 72]) await store.cron('* * * * *', minutes(later));
  const outcome = async (tenant: string) => ({
    ends: (await call(tenant, 'GET', `/v1/campaigns/${ends[tenant]}`)).status,
    unsecured: await statesOf(unsecured[tenant]),
    cancelled: await statesOf(cancelled[tenant]),
    won: await statesOf(won[tenant]),
  });
  const done = { ends: 'expired', unsecured: ['released'], cancelled: ['released'], won: ['ordered'] };
  expect(await outcome('default')).toEqual(done);
  expect((await outcome('acme')).ends).toBe('active');
  expect(await statesOf(cancelled.acme)).toEqual(['joined']);
  const { data } = await call('acme', 'GET', '/v1/dead-letters');
  expect(data.some((letter: { sink: string }) => letter.sink === 'campaigns')).toBe(true);
  await heal();
  for (const later of [200, 205]) await store.cron('* * * * *', minutes(later));
  expect(await outcome('acme')).toEqual(done);
});

test('rows that cannot be deleted keep no other tenant’s old rows', async () => {
  const old = `insert into platform.inbox (tenant_id, consumer, event_id, applied_at)
    select t, 'orders', 'old-' || t || n, now() - interval '31 days' from unnest(array['acme', 'default']) t, generate_series(1, 3) n`;
  await store.database.query(old);
  const heal = await spoil('platform.inbox', 'delete');
  await store.cron('17 * * * *');
  const left = () =>
    store.database.query(
      `select tenant_id, count(*)::int as n from platform.inbox where event_id like 'old-%' group by 1 order by 1`,
    );
  expect(await left()).toEqual([{ tenant_id: 'acme', n: 3 }]);
  await heal();
  await store.cron('17 * * * *', minutes(120));
  expect(await left()).toEqual([]);
});
