import { createHash, randomBytes, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCart } from '../support/carts.ts';
import {
  addProduct,
  createDatabase,
  type Database,
  oneLine,
  type Store,
  startStore,
  until,
} from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { jobSecret } from '../support/secrets.ts';
import { fillTables, findTables, services } from '../support/tenant-rows.ts';

// An attacker has the Worker’s connection string and nothing else. Each test checks a claim of docs/security.md.

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const far = '2099-01-01T00:00:00Z';

let database: Database;
/** The superuser, who sees all rows. */
let owner: pg.Client;
let attacker: pg.Client;
let keys: { acme: string; publishable: string; revoked: string };
let tables: string[];

beforeAll(async () => {
  database = await createDatabase();
  owner = new pg.Client(database.url);
  await owner.connect();
  const { pathname } = new URL(database.url);
  await owner.query(`revoke temporary on database ${pathname.slice(1)} from public`); // a copy of a database does not keep that
  await owner.query('update platform.security set passed_clock = false'); // as in production
  await fillTables(owner, { default: 2, acme: 3 });
  tables = (await findTables(owner)).map(({ table }) => table);
  keys = {
    acme: await database.key({ tenant: 'acme' }),
    publishable: await database.key({ tenant: 'acme', kind: 'publishable' }),
    revoked: await database.key({ tenant: 'acme', revokedAt: new Date('2026-01-31T00:00:00Z') }),
  };
  attacker = new pg.Client(database.workerUrl);
  await attacker.connect();
});
afterAll(async () => {
  await attacker.end();
  await owner.end();
  await database.drop();
});

/** The SQLSTATE that the attacker’s statement fails with, or the rows that it returned. */
const attempt = async (text: string, values?: unknown[]): Promise<string | pg.QueryResultRow[]> => {
  await attacker.query('savepoint attempt');
  return attacker.query(text, values).then(
    async ({ rows }) => {
      await attacker.query('release savepoint attempt');
      return rows;
    },
    async ({ code }: pg.DatabaseError) => {
      await attacker.query('rollback to savepoint attempt');
      return String(code);
    },
  );
};

/** Runs in one transaction of the attacker’s, which is rolled back. */
async function inTransaction<T>(work: () => Promise<T>): Promise<T> {
  await attacker.query('begin');
  try {
    return await work();
  } finally {
    await attacker.query('rollback');
  }
}

const set = (name: string, value: string) => attacker.query('select set_config($1, $2, true)', [name, value]);
const authenticate = (key: string, scope: string, more: object = {}) =>
  attacker.query('select platform.authenticate($1, $2)', [{ keyHash: sha256(key), ...more }, scope]);
const proofNow = async (): Promise<string> =>
  (await attacker.query<{ proof: string }>(`select current_setting('app.proof', true) as proof`)).rows[0]?.proof ?? '';

/** The number of rows of each tenant that a table shows, or the SQLSTATE. */
async function rowsByTenant(table: string): Promise<unknown> {
  const rows = await attempt(`select tenant_id, count(*)::int as n from ${table} group by 1`);
  return typeof rows === 'string' ? rows : Object.fromEntries(rows.map(({ tenant_id, n }) => [tenant_id, n]));
}

/** The tables in which any row is visible. */
async function readableTables(): Promise<string[]> {
  const found: string[] = [];
  for (const table of tables) {
    const rows = await rowsByTenant(table);
    if (rows !== '42501' && JSON.stringify(rows) !== '{}') found.push(table);
  }
  return found;
}

