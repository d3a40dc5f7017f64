import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Database, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { deliver, eventOf } from '../support/outbox.ts';

// The default cell's database raises for the tenant acme what it raises after, or during, a move to the cell c2.

let store: Store;
let moved: Database;
let key: string;
/** The calls that each cell's database got. */
const calls = { default: 0, c2: 0 };
beforeAll(async () => {
  store = await startStore({
    cells: ['c2'],
    neonFault: ({ connectionString }) => {
      calls[new URL(connectionString).pathname === new URL(moved.workerUrl).pathname ? 'c2' : 'default']++;
      return undefined;
    },
  });
  const c2 = store.cells.c2?.database;
  if (c2 === undefined) throw new Error('the store has no cell c2');
  moved = c2;
  await wrapEntrances();
  key = await movedKey();
});
afterAll(() => store.close());
beforeEach(() => {
  Object.assign(calls, { default: 0, c2: 0 });
});

/** A key of acme from before its move, which both cells know. */
async function movedKey(): Promise<string> {
  const made = await store.database.key({ tenant: 'acme' });
  const [row] = await store.database.query<{ key: object }>(
    `select to_jsonb(k) as key from platform.api_keys k where key_hash = encode(sha256($1::bytea), 'hex')`,
    [made],
  );
  await moved.query(
    'insert into platform.api_keys select * from jsonb_populate_record(null::platform.api_keys, $1::jsonb)',
    [JSON.stringify(row?.key)],
  );
  return made;
}

/** Puts a function before the one that identifies callers, and before the one that jobs begin with. */
async function wrapEntrances(): Promise<void> {
  const settings = 'security definer set search_path = pg_catalog, pg_temp';
  await store.database.query(
    `create function platform.raise_for_acme() returns void language sql as '';
     alter function platform.identify(jsonb, text, text[]) rename to identify_unwrapped;
     create function platform.identify(call jsonb, scope text, shoppers text[] default '{}')
     returns platform.api_keys language plpgsql ${settings} as $$
     declare
       api_key constant platform.api_keys := platform.identify_unwrapped(call, scope, shoppers);
     begin
       if api_key.tenant_id = 'acme' then
         perform platform.raise_for_acme();
       end if;
       return api_key;
     end $$;
     alter function platform.enter_as(jsonb, varchar) rename to enter_as_unwrapped;
     create function platform.enter_as(call jsonb, tenant varchar) returns void language plpgsql ${settings} as $$
     begin
       if tenant = 'acme' then
         perform platform.raise_for_acme();
       end if;
       perform platform.enter_as_unwrapped(call, tenant);
     end $$;
     alter function platform.identify owner to fusion_platform;
     alter function platform.enter_as owner to fusion_platform;
     alter function platform.raise_for_acme owner to fusion_platform`,
  );
}

/** Makes the default cell's database raise this for calls of acme, with its key or as a job. */
const raiseForAcme = (code: string, detail: object) =>
  store.database.query(
    `create or replace function platform.raise_for_acme() returns void language plpgsql as $$
     begin
       raise exception using errcode = 'FC000', message = '${code}', detail = '${JSON.stringify(detail)}';
     end $$`,
  );

const send = (method: string, path: string, body?: unknown) => store.send(method, path, body, { key });

test('while a tenant moves, its requests are unavailable for a moment, and the others go on', async () => {
  await raiseForAcme('unavailable', { reason: 'The tenant is being moved.' });
  const reply = await send('GET', '/v1/orders');
  expect([reply.status, reply.body.code, reply.body.detail]).toEqual([
    503,
    'unavailable',
    'The tenant is being moved.',
  ]);
  expect(Number(reply.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await store.send('GET', '/v1/orders')).status).toBe(200);
});

