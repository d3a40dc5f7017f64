import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createKey, createTenant, listKeys } from '../../dev/keys/api-keys.ts';
import { repository } from '../../dev/platform/settings.ts';
import { makeJobSecret, sealJobs } from '../../dev/postgres/job-secrets.ts';
import { migrate } from '../../dev/postgres/migrate.ts';
import { type Postgres, startPostgres } from '../../dev/postgres/server.ts';
import { publishableScopes, scopes } from '../../src/base/api-keys.ts';

let postgres: Postgres;
let folder: string;
let databases = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fusion-migrate-'));
  postgres = await startPostgres({
    dir: await mkdtemp(join(tmpdir(), 'fusion-migrate-data-')),
    port: 0,
    durable: false,
  });
  await query(postgres.url('postgres'), `create role owner_of_all login createrole password 'owner'`);
});

afterAll(async () => {
  await postgres.remove();
  await rm(folder, { recursive: true });
});

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

/** Creates a database owned by a role that is not a superuser, as at Neon. Returns the owner’s connection string. */
async function createDatabase(): Promise<string> {
  const name = `migrate_${++databases}`;
  await query(postgres.url('postgres'), `create database ${name} owner owner_of_all`);
  return `postgres://owner_of_all:owner@127.0.0.1:${postgres.port}/${name}`;
}

/** Writes the migrations and functions of one test. Writing the same names again changes those files. */
async function writeFiles(name: string, files: Record<string, string>): Promise<{ dir: string; functions: string }> {
  const root = join(folder, name);
  const folders = { dir: join(root, 'migrations'), functions: join(root, 'functions') };
  await Promise.all(Object.values(folders).map((path) => mkdir(path, { recursive: true })));
  for (const [file, text] of Object.entries(files)) {
    await writeFile(join(/^\d/.test(file) ? folders.dir : folders.functions, file), text);
  }
  return folders;
}

const first = '20260101000000_first.sql';
const second = '20260102000000_second.sql';

test('several databases of a new cluster without roles can be migrated at once', async () => {
  const urls = await Promise.all(Array.from({ length: 6 }, createDatabase));
  const runs = await Promise.all(urls.map((url) => migrate({ url, workerPassword: 'shared' })));
  for (const applied of runs) expect(applied).toEqual(runs[0]);
});

test('an owner who is not a superuser can migrate an empty database, and a second run does nothing', async () => {
  const url = await createDatabase();
  const lines: string[] = [];
  const applied = await migrate({ url, log: (line) => lines.push(line) });
  expect(applied).toContain('20261122180000_create_roles.sql');
  expect(applied).toContain('platform/access.sql');
  expect(lines.length).toBeGreaterThan(0);
  expect(await migrate({ url })).toEqual([]);
  const recorded = await query(url, 'select name from platform.migrations order by name');
  expect(recorded.map(({ name }) => name)).toEqual([...applied].sort());
});

test('concurrent runs on one database apply each migration once', async () => {
  const url = await createDatabase();
  const runs = await Promise.all([migrate({ url }), migrate({ url }), migrate({ url })]);
  const recorded = await query(url, 'select name from platform.migrations');
  expect(runs.flat().sort()).toEqual(recorded.map(({ name }) => name).sort());
});

test('the Worker can log in once it has a password, with any characters', async () => {
  const url = await createDatabase();
  const workerPassword = `it's "quoted" \\ and $1`;
  await migrate({ url, workerPassword });
  const worker = new URL(url);
  worker.username = 'fusion_worker';
  worker.password = encodeURIComponent(workerPassword);
  expect(await query(worker.href, 'select current_user::text as name')).toEqual([{ name: 'fusion_worker' }]);
});

test('a migration that was changed after it was applied is rejected by name, before anything runs', async () => {
  const url = await createDatabase();
  const folders = await writeFiles('changed', { [first]: 'create table a ()' });
  await migrate({ url, ...folders });
  await writeFiles('changed', { [first]: 'create table b ()', [second]: 'create table c ()' });
  await expect(migrate({ url, ...folders })).rejects.toThrow(`${first} was changed`);
  expect(await query(url, `select to_regclass('c') as c`)).toEqual([{ c: null }]);
});

test('a change of line endings does not count as a change of the migration', async () => {
  const url = await createDatabase();
  const folders = await writeFiles('ends', { [first]: 'create table a ();\nselect 1;\n' });
  await migrate({ url, ...folders });
  await writeFiles('ends', { [first]: 'create table a ();\r\nselect 1;\r\n' });
  expect(await migrate({ url, ...folders })).toEqual([]);
});