describe('a login without a key', () => {
  const forged = [
    '',
    'acme',
    'acme orders:read',
    `acme orders:read ${'0'.repeat(64)}`,
    `acme orders:read ${randomBytes(32).toString('hex')}`,
    'acme orders:read *',
    ' orders:read ',
  ];
  test.each(['fusion_worker', 'fusion_reader'])(
    'reads no row as %s, whatever settings it makes first',
    async (role) => {
      for (const tenant of ['acme', 'default', '*', '']) {
        for (const proof of forged) {
          const found = await inTransaction(async () => {
            await set('app.tenant_id', tenant);
            await set('app.proof', proof);
            await set('app.key_hash', sha256(keys.acme));
            await set('app.now', far);
            await attacker.query(`set local role ${role}`);
            return readableTables();
          });
          expect([tenant, proof, found]).toEqual([tenant, proof, []]);
        }
      }
    },
    60_000,
  );

  test('reads no row by settings of its session, a cursor, a subquery, a prepared statement or the search', async () => {
    await attacker.query(`select set_config('app.tenant_id', 'acme', false), set_config('app.proof', $1, false)`, [
      `acme catalog:read ${'0'.repeat(64)}`,
    ]);
    await attacker.query('set role fusion_reader');
    try {
      await attacker.query('begin');
      expect(await readableTables()).toEqual([]);
      await attacker.query('declare c cursor for select * from orders.orders');
      expect(await attempt('fetch all from c')).toEqual([]);
      await attacker.query('prepare p as select * from catalog.products');
      for (let run = 0; run < 7; run++) expect(await attempt('execute p')).toEqual([]);
      expect(await attempt(`select catalog.search_products('a', null, null, 100)`)).toEqual([]);
      for (const sort of ['newest', 'price', 'name'])
        expect(
          await attempt(`select catalog.walk_products(null, '${sort}', null, null, null, null, null, 100)`),
        ).toEqual([]);
      expect(
        await attempt(
          `select count(*)::int as n from orders.orders where id = any(array(select id from orders.orders))`,
        ),
      ).toEqual([{ n: 0 }]);
      expect(await attempt('set local row_security = off')).toEqual([]);
      expect(await attempt('select * from orders.orders')).toBe('42501');
    } finally {
      await attacker.query('rollback');
      await attacker.query('deallocate all');
      await attacker.query('discard all');
    }
  });

  test('finds nothing in the catalogs of PostgreSQL: no statistics of columns, no parameters of other sessions', async () => {
    await owner.query('analyze');
    const other = new pg.Client(database.workerUrl);
    await other.connect();
    const running = other.query('select pg_sleep(1), $1::text as secret', [jobSecret]);
    await inTransaction(async () => {
      for (const role of ['fusion_worker', 'fusion_reader']) {
        await attacker.query(`set local role ${role}`);
        const stats = `select tablename, attname from pg_stats where schemaname = any($1) and tablename = any($2)`;
        expect(await attempt(stats, [services, tables.map((table) => table.split('.')[1])])).toEqual([]);
        expect(await attempt('select * from pg_statistic')).toBe('42501');
        expect(await attempt('select * from pg_authid')).toBe('42501');
        expect(await attempt('select * from platform.security')).toBe('42501');
        expect(await attempt('select * from platform.job_secrets')).toBe('42501');
        const activity = await attempt('select * from pg_stat_activity');
        expect(JSON.stringify(activity)).not.toContain(jobSecret);
      }
    });
    await running;
    await other.end();
  });
});