describe('after a tenant has moved', () => {
  beforeAll(() => raiseForAcme('moved', { tenant: 'acme', cell: 'c2' }));

  test('a key that it creates with an old key names the new cell, also if the Worker did not know of the move', async () => {
    const old = await movedKey();
    const { status, body } = await store.send('POST', '/v1/keys', { kind: 'secret' }, { key: old });
    expect([status, body.prefix]).toEqual([201, body.key.slice(0, 15)]);
    expect(body.key).toMatch(/^sk_live_c2_[0-9A-Za-z]{32}$/);
    expect(calls.default).toBeGreaterThan(0);
    expect((await store.send('GET', '/v1/products', undefined, { key: body.key })).status).toBe(200);
  });

  test('a request with its old key is answered by its new cell, and later ones go there at once', async () => {
    const product = { sku: 'NEW', name: 'New', price: 10, currency: 'USD', inventory: 5 };
    expect((await send('POST', '/v1/products', product)).status).toBe(201);
    expect(calls.default).toBeGreaterThan(0);
    expect(await moved.query(`select from catalog.products where sku = 'NEW'`)).toHaveLength(1);
    expect(await store.database.query(`select from catalog.products where sku = 'NEW'`)).toHaveLength(0);
    await store.settled();
    await store.settled(moved);
    calls.default = 0;
    for (let n = 0; n < 3; n++) expect((await send('GET', '/v1/orders')).status).toBe(200);
    expect(calls.default).toBe(0);
  });

  test('a write that is repeated in the new cell happens once, and is no replay', async () => {
    const idempotencyKey = 'moved-once';
    const other = await store.database.key({ tenant: 'acme' });
    const [row] = await store.database.query<{ key: object }>(
      `select to_jsonb(k) as key from platform.api_keys k where tenant_id = 'acme' order by created_at desc limit 1`,
    );
    await moved.query(
      'insert into platform.api_keys select * from jsonb_populate_record(null::platform.api_keys, $1::jsonb) on conflict do nothing',
      [JSON.stringify(row?.key)],
    );
    const first = await store.send('POST', '/v1/orders', oneLine('NEW'), { key: other, idempotencyKey });
    expect([first.status, first.headers.get('idempotent-replayed')]).toEqual([201, null]);
    const again = await store.send('POST', '/v1/orders', oneLine('NEW'), { key: other, idempotencyKey });
    expect([again.body.id, again.headers.get('idempotent-replayed')]).toEqual([first.body.id, 'true']);
  });

  test('its events are published as events of its new cell', async () => {
    const { body } = await send('POST', '/v1/orders', oneLine('NEW'));
    const recordOf = () => [...store.kafka.read('order.created')].find((record) => record.key === body.id);
    await until(() => recordOf() !== undefined);
    const headers = Object.fromEntries((recordOf()?.headers ?? []).map(({ key: name, value }) => [name, value]));
    expect(headers).toMatchObject({ ce_cell: 'c2', ce_tenantid: 'acme' });
  });

  test('a message that was sent before the move is applied in the new cell', async () => {
    await moved.query(`update platform.sinks set paused_until = 'infinity' where sink = 'queue'`);
    const { body } = await store.send('POST', '/v1/orders', oneLine('NEW'), {
      key,
      headers: { prefer: 'respond-async' },
    });
    const event = await eventOf(moved, body.id, 'order.created');
    const delivered = await deliver(store, 'fusioncommerce-inventory', [{ id: 'old', body: event }]);
    expect(delivered.acknowledged).toEqual(['old']);
    const [row] = await moved.query('select status from inventory.reservations where order_id = $1', [body.id]);
    expect(row).toEqual({ status: 'held' });
  });

  test('a move to a cell that this Worker does not know makes only that tenant unavailable', async () => {
    await raiseForAcme('moved', { tenant: 'acme', cell: 'us1' });
    const unseen = await store.database.key({ tenant: 'acme' });
    expect((await store.send('GET', '/v1/orders', undefined, { key: unseen })).status).toBe(503);
    expect((await store.send('GET', '/v1/orders')).status).toBe(200);
  });

  test('two cells that send a tenant to each other make it unavailable', async () => {
    await raiseForAcme('moved', { tenant: 'acme', cell: null });
    const unseen = await store.database.key({ tenant: 'acme' });
    calls.default = 0;
    expect((await store.send('GET', '/v1/orders', undefined, { key: unseen })).status).toBe(503);
    expect(calls.default).toBeLessThan(10);
  });
});