test('a migration that fails is rolled back, and the error names its file and line', async () => {
  const url = await createDatabase();
  const folders = await writeFiles('broken', {
    [first]: 'create table a ()',
    [second]: 'create table b ();\nselect x;',
  });
  await expect(migrate({ url, ...folders })).rejects.toThrow(`${second}, line 2: column "x" does not exist`);
  expect(await query(url, `select to_regclass('a')::text as a, to_regclass('b')::text as b`)).toEqual([
    { a: 'a', b: null },
  ]);
  await writeFiles('broken', { [second]: 'create table b ()' });
  expect(await migrate({ url, ...folders })).toEqual([second]);
});

test('a changed file installs all functions again, required ones first', async () => {
  const url = await createDatabase();
  const body = (name: string, value: string): string =>
    `create or replace function ${name}() returns int language sql as $$ select ${value} $$;`;
  const folders = await writeFiles('functions', {
    'alpha.sql': `-- requires: zeta.sql\n${body('alpha', 'zeta() + 1')}`,
    'beta.sql': body('beta', '1'),
    'zeta.sql': body('zeta', '10'),
  });
  expect(await migrate({ url, ...folders })).toEqual(['zeta.sql', 'alpha.sql', 'beta.sql']);
  expect(await migrate({ url, ...folders })).toEqual([]);
  await writeFiles('functions', { 'beta.sql': body('beta', '2'), 'zeta.sql': body('zeta', 'nowhere') });
  await expect(migrate({ url, ...folders })).rejects.toThrow('zeta.sql, line 1: column "nowhere" does not exist');
  expect(await query(url, 'select alpha(), beta()')).toEqual([{ alpha: 11, beta: 1 }]);
  await writeFiles('functions', { 'zeta.sql': body('zeta', '20') });
  expect(await migrate({ url, ...folders })).toEqual(['zeta.sql', 'alpha.sql', 'beta.sql']);
  expect(await query(url, 'select alpha(), beta()')).toEqual([{ alpha: 21, beta: 2 }]);
});

test.each([
  ['a circular requirement', { 'a.sql': '-- requires: b.sql', 'b.sql': '-- requires: a.sql' }, 'a.sql → b.sql → a.sql'],
  ['a missing required file', { 'a.sql': '-- requires: b.sql' }, 'a.sql requires b.sql'],
  ['a file name without a time', { '1_first.sql': 'select 1' }, '1_first.sql is not named'],
])('%s is rejected before anything runs', async (name, files, message) => {
  const folders = await writeFiles(name, files);
  await expect(migrate({ url: await createDatabase(), ...folders })).rejects.toThrow(message);
});

test('the error for an unreachable database does not contain the password', async () => {
  const url = 'postgres://owner:secret@127.0.0.1:1/fusion';
  const failure = await migrate({ url }).catch((error: unknown) => String(error));
  expect(failure).toContain('cannot connect to 127.0.0.1:1/fusion');
  expect(failure).not.toContain('secret');
});

test('a new database requires the job secret at once; an older one warns until it does', async () => {
  const url = await createDatabase();
  const migrationLog = async (): Promise<string> => {
    const lines: string[] = [];
    await migrate({ url, log: (line) => lines.push(line) });
    return lines.join('\n');
  };
  expect(await migrationLog()).toMatch(/no job can run yet(.|\n)*large objects/);
  // The state that the migration leaves in a database that already has tenants.
  await query(url, `update platform.security set sealed = false`);
  expect(await migrationLog()).toMatch(/WARNING: this database runs jobs without a secret/);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await expect(sealJobs(client)).rejects.toThrow('there is no job secret yet');
  await makeJobSecret(client, 'worker');
  await sealJobs(client);
  await client.end();
  expect(await migrationLog()).not.toMatch(/WARNING|no job can run/);
});

/** A database with the migrations before this one, in a folder of this name. The caller ends `client`. */
async function createOlderDatabase(folder: string, before: string) {
  const url = await createDatabase();
  const folders = await writeFiles(folder, {});
  const all = await readdir(join(repository, 'migrations'));
  const older = all.filter((name) => name < before);
  expect(older.length).toBeLessThan(all.length);
  for (const name of older) await copyFile(join(repository, 'migrations', name), join(folders.dir, name));
  await migrate({ url, ...folders });
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return { url, client };
}