describe('a login with a key of one tenant', () => {
  test('reads that tenant’s rows and no others, whatever settings it makes afterwards', async () => {
    await inTransaction(async () => {
      await authenticate(keys.acme, 'orders:read');
      await attacker.query('set local role fusion_reader');
      expect(await rowsByTenant('orders.orders')).toEqual({ acme: 3 });
      for (const tenant of ['default', '*', '']) {
        await set('app.tenant_id', tenant);
        expect(await readableTables()).toEqual([]);
        const proof = await proofNow();
        await set('app.proof', proof.replace('acme', 'default'));
        expect(await readableTables()).toEqual([]);
        await set('app.proof', proof);
      }
      await set('app.tenant_id', 'acme');
      expect(await rowsByTenant('orders.orders')).toEqual({ acme: 3 });
    });
  });

  test('reads no other tenant’s rows by changing the setting while a query runs', async () => {
    const during = [
      `select o.* from (select set_config('app.tenant_id', 'default', true) offset 0) s, orders.orders o`,
      `select o.* from (select set_config('app.tenant_id', 'default', true) offset 0) s, lateral (select * from orders.orders offset 0) o`,
      `with s as materialized (select set_config('app.tenant_id', 'default', true)) select o.* from s, orders.orders o`,
      `select o.*, set_config('app.tenant_id', 'default', true) from orders.orders o`,
      `select o.* from orders.orders o where set_config('app.tenant_id', 'default', true) <> ''`,
    ];
    for (const text of during) {
      for (const plan of ['', 'set local enable_seqscan = off', 'set local enable_indexscan = off']) {
        const rows = await inTransaction(async () => {
          await authenticate(keys.acme, 'orders:read');
          await attacker.query(`set local role fusion_reader; ${plan}`);
          return attempt(text);
        });
        const tenants = typeof rows === 'string' ? rows : rows.map((row) => row.tenant_id);
        expect([text, plan, JSON.stringify(tenants).includes('default')]).toEqual([text, plan, false]);
      }
    }
  });

  test('has a proof that ends with its transaction and works in no other session', async () => {
    let proof = '';
    await inTransaction(async () => {
      await authenticate(keys.acme, 'orders:read');
      proof = await proofNow();
      expect(proof).toMatch(/^acme orders:read [0-9a-f]{64}$/);
    });
    const other = new pg.Client(database.workerUrl);
    await other.connect();
    try {
      for (const session of [attacker, other]) {
        await session.query('begin');
        await session.query(`select set_config('app.tenant_id', 'acme', true), set_config('app.proof', $1, true)`, [
          proof,
        ]);
        await session.query('set local role fusion_reader');
        expect((await session.query('select * from orders.orders')).rows).toEqual([]);
        await session.query('rollback');
      }
    } finally {
      await other.end();
    }
  });

  test('reads only what its scope is for: a publishable key shows no order and no buyer', async () => {
    const open: Record<string, string[]> = {};
    for (const scope of ['catalog:read', 'campaigns:read']) {
      open[scope] = await inTransaction(async () => {
        await authenticate(keys.publishable, scope);
        await attacker.query('set local role fusion_reader');
        return readableTables();
      });
    }
    expect(open).toEqual({
      'catalog:read': [
        'catalog.collection_products',
        'catalog.collections',
        'catalog.product_groups',
        'catalog.products',
        'inventory.inventory',
      ],
      'campaigns:read': ['group_commerce.group_commerce_campaigns', 'group_commerce.teams'],
    });
    // Of a team it shows no member, and not the code that lets anybody join it.
    await inTransaction(async () => {
      await authenticate(keys.publishable, 'campaigns:read');
      await attacker.query('set local role fusion_reader');
      for (const column of ['leader', 'code', '*', 't']) {
        expect([column, await attempt(`select ${column} from group_commerce.teams t`)]).toEqual([column, '42501']);
      }
      expect(await attempt('select joined from group_commerce.teams')).toHaveLength(3);
    });
    await inTransaction(async () => {
      expect(
        await attempt('select platform.authenticate($1, $2)', [{ keyHash: sha256(keys.publishable) }, 'orders:read']),
      ).toBe('FC000');
    });
  });

  test('cannot reactivate a revoked key by claiming an earlier time', async () => {
    const call = { keyHash: sha256(keys.revoked), now: '2026-01-30T00:00:00Z' };
    await inTransaction(async () => {
      await set('app.now', '2026-01-30T00:00:00Z');
      expect(await attempt('select platform.authenticate($1, $2)', [call, 'orders:read'])).toBe('FC000');
    });
    // With passed_clock on, the claimed time works. So the result above depends on that switch.
    await owner.query('update platform.security set passed_clock = true');
    try {
      await inTransaction(async () => {
        expect(await attempt('select platform.authenticate($1, $2)', [call, 'orders:read'])).toHaveLength(1);
      });
    } finally {
      await owner.query('update platform.security set passed_clock = false');
    }
  });
});

