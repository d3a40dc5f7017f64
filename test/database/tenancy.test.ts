import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { template } from '../support/global-setup.ts';
import { createDatabase, type Database } from '../support/harness.ts';
import { fillTables, findTables, services, type Table } from '../support/tenant-rows.ts';

type Privilege = 'SELECT' | 'INSERT' | 'UPDATE' | 'DELETE';

const roles = [...services, 'reader', 'search', 'worker'].map((name) => `fusion_${name}`);
/** The number of rows in each table by tenant. The counts differ, so that they identify the tenant. */
const rowsOf = { default: 2, acme: 3 };

let database: Database;
let client: pg.Client;
/** Every table that has a tenant_id, found in the catalog. */
let tables: Table[];

beforeAll(async () => {
  database = await createDatabase();
  client = new pg.Client(database.url);
  await client.connect();
  tables = await findTables(client);
  await fillTables(client, rowsOf);
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

async function all<T extends pg.QueryResultRow>(sql: string, values?: unknown[]): Promise<T[]> {
  return (await client.query<T>(sql, values)).rows;
}

/** A scope that lets the reader see this table: the first one that its policy names. */
async function scopeOf(table: string): Promise<string | undefined> {
  const [row] = await all<{ scope: string }>(
    `select (regexp_match(pg_get_expr(polqual, polrelid), '\\{([a-z]+:[a-z]+)'))[1] as scope from pg_policy
     where polrelid = $1::regclass and polname = 'proven_tenant'`,
    [table],
  );
  return row?.scope;
}

/** Runs as a role, with a tenant or without one, in a transaction that is rolled back. */
async function as<T>(
  role: string,
  tenant: string | undefined,
  run: () => Promise<T>,
  scope = 'catalog:read',
): Promise<T> {
  await client.query('begin');
  try {
    if (tenant !== undefined) await client.query(`select set_config('app.tenant_id', $1, true)`, [tenant]);
    // The settings that platform.authenticate leaves for a valid key. Only a superuser may sign without one.
    const proof = `select set_config('app.proof', concat_ws(' ', $1::text, $2::text, platform.sign($1, $2)), true)`;
    if (role === 'fusion_reader' && tenant !== undefined) await client.query(proof, [tenant, scope]);
    await client.query(`set local role ${role}`);
    return await run();
  } finally {
    await client.query('rollback');
  }
}

/** The SQLSTATE and message that a statement fails with, or undefined. */
const failure = (sql: string) =>
  client.query(sql).then(
    () => undefined,
    (error: pg.DatabaseError) => `${error.code} ${error.message.replace(/ for table.*/, '')}`,
  );
const touched = async (sql: string) => (await client.query(sql)).rowCount;
const notYours = '42501 new row violates row-level security policy';

/** The roles with this privilege on a table or some of its columns, except superusers and the owner of the database. */
const mayDo = (table: string, privilege: Privilege | 'TRUNCATE') =>
  all<{ role: string }>(
    `select rolname as role from pg_roles r
     where not rolsuper and r.oid <> (select datdba from pg_database where datname = current_database())
       and r.rolname !~ '^pg_' and case when $2 in ('DELETE', 'TRUNCATE') then has_table_privilege(r.oid, $1, $2)
         else has_any_column_privilege(r.oid, $1, $2) end
     order by 1`,
    [table, privilege],
  ).then((rows) => rows.map((row) => row.role));

/** Runs the check for every table that has a tenant_id and every role with this privilege on it. */
async function forEachGrant(privilege: Privilege, check: (role: string, table: string) => Promise<void>) {
  let pairs = 0;
  for (const { table } of tables) {
    for (const role of await mayDo(table, privilege)) {
      if (role === 'fusion_search') continue; // the documented exception, below
      await check(role, table);
      pairs++;
    }
  }
  return pairs;
}

describe('every table with a tenant_id', () => {
  test('is found by this test and has rows of both tenants', async () => {
    expect(tables.map((each) => each.table)).toEqual(
      expect.arrayContaining(['catalog.products', 'inventory.inventory', 'orders.orders', 'platform.events']),
    );
    for (const { table } of tables) {
      const rows = await all<{ tenant_id: string; n: number }>(
        `select tenant_id, count(*)::int as n from ${table} group by 1`,
      );
      expect(Object.fromEntries(rows.map((row) => [row.tenant_id, row.n])), table).toEqual(rowsOf);
    }
  });

  test('has forced row-level security, and is not owned by a service', async () => {
    for (const { table } of tables) {
      const [row] = await all<{ on: boolean; forced: boolean; owner: string }>(
        `select relrowsecurity as on, relforcerowsecurity as forced, relowner::regrole::text as owner
         from pg_class where oid = $1::regclass`,
        [table],
      );
      expect(row, table).toMatchObject({ on: true, forced: true });
      expect(roles, table).not.toContain(row?.owner);
    }
  });

  test('cannot be read or written without a tenant', async () => {
    for (const tenant of [undefined, '']) {
      const read = await forEachGrant('SELECT', async (role, table) => {
        const scope = await scopeOf(table);
        const [row] = await as(
          role,
          tenant,
          () => all<{ n: number }>(`select count(*)::int as n from ${table}`),
          scope,
        );
        expect(row?.n, `${role} reads ${table}`).toBe(0);
      });
      const added = await forEachGrant('INSERT', async (role, table) => {
        const sql = `insert into ${table} (tenant_id) values ('default')`;
        expect(await as(role, tenant, () => failure(sql)), `${role} adds to ${table}`).toBe(notYours);
      });
      await forEachGrant('UPDATE', async (role, table) => {
        expect(
          await as(role, tenant, () => touched(`update ${table} set tenant_id = tenant_id`)),
          `${role} changes ${table}`,
        ).toBe(0);
      });
      await forEachGrant('DELETE', async (role, table) => {
        expect(await as(role, tenant, () => touched(`delete from ${table}`)), `${role} empties ${table}`).toBe(0);
      });
      expect(read).toBeGreaterThan(tables.length);
      expect(added).toBeGreaterThan(tables.length / 2);
    }
  });

  test('shows a tenant only its own rows', async () => {
    for (const [tenant, count] of Object.entries(rowsOf)) {
      await forEachGrant('SELECT', async (role, table) => {
        const scope = await scopeOf(table);
        const [row] = await as(
          role,
          tenant,
          () => all<{ n: number }>(`select count(*)::int as n from ${table}`),
          scope,
        );
        expect(row?.n, `${role} reads ${table}`).toBe(count);
      });
    }
  });

  test('accepts no row of another tenant, neither inserted nor moved', async () => {
    await forEachGrant('INSERT', async (role, table) => {
      const add = (tenant: string) =>
        as(role, 'default', () => failure(`insert into ${table} (tenant_id) values ('${tenant}')`));
      expect(await add('acme'), `${role} adds to ${table}`).toBe(notYours);
      expect(await add('*'), `${role} adds to ${table}`).toBe(notYours);
      // A row of the right tenant may fail for missing columns, but not for its tenant.
      expect(await add('default'), `${role} adds to ${table}`).not.toBe(notYours);
    });
    await forEachGrant('UPDATE', async (role, table) => {
      const move = () => failure(`update ${table} set tenant_id = 'acme' where tenant_id = 'default'`);
      expect(await as(role, 'default', move), `${role} moves a row of ${table}`).toBe(notYours);
    });
  });

  test('lets no tenant change or delete another tenant’s rows', async () => {
    const changed = await forEachGrant('UPDATE', async (role, table) => {
      const sql = `update ${table} set tenant_id = tenant_id`;
      expect(await as(role, 'default', () => touched(sql)), `${role} changes ${table}`).toBe(rowsOf.default);
      const other = `${sql} where tenant_id = 'acme'`;
      expect(await as(role, 'default', () => touched(other)), `${role} changes ${table}`).toBe(0);
    });
    const deleted = await forEachGrant('DELETE', async (role, table) => {
      const sql = `delete from ${table}`;
      expect(await as(role, 'default', () => touched(sql)), `${role} empties ${table}`).toBe(rowsOf.default);
    });
    expect(changed).toBeGreaterThan(5);
    expect(deleted).toBeGreaterThan(0);
  });
});

describe('a service', () => {
  test('can be written only by its own role, but every service may append events', async () => {
    const every = await all<Table>(
      `select table_schema || '.' || table_name as table, table_schema as schema from information_schema.tables
       where table_schema = any($1) and table_name <> 'migrations'`,
      [services],
    );
    expect(every.length).toBeGreaterThan(tables.length);
    const ownServices = ['catalog', 'group_commerce', 'inventory', 'orders', 'payments', 'shipping'];
    const appenders = ownServices.map((service) => `fusion_${service}`);
    for (const { table, schema } of every) {
      for (const privilege of ['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] as const) {
        const others = (await mayDo(table, privilege)).filter((role) => role !== `fusion_${schema}`);
        const mayAppend = privilege === 'INSERT' && ['platform.events', 'platform.outbox'].includes(table);
        expect(others, `${privilege} ${table}`).toEqual(mayAppend ? appenders : []);
      }
    }
  });

  test('cannot become another role, create anything, or bypass row-level security', async () => {
    const rows = await all<{ role: string; is: string }>(
      `select r.rolname as role, m.rolname as is from pg_roles r, pg_roles m
       where r.rolname = any($1) and m.oid <> r.oid and pg_has_role(r.oid, m.oid, 'MEMBER')`,
      [roles],
    );
    expect(rows).toEqual([{ role: 'fusion_worker', is: 'fusion_reader' }]);
    const powers = await all(
      `select rolname from pg_roles where rolname = any($1)
         and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication or rolinherit)`,
      [roles],
    );
    expect(powers).toEqual([]);
    const creators = await all(
      `select r.rolname, n.nspname from pg_roles r, pg_namespace n
       where r.rolname = any($1) and has_schema_privilege(r.oid, n.oid, 'CREATE')`,
      [roles],
    );
    expect(creators).toEqual([]);
  });

  test('runs its functions as itself, with a search_path that nobody else can write to', async () => {
    const rows = await all<{ schema: string; name: string; owner: string; path: string | null; open: boolean }>(
      `select n.nspname as schema, p.proname as name, p.proowner::regrole::text as owner,
         (select option_value from pg_options_to_table(p.proconfig) where option_name = 'search_path') as path,
         has_function_privilege('public', p.oid, 'EXECUTE') as open
       from pg_proc p join pg_namespace n on n.oid = p.pronamespace
       where n.nspname = any($1) and p.prosecdef`,
      [services],
    );
    expect(rows.length).toBeGreaterThan(20);
    for (const { schema, name, owner, path, open } of rows) {
      const search = ['search_products', 'walk_products'].includes(name);
      expect({ name, owner, path, open }).toEqual({
        name,
        owner: search ? 'fusion_search' : `fusion_${schema}`,
        path: search ? 'pg_catalog, public, pg_temp' : 'pg_catalog, pg_temp',
        open: false,
      });
    }
  });
});

describe('the login role', () => {
  test('has no privileges, no special powers and no default tenant', async () => {
    const anything = await all(
      `select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^(pg_|information_schema)'
         and (has_any_column_privilege('fusion_worker', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
           or has_table_privilege('fusion_worker', c.oid, 'DELETE, TRUNCATE, TRIGGER'))`,
    );
    expect(anything).toEqual([]);
    const owned = await all(
      `select classid::regclass::text, objid from pg_shdepend
       where refobjid = 'fusion_worker'::regrole and deptype = 'o'`,
    );
    expect(owned).toEqual([]);
    const [role] = await all(
      `select rolcanlogin, rolsuper, rolbypassrls, rolinherit from pg_roles where rolname = 'fusion_worker'`,
    );
    expect(role).toEqual({ rolcanlogin: true, rolsuper: false, rolbypassrls: false, rolinherit: false });
    const canLogIn = await all(`select rolname from pg_roles where rolname = any($1) and rolcanlogin`, [roles]);
    expect(canLogIn).toEqual([{ rolname: 'fusion_worker' }]);
  });

  test('can become only the reader, and sees nothing before it does', async () => {
    const worker = new pg.Client(database.workerUrl);
    await worker.connect();
    try {
      for (const role of roles) {
        const became = await worker.query(`set role ${role}`).then(
          () => true,
          () => false,
        );
        expect([role, became]).toEqual([role, role === 'fusion_reader' || role === 'fusion_worker']);
        await worker.query('reset role');
      }
      await expect(worker.query('select * from orders.orders')).rejects.toMatchObject({ code: '42501' });
    } finally {
      await worker.end();
    }
    // Checked in the database that was migrated, because a copy does not keep its privileges.
    const temporary = await all(
      `select rolname from pg_roles where rolname = any($1) and has_database_privilege(oid, $2, 'CREATE, TEMPORARY')`,
      [roles, template],
    );
    expect(temporary).toEqual([]);
  });

  test('can call only the functions that were granted to it', async () => {
    const rows = await all<{ name: string }>(
      `select p.oid::regproc::text as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
       where n.nspname = any($1) and has_function_privilege('fusion_worker', p.oid, 'EXECUTE') and not p.prosecdef`,
      [services],
    );
    // Functions that run with the caller’s rights cannot do more than the caller.
    expect(rows).toEqual([]);
  });
});

describe('the reader', () => {
  test('cannot write anything', async () => {
    const writable = await all(
      `select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and n.nspname = any($1)
         and case when c.relkind = 'S' then has_sequence_privilege('fusion_reader', c.oid, 'USAGE, UPDATE')
           else has_any_column_privilege('fusion_reader', c.oid, 'INSERT, UPDATE, REFERENCES')
             or has_table_privilege('fusion_reader', c.oid, 'DELETE, TRUNCATE, TRIGGER') end`,
      [services],
    );
    expect(writable).toEqual([]);
  });

  test('can call no function that runs as another role, except the search, the walk along a list, the check of its proof, and reads that check it', async () => {
    const rows = await all<{ name: string }>(
      `select p.oid::regproc::text as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
       where n.nspname = any($1) and p.prosecdef and has_function_privilege('fusion_reader', p.oid, 'EXECUTE')`,
      [services],
    );
    expect(rows.map((row) => row.name).toSorted()).toEqual([
      'catalog.search_products',
      'catalog.walk_products',
      'platform.key_page',
      'platform.proven_tenant',
      'platform.read_storefront',
      'platform.read_tenant',
      'shipping.read_account',
    ]);
  });
});

describe('the search role, which may read rows of every tenant', () => {
  test('is the only role with such a policy', async () => {
    const rows = await all(
      `select schemaname || '.' || tablename as table, roles::text, cmd from pg_policies
       where coalesce(qual, '') !~ $$current_setting\\('app\\.$$ or with_check !~ $$current_setting\\('app\\.$$`,
    );
    expect(rows.toSorted((a, b) => (String(a.table) < String(b.table) ? -1 : 1))).toEqual([
      { table: 'catalog.collection_products', roles: '{fusion_search}', cmd: 'SELECT' },
      { table: 'catalog.products', roles: '{fusion_search}', cmd: 'SELECT' },
    ]);
  });

  test('reads no description, writes nothing, owns two functions, and no role can become it', async () => {
    const columns = await all<{ name: string }>(
      `select a.attname as name from pg_attribute a where a.attrelid = 'catalog.products'::regclass
         and a.attnum > 0 and not a.attisdropped
         and has_column_privilege('fusion_search', a.attrelid, a.attnum, 'SELECT') order by 1`,
    );
    expect(columns.map((column) => column.name)).toEqual([
      'currency',
      'id',
      'name',
      'price',
      'search',
      'sku',
      'status',
      'tenant_id',
    ]);
    const members = await all<{ role: string }>(
      `select rolname as role from pg_roles where not rolsuper and rolname <> 'fusion_search'
         and pg_has_role(oid, 'fusion_search', 'MEMBER')
         and oid <> (select datdba from pg_database where datname = current_database())`,
    );
    expect(members).toEqual([]);
    const owned = await all<{ name: string }>(
      `select oid::regprocedure::text as name from pg_proc where proowner = 'fusion_search'::regrole`,
    );
    expect(owned.map((row) => row.name.split('(')[0]).toSorted()).toEqual([
      'catalog.search_products',
      'catalog.walk_products',
    ]);
    const [other] = await all<{ n: number }>(
      `select count(*)::int as n from pg_class c join pg_namespace s on s.oid = c.relnamespace
       where s.nspname = any($1) and c.relkind = 'r' and c.oid not in ('catalog.products'::regclass, 'catalog.collection_products'::regclass)
         and has_any_column_privilege('fusion_search', c.oid, 'SELECT, INSERT, UPDATE')`,
      [services],
    );
    expect(other?.n).toBe(0);
  });

  test('finds nothing without a tenant, and nothing of another tenant with one', async () => {
    await client.query(`update catalog.products set name = 'Teapot', status = 'active'`);
    const find = (tenant: string | undefined, call: string) =>
      as('fusion_reader', tenant, () => all<{ id: string }>(`select id from ${call} f(id)`));
    for (const call of [
      `catalog.search_products('teapot', null, null, 100)`,
      `catalog.walk_products(null, 'price', 'active', null, 0, null, null, 100)`,
    ]) {
      expect(await find(undefined, call)).toEqual([]);
      expect(await find('', call)).toEqual([]);
      expect(await find('*', call)).toEqual([]);
      for (const [tenant, count] of Object.entries(rowsOf)) {
        const found = (await find(tenant, call)).map((row) => row.id);
        const own = await all<{ id: string }>('select id from catalog.products where tenant_id = $1', [tenant]);
        expect(found).toHaveLength(count);
        expect(found.toSorted()).toEqual(own.map((row) => row.id).toSorted());
      }
    }
  });

  test('finds nothing in a collection of another tenant', async () => {
    const collections = await all<{ id: string; tenant: string; status: string }>(
      `select collection_id as id, tenant_id as tenant, status from catalog.collection_products`,
    );
    for (const { id, tenant, status } of collections) {
      for (const caller of Object.keys(rowsOf)) {
        const found = await as('fusion_reader', caller, () =>
          all(`select id from catalog.walk_products($1, 'newest', $2, null, null, null, null, 100)`, [id, status]),
        );
        expect(found).toHaveLength(caller === tenant ? 1 : 0);
      }
    }
  });
});