test('keys of an older database that have every scope get the new ones, except tenant:write and keys:write', async () => {
  const { url, client } = await createOlderDatabase('older', '20261130082000_keep_settings_of_tenants.sql');
  try {
    await createTenant(client, 'shop', 'Shop');
    const resources = ['catalog', 'inventory', 'orders', 'campaigns', 'payments', 'shipping', 'events'];
    const every = resources.flatMap((name) => [`${name}:read`, `${name}:write`]);
    const some = every.filter((scope) => scope !== 'events:write');
    await createKey(client, { tenant: 'shop', kind: 'secret', name: 'every', scopes: every });
    await createKey(client, { tenant: 'shop', kind: 'secret', name: 'some', scopes: some });
    await createKey(client, { tenant: 'shop', kind: 'publishable', name: 'public' });
    await migrate({ url });
    const byName = Object.fromEntries((await listKeys(client, 'shop')).map((key) => [key.name, key.scopes.toSorted()]));
    expect(byName).toEqual({
      every: scopes.filter((scope) => scope !== 'tenant:write' && scope !== 'keys:write').toSorted(),
      some: some.toSorted(),
      public: publishableScopes.toSorted(),
    });
    await createKey(client, { tenant: 'shop', kind: 'secret', name: 'new' });
    expect((await listKeys(client, 'shop')).find((key) => key.name === 'new')?.scopes).toEqual(scopes);
  } finally {
    await client.end();
  }
});

test('shipments of an older database have all units of their orders, which count as fulfilled unless it was cancelled', async () => {
  const { url, client } = await createOlderDatabase('one_parcel', '20261130142500_ship_in_parts.sql');
  try {
    await createTenant(client, 'shop', 'Shop');
    const items = JSON.stringify([2, 3].map((quantity) => ({ sku: `S${quantity}`, quantity, price: 1 })));
    await client.query(`begin; select set_config('app.tenant_id', 'shop', true);
      insert into orders.orders (id, tenant_id, customer_id, items, total, currency, status)
        select id, 'shop', 'c', '${items}', 5, 'EUR', 'confirmed' from unnest(array['sent', 'ended', 'unsent']) id;
      insert into shipping.label_requests (order_id, tenant_id, shipment_id, status, address, tried_at, created_at)
        values ('sent', 'shop', 's1', 'made', '{}', now(), now());
      insert into shipping.shipments (id, tenant_id, order_id, tracking_number, carrier, label_url, status, cancelled_at)
        values ('s1', 'shop', 'sent', 'T1', 'x', 'x', 'created', null), ('s2', 'shop', 'ended', 'T2', 'x', 'x', 'cancelled', now());
      commit`);
    await migrate({ url });
    await client.query(`select set_config('app.tenant_id', 'shop', false)`);
    const { rows } = await client.query(`select o.id, o.fulfilled_quantities as fulfilled, s.quantities
      from orders.orders o left join shipping.shipments s on s.order_id = o.id order by 1`);
    expect(rows).toEqual([
      { id: 'ended', fulfilled: null, quantities: [2, 3] },
      { id: 'sent', fulfilled: [2, 3], quantities: [2, 3] },
      { id: 'unsent', fulfilled: null, quantities: null },
    ]);
  } finally {
    await client.end();
  }
});

test('places of an older database name the SKU of their campaign, and their units count as secured', async () => {
  const { url, client } = await createOlderDatabase('one_unit', '20261201000000_form_teams.sql');
  try {
    await createTenant(client, 'shop', 'Shop');
    await createTenant(client, 'other', 'Other');
    for (const tenant of ['shop', 'other']) {
      await client.query(`begin; select set_config('app.tenant_id', '${tenant}', true);
        insert into group_commerce.group_commerce_campaigns (id, tenant_id, product_id, sku, currency, price,
          original_price, min_participants, max_participants, actual_participants, secured_participants, start_time,
          end_time, status)
          select '${tenant}-c', '${tenant}', 'p', '${tenant}-sku', 'EUR', 5, 9, 5, 9, 2, 1, now(), now() + interval '1 day',
            'active';
        insert into group_commerce.participants (id, tenant_id, campaign_id, user_id, order_id, state, joined_at,
          updated_at, secured_at)
          select '${tenant}-' || n, '${tenant}', '${tenant}-c', 'u' || n, '${tenant}-o' || n,
            case n when 1 then 'secured' else 'joined' end, now(), now(), case n when 1 then now() end
          from generate_series(1, 2) n;
        commit`);
    }
    await migrate({ url });
    for (const tenant of ['shop', 'other']) {
      await client.query(`select set_config('app.tenant_id', '${tenant}', false)`);
      const { rows } = await client.query(`select p.sku, p.quantity, c.secured_units
        from group_commerce.participants p join group_commerce.group_commerce_campaigns c on c.id = p.campaign_id`);
      expect(rows).toEqual(Array(2).fill({ sku: `${tenant}-sku`, quantity: 1, secured_units: 1 }));
    }
  } finally {
    await client.end();
  }
});