describe('a login with a publishable key', () => {
  /** The id of a row of acme. */
  const someId = async (table: string, column = 'id') => {
    const [row] = (await owner.query(`select ${column} as id from ${table} where tenant_id = 'acme' limit 1`)).rows;
    return String(row?.id);
  };
  const call = (more: object = {}) => ({ keyHash: sha256(keys.publishable), ...more });

  test('reads no order, payment, shipment or customer, whatever shopper it claims to be', async () => {
    const customer = await someId('orders.orders', 'customer_id');
    const reads: [string, string][] = [
      ['orders.show_order', await someId('orders.orders')],
      ['orders.show_history', await someId('orders.orders')],
      ['orders.show_orders', await someId('orders.orders')],
      ['orders.show_customer', await someId('orders.customers')],
      ['payments.show_payment', await someId('payments.payments', 'payment_id')],
      ['shipping.show_shipment', await someId('shipping.shipments')],
    ];
    for (const [name, id] of reads) {
      for (const shopper of ['', '{}', JSON.stringify({ kind: 'session', customer }), 'null']) {
        for (const more of [{}, { session: true }, { shopper: true }, { cartHash: null }, { cartHash: '' }]) {
          const outcome = await inTransaction(async () => {
            await set('app.tenant_id', 'acme');
            await set('app.shopper', shopper);
            return attempt(`select ${name}($1::jsonb, $2::jsonb)`, [
              call(more),
              { id, limit: 10, customerId: customer },
            ]);
          });
          expect([name, shopper, more, outcome]).toEqual([name, shopper, more, 'FC000']);
        }
      }
    }
  });

  test('logs nobody in without the job secret, and makes no proof by checking a key', async () => {
    const identity = { issuer: 'https://id.example', audience: 'shop', subject: 'x', email: 'ada@example.com' };
    await owner.query(`update platform.tenants set oidc = $1 where id = 'acme'`, [
      { issuer: identity.issuer, audience: identity.audience },
    ]);
    const input = { identity, tokenHash: 'a'.repeat(64), newId: 'new', until: far };
    const open = (more: object) =>
      inTransaction(() => attempt('select orders.create_session($1::jsonb, $2::jsonb)', [call(more), input]));
    for (const more of [{}, { vouched: true }, { jobSecret: 'x' }, { jobSecret: '' }, { jobSecret: null }])
      expect([more, await open(more)]).toEqual([more, '28000']);
    expect(await open({ jobSecret })).toHaveLength(1);
    const customerId = await someId('orders.customers');
    expect(
      await inTransaction(() =>
        attempt('select orders.create_session($1::jsonb, $2::jsonb)', [
          call({ jobSecret }),
          { customerId, tokenHash: 'a'.repeat(64) },
        ]),
      ),
    ).toBe('FC000');
    const proof = await inTransaction(async () => {
      await attempt('select platform.check_key($1::jsonb, $2::jsonb)', [
        call(),
        { scope: 'orders:read', shoppers: ['publishable'] },
      ]);
      await attacker.query('set local role fusion_reader');
      return [await proofNow(), await readableTables()];
    });
    expect(proof).toEqual(['', []]);
  });
});

describe('a function', () => {
  type Callable = { name: string; args: string; kind: string; definer: boolean };
  const callable = async (): Promise<Callable[]> =>
    (
      await owner.query<Callable>(
        `select p.oid::regproc::text as name, pg_get_function_identity_arguments(p.oid) as args, p.prokind::text as kind,
           p.prosecdef as definer
         from pg_proc p where p.pronamespace::regnamespace::text = any($1) and p.prorettype <> 'trigger'::regtype
           and exists (select from unnest(array['fusion_worker', 'fusion_reader', 'public']) r
             where has_function_privilege(r, p.oid, 'EXECUTE')) order by 1`,
        [services],
      )
    ).rows;
  const snapshot = async (): Promise<string> => {
    const { rows } = await owner.query<{ name: string }>(
      `select c.oid::regclass::text as name from pg_class c where c.relkind in ('r', 'p')
         and c.relnamespace::regnamespace::text = any($1) order by 1`,
      [services],
    );
    const digests: string[] = [];
    for (const { name } of rows) {
      const [row] = (
        await owner.query(
          `select md5(coalesce(string_agg(t::text, e'\\n' order by t::text), '')) as sum from ${name} t`,
        )
      ).rows;
      digests.push(`${name} ${row?.sum}`);
    }
    return digests.join('\n');
  };

  test('that the login may call reads and changes nothing without a key or the job secret', async () => {
    const [product] = (await owner.query(`select id from catalog.products where tenant_id = 'acme'`)).rows;
    const [payment] = (await owner.query(`select payment_id as id from payments.payments where tenant_id = 'acme'`))
      .rows;
    const calls = [
      {},
      { now: far },
      { keyHash: '0'.repeat(64), idempotencyKey: 'k', requestHash: 'h', now: far },
      { keyHash: null, jobSecret: null },
      { keyHash: sha256(keys.revoked), now: '2026-01-30T00:00:00Z' },
      { jobSecret: '' },
      { jobSecret: sha256(jobSecret), now: far },
      { jobSecret: ['x'], tenant: 'acme' },
    ];
    const input = {
      tenant: 'acme',
      id: product?.id,
      sku: product?.id,
      paymentId: payment?.id,
      intent: { status: 'succeeded', received: 100 },
      sink: 'kafka',
      lease: 'attacker',
      limit: 1000,
      most: 1000,
      bytes: 1_000_000,
      seconds: 60,
      delivered: [1, 2, 3],
      failed: [],
      returned: [],
      messages: [],
      rows: [],
      scope: 'orders:write',
      operation: 'orders.place',
    };
    const functions = await callable();
    const writes = functions.filter(({ args }) => args === 'call jsonb, input jsonb');
    expect(writes.length).toBeGreaterThan(35);
    const before = await snapshot();
    for (const { name } of writes) {
      for (const call of calls) {
        for (const tenant of ['acme', '*']) {
          await attacker.query('begin');
          await set('app.tenant_id', tenant);
          await set('app.now', far);
          await set('app.key_hash', sha256(keys.acme));
          await set('app.proof', 'acme orders:read x');
          const outcome = await attempt(`select ${name}($1::jsonb, $2::jsonb)`, [call, input]);
          expect([name, call, outcome]).toEqual([name, call, expect.stringMatching(/^(FC000|28000)$/)]);
          await attacker.query('commit');
        }
      }
    }
    expect(await snapshot()).toBe(before);
  }, 120_000);

  test('with other parameters either proves a tenant, needs that proof, reports the health, or only computes a value', async () => {
    const others = (await callable()).filter(({ args }) => args !== 'call jsonb, input jsonb');
    expect(others.filter(({ kind }) => kind !== 'f')).toEqual([]);
    expect(others.filter(({ definer }) => definer).map(({ name }) => name)).toEqual([
      'catalog.search_products',
      'catalog.walk_products',
      'platform.authenticate',
      'platform.health',
      'platform.key_page',
      'platform.proven_tenant',
      'platform.read_storefront',
      'platform.read_tenant',
      'shipping.read_account',
    ]);
    await inTransaction(async () => {
      await set('app.tenant_id', 'acme');
      expect(await attempt(`select platform.authenticate('{}', 'orders:read')`)).toBe('FC000');
      const [row] = (await attempt('select platform.health() as health')) as { health: object }[];
      expect(Object.keys(row?.health ?? {}).toSorted()).toEqual([
        'deadLetters',
        'outboxAgeSeconds',
        'outboxCount',
        'sealed',
        'sinks',
      ]);
      await attacker.query('set local role fusion_reader');
      expect(await attempt(`select platform.proven_tenant('orders:read') as tenant`)).toEqual([{ tenant: null }]);
      expect(await attempt(`select catalog.search_products('a', null, null, 100)`)).toEqual([]);
      expect(await attempt('select platform.read_tenant() as row')).toEqual([{ row: null }]);
      expect(await attempt('select platform.read_storefront() as row')).toEqual([{ row: null }]);
      expect(await attempt('select platform.key_page(null, 100)')).toEqual([]);
      expect(await attempt(`select shipping.read_account('manual', true)->>'credentials' as row`)).toEqual([
        { row: null },
      ]);
      for (const sort of ['newest', 'price', 'name'])
        expect(
          await attempt(`select catalog.walk_products(null, '${sort}', null, null, null, null, null, 100)`),
        ).toEqual([]);
      // The other functions run with the caller’s rights. They only compute a value from a given row.
      const shaping = others.filter(({ definer }) => !definer);
      const { rows } = await owner.query<{ name: string }>(
        `select oid::regproc::text as name from pg_proc where oid::regproc::text = any($1) and provolatile = 'v'`,
        [shaping.map(({ name }) => name)],
      );
      expect(rows).toEqual([]);
    });
  });

  test('for services only is rejected for the login: naming a tenant, signing, adding events', async () => {
    await inTransaction(async () => {
      for (const role of ['fusion_worker', 'fusion_reader']) {
        await attacker.query(`set local role ${role}`);
        for (const call of [
          `platform.act_as('acme')`,
          `platform.begin_call('{}', '')`,
          `platform.enter_as('{}', 'acme')`,
          `platform.identify('{}', 'orders:read')`,
          `platform.sign('acme', 'orders:read')`,
          `platform.emit('order.confirmed', 'k', '{}', true)`,
          `platform.claim_new_events('orders', '{x}')`,
          `orders.confirm_paid_order('x')`,
          `inventory.release('{x}', 'x')`,
        ]) {
          expect([role, call, await attempt(`select ${call}`)]).toEqual([role, call, '42501']);
        }
      }
    });
  });

  test('does not reveal the signing keys in debug output', async () => {
    const [security] = (await owner.query<{ inner_key: Buffer; outer_key: Buffer }>('select * from platform.security'))
      .rows;
    let notices = '';
    const listen = ({ message, detail, where }: { message?: string; detail?: string; where?: string }): void => {
      notices += `${message} ${detail} ${where}\n`;
    };
    attacker.on('notice', listen as (notice: unknown) => void);
    await inTransaction(async () => {
      for (const name of ['debug_print_parse', 'debug_print_rewritten', 'debug_print_plan']) await set(name, 'on');
      await attacker.query('set local client_min_messages = debug5');
      for (let run = 0; run < 7; run++) await authenticate(keys.acme, 'orders:read');
      await attempt(`select platform.enter_as('{}', 'acme')`);
      await attempt(`select platform.purge('{"jobSecret": "guess"}', '{"limit": 1}')`);
      await attacker.query('set local role fusion_reader');
      for (let run = 0; run < 7; run++) await attempt('select id from orders.orders');
    });
    attacker.off('notice', listen as (notice: unknown) => void);
    expect(notices).toContain('platform'); // there was debug output
    for (const key of [security?.inner_key, security?.outer_key]) {
      expect(notices).not.toContain(key?.toString('hex').slice(0, 16));
      // PostgreSQL prints a constant of a plan byte by byte, as signed numbers.
      const bytes = [...new Int8Array(key ?? [])].slice(0, 8).join(' ');
      expect(notices).not.toContain(bytes);
    }
    expect(notices).not.toContain(sha256(jobSecret));
  });
});

test('the login cannot create an object, read or write a file, reach another server or change a role', async () => {
  await expect(attacker.query(`alter system set log_statement = 'all'`)).rejects.toMatchObject({ code: '42501' });
  await inTransaction(async () => {
    for (const role of ['fusion_worker', 'fusion_reader']) {
      await attacker.query(`set local role ${role}`);
      for (const text of [
        'create schema loot',
        'create table public.loot (x int)',
        'create table platform.loot (x int)',
        'create temporary table loot (x int)',
        'create function public.loot() returns int language sql as $$ select 1 $$',
        'create function pg_temp.loot() returns int language sql as $$ select 1 $$',
        'create extension dblink with schema platform',
        'create extension postgres_fdw with schema platform',
        'create server loot foreign data wrapper postgres_fdw',
        'create publication loot for all tables',
        `create subscription loot connection 'host=x' publication p with (connect = false)`,
        'create role loot',
        'set local session authorization fusion_platform',
        'set local role fusion_platform',
        'alter role fusion_reader login',
        'grant fusion_platform to fusion_worker',
        `copy (select 1) to program 'id'`,
        `copy (select 1) to '/tmp/loot'`,
        `select pg_read_file('PG_VERSION')`,
        `select pg_ls_dir('.')`,
        'select lo_create(0)',
        `select lo_from_bytea(0, 'x')`,
        `select lo_import('/etc/passwd')`,
        `load 'auto_explain'`,
        `set local session_replication_role = replica`,
        'select pg_reload_conf()',
        'alter table orders.orders disable row level security',
        'lock table orders.orders in access exclusive mode',
        'select id from orders.orders for update',
        'truncate platform.outbox',
        `update platform.security set sealed = false`,
      ]) {
        expect([role, text, await attempt(text)]).toEqual([
          role,
          text,
          expect.stringMatching(/^(42501|0A000|42704|58P01|55000)$/),
        ]);
      }
    }
  });
});

describe('with the login alone an attacker can still', () => {
  test('learn sizes: how many rows a table has, of all tenants together', async () => {
    await owner.query('analyze orders.orders');
    await inTransaction(async () => {
      const size = await attempt(`select reltuples::int as n from pg_class where oid = 'orders.orders'::regclass`);
      expect(size).toEqual([{ n: 5 }]);
    });
  });

  test('test guesses about indexed columns: EXPLAIN counts the rows that a lookup skipped, and shows none', async () => {
    const [order] = (await owner.query(`select id from orders.orders where tenant_id = 'acme'`)).rows;
    const plan = (id: string) =>
      inTransaction(async () => {
        await set('app.tenant_id', 'acme');
        await attacker.query('set local enable_seqscan = off; set local role fusion_reader');
        const text = `explain (analyze, timing off, costs off) select * from orders.orders where id = ${pg.escapeLiteral(id)}`;
        return JSON.stringify(await attempt(text));
      });
    expect(await plan(order?.id)).toContain('Rows Removed by Filter: 1');
    expect(await plan('nobody')).not.toContain('Rows Removed by Filter');
    // Columns without an index are not compared before the row-level security policy has hidden the row.
    await inTransaction(async () => {
      await attacker.query('set local role fusion_reader');
      const output = async (text: string): Promise<string> =>
        JSON.stringify(
          await attempt(`explain (analyze, timing off, costs off, buffers off, summary off) ${text}`),
        ).replace(/'[^']*'/g, "''");
      const [right, wrong] = ['001', 'x'].map(
        (guess) => `select * from orders.orders where failure_reason >= '${guess}'`,
      );
      expect(await output(right ?? '')).toBe(await output(wrong ?? ''));
    });
  });

  test('disturb the Worker: hold locks, wait, change its own password and settings, end the Worker’s sessions', async () => {
    await inTransaction(async () => {
      expect(await attempt('select pg_advisory_xact_lock(1)')).toHaveLength(1);
      expect(await attempt('select pg_sleep(0)')).toHaveLength(1);
      expect(await attempt(`notify anything, 'x'`)).toEqual([]);
      expect(await attempt(`alter role fusion_worker password 'mine-now'`)).toEqual([]);
      expect(await attempt(`alter role fusion_worker set statement_timeout = '1ms'`)).toEqual([]);
      expect(await attempt(`alter role fusion_worker set app.now = '${far}'`)).toBe('42501');
      expect(await attempt('lock table platform.events in access share mode')).toBe('42501');
      await attacker.query('set local role fusion_reader');
      expect(await attempt('lock table platform.events in access share mode')).toEqual([]);
    });
    const victim = new pg.Client(database.workerUrl);
    victim.on('error', () => undefined);
    await victim.connect();
    const [{ pid } = { pid: 0 }] = (await victim.query<{ pid: number }>('select pg_backend_pid() as pid')).rows;
    const ended = new Promise<void>((resolve) => victim.on('end', resolve));
    expect((await attacker.query('select pg_terminate_backend($1) as done', [pid])).rows).toEqual([{ done: true }]);
    await ended;
  });
});

describe('the job secret', () => {
  let store: Store;
  let money: ReturnType<typeof paymentFixture>;
  beforeAll(async () => {
    store = await startStore();
    money = paymentFixture(store);
    await store.database.query('update platform.security set passed_clock = false');
    await addProduct(store, 'UNPAID', 5);
  });
  afterAll(() => store.close());

  /** Runs a function with the Worker’s login. */
  const run = async (name: string, call: object, input: object): Promise<unknown> => {
    const client = new pg.Client(store.database.workerUrl);
    await client.connect();
    try {
      await client.query(`select set_config('app.now', '${far}', false)`);
      const { rows } = await client.query(`select ${name}($1::jsonb, $2::jsonb) as result`, [call, input]);
      return rows[0]?.result;
    } catch (error) {
      return (error as pg.DatabaseError).code;
    } finally {
      await client.end();
    }
  };

  test('is not an API key', async () => {
    expect((await store.send('GET', '/v1/orders', undefined, { key: jobSecret })).status).toBe(401);
  });

  test('is needed to confirm a payment', async () => {
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('UNPAID'));
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: order.id });
    const [intent] = (await money.state()).intents.filter(({ metadata }) => metadata.paymentId === payment.id);
    const input = { paymentId: payment.id, intentId: intent?.id, intent: { status: 'succeeded', received: 1000 } };
    expect(await run('payments.apply_stripe', {}, input)).toBe('28000');
    expect(await run('payments.apply_stripe', { jobSecret: 'x'.repeat(40) }, input)).toBe('28000');
    expect((await money.orderOf(order.id)).status).toBe('created');
    // With the secret the call succeeds, so the missing secret was the only reason for the errors above.
    expect(await run('payments.apply_stripe', { jobSecret }, input)).not.toBe('28000');
  });

  test('is needed to order a cart with a publishable key, so that the login cannot hold stock for years', async () => {
    const publishable = await store.database.key({ kind: 'publishable' });
    const cart = await openCart(
      store,
      { items: [{ sku: 'UNPAID', quantity: 1 }], email: 'a@example.com' },
      publishable,
    );
    const call = { keyHash: sha256(publishable), cartHash: sha256(cart.token), idempotencyKey: 'k', requestHash: 'h' };
    const { total: expectedTotal } = (await cart.send('GET', '')).body.totals;
    const ids = { id: cart.id, orderId: randomUUID(), paymentId: randomUUID() };
    const input = { ...ids, expectedTotal, holdSeconds: 1_000_000_000, cartSeconds: 900 };
    expect(await run('orders.checkout_cart', call, input)).toBe('28000');
    expect((await cart.send('GET', '')).body.status).toBe('open');
    expect((await cart.checkout()).status).toBe(201);
  });

  test('cannot change the clock: a hold of an hour does not expire by claiming the year 2099', async () => {
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('UNPAID'));
    const call = { jobSecret, now: far };
    expect(await run('orders.expire_holds', call, { limit: 100 })).toMatchObject({ expired: 0 });
    expect(await run('platform.purge', call, { limit: 100 })).toEqual({ purged: 0 });
    await store.cron('* * * * *', new Date('2099-01-01T00:00:00Z'));
    expect((await money.orderOf(order.id)).status).toBe('created');
  });

  test('with the login reads the events of all tenants, and still no table', async () => {
    const client = new pg.Client(store.database.workerUrl);
    await client.connect();
    try {
      await store.database.query(`update platform.sinks set paused_until = '-infinity'`);
      await store.database.query(
        `with entered as materialized (select platform.act_as('acme'))
         select platform.emit('order.confirmed', 'order-of-acme', '{}', false) from entered`,
      );
      const input = { sink: 'kafka', lease: 'attacker', limit: 1000, bytes: 1_000_000, seconds: 1 };
      const { rows } = await client.query('select platform.relay($1, $2) as result', [{ jobSecret }, input]);
      expect(rows[0].result.events.map((event: { key: string }) => event.key)).toContain('order-of-acme');
      await expect(client.query('select * from orders.orders')).rejects.toMatchObject({ code: '42501' });
      await client.query('set role fusion_reader');
      expect((await client.query('select * from orders.orders')).rows).toEqual([]);
    } finally {
      await client.end();
    }
  });

  test('can be rotated: the old and the new secret both work until one is deleted', async () => {
    const next = `js_${randomBytes(16).toString('hex')}`;
    const purge = (secret: string) => run('platform.purge', { jobSecret: secret }, { limit: 1 });
    expect(await purge(next)).toBe('28000');
    await store.database.query('insert into platform.job_secrets (sha256, name) values ($1, $2)', [
      sha256(next),
      'next',
    ]);
    expect([await purge(next), await purge(jobSecret)]).toEqual([{ purged: 0 }, { purged: 0 }]);
    await store.database.query(`delete from platform.job_secrets where name = 'next'`);
    expect(await purge(next)).toBe('28000');
  });

  test('may be missing, but not wrong, in a database that does not require it yet, and /readyz reports that', async () => {
    await store.database.query('update platform.security set sealed = false');
    try {
      expect(await run('platform.purge', {}, { limit: 1 })).toEqual({ purged: 0 });
      expect(await run('platform.purge', { jobSecret: 'wrong' }, { limit: 1 })).toBe('28000');
      const { body } = await store.send('GET', '/readyz', undefined, { key: null });
      expect(body).toMatchObject({ status: 'degraded', problems: [{ code: 'jobs_not_sealed' }] });
    } finally {
      await store.database.query('update platform.security set sealed = true');
    }
    expect((await store.send('GET', '/readyz', undefined, { key: null })).body.problems).toEqual([]);
  });

  test('that is wrong makes jobs and webhooks wait, while tenants’ requests still work', async () => {
    const wrong = await startStore({ variables: { DATABASE_JOB_SECRET: 'a-wrong-secret-of-more-than-32-characters' } });
    try {
      await addProduct(wrong, 'WAITS', 1);
      const { status, body } = await wrong.send('POST', '/v1/orders', oneLine('WAITS'));
      expect(status).toBe(201);
      expect((await wrong.send('GET', `/v1/orders/${body.id}`)).status).toBe(200);
      await expect(wrong.cron('17 * * * *')).rejects.toThrow();
      const { body: payment } = await wrong.send('POST', '/v1/payments', { orderId: body.id });
      await paymentFixture(wrong).pay(payment.stripePaymentIntentId);
      await until(() =>
        wrong.logs().some(({ operation, outcome }) => operation === 'receiveStripeEvent' && outcome === 'unavailable'),
      );
      const [left] = await wrong.database.query<{ waiting: number; dead: number }>(
        `select (select count(*)::int from platform.outbox) as waiting, (select count(*)::int from platform.dead_letters) as dead`,
      );
      expect(left?.waiting).toBeGreaterThan(0);
      expect(left?.dead).toBe(0);
      const failed = wrong.logs().filter(({ kind, code }) => kind === 'job' && code === '28000');
      expect(failed.length).toBeGreaterThan(0);
    } finally {
      await wrong.close();
    }
  });
});
