import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

const varchar = 'character varying';
const varchar3 = 'character varying(3)';
const money = 'numeric(10,2)';
const time = 'timestamp with time zone';
const tenant = [varchar, 'not null', "'default'::character varying"];

/** The tables that the contract prescribes: column → type, `not null`, default. A table may have more columns. */
const given: Record<string, { columns: Record<string, string[]>; key: string[]; unique?: string[] }> = {
  'orders.orders': {
    columns: {
      id: [varchar, 'not null'],
      customer_id: [varchar, 'not null'],
      items: ['jsonb', 'not null'],
      total: [money, 'not null'],
      currency: [varchar3, 'not null'],
      status: [varchar, 'not null'],
      created_at: [time, 'not null', 'now()'],
      tenant_id: tenant,
      organization_id: [varchar],
      purchase_order_number: [varchar],
    },
    key: ['id'],
  },
  'inventory.inventory': {
    columns: {
      sku: [varchar, 'not null'],
      tenant_id: tenant,
      quantity: ['integer', 'not null'],
      version: ['integer', 'not null', '0'],
    },
    key: ['sku', 'tenant_id'],
  },
  'group_commerce.group_commerce_campaigns': {
    columns: {
      id: [varchar, 'not null'],
      product_id: [varchar, 'not null'],
      min_participants: ['integer', 'not null'],
      max_participants: ['integer', 'not null'],
      actual_participants: ['integer', 'not null', '0'],
      price: [money, 'not null'],
      original_price: [money, 'not null'],
      start_time: [time, 'not null'],
      end_time: [time, 'not null'],
      status: [varchar, 'not null'],
      tenant_id: tenant,
    },
    key: ['id'],
  },
  'catalog.products': {
    columns: {
      id: [varchar, 'not null'],
      sku: [varchar, 'not null'],
      name: [varchar, 'not null'],
      description: ['text'],
      price: [money, 'not null'],
      currency: [varchar3, 'not null'],
      tenant_id: tenant,
    },
    key: ['id'],
    unique: ['tenant_id', 'sku'],
  },
  'payments.payments': {
    columns: {
      payment_id: [varchar, 'not null'],
      order_id: [varchar, 'not null'],
      amount: [money, 'not null'],
      currency: [varchar3, 'not null'],
      status: [varchar, 'not null'],
      stripe_payment_intent_id: [varchar],
      failure_reason: ['text'],
      created_at: [time, 'null', 'now()'],
      tenant_id: tenant,
    },
    key: ['payment_id'],
  },
  'shipping.shipments': {
    columns: {
      id: [varchar, 'not null'],
      order_id: [varchar, 'not null'],
      tracking_number: [varchar, 'not null'],
      carrier: [varchar, 'not null'],
      label_url: ['text', 'not null'],
      status: [varchar, 'not null'],
      created_at: [time, 'null', 'now()'],
      tenant_id: tenant,
    },
    key: ['id'],
  },
};

type Column = {
  column_name: string;
  data_type: string;
  character_maximum_length: number | null;
  numeric_precision: number | null;
  numeric_scale: number | null;
  is_nullable: 'YES' | 'NO';
  column_default: string | null;
};

const describeType = (column: Column): string => {
  if (column.data_type === 'numeric') return `numeric(${column.numeric_precision},${column.numeric_scale})`;
  return column.data_type + (column.character_maximum_length === null ? '' : `(${column.character_maximum_length})`);
};

/** The columns of the table’s primary key or of each of its unique constraints, in their order. */
const keysOf = (table: string, type: 'PRIMARY KEY' | 'UNIQUE') =>
  database
    .query<{ columns: string[] }>(
      `select array_agg(k.column_name::text order by k.ordinal_position) as columns
       from information_schema.table_constraints c join information_schema.key_column_usage k using (constraint_schema, constraint_name)
       where c.table_schema || '.' || c.table_name = $1 and c.constraint_type = $2 group by c.constraint_name`,
      [table, type],
    )
    .then((rows) => rows.map((row) => row.columns));

/** The name and the leading column of each index of a table. */
const indexesOf = (table: string) =>
  database.query<{ name: string; leading: string }>(
    `select c.relname as name, pg_get_indexdef(x.indexrelid, 1, true) as leading
     from pg_index x join pg_class c on c.oid = x.indexrelid where x.indrelid = $1::regclass`,
    [table],
  );

describe('the prescribed tables', () => {
  test.each(Object.entries(given))(
    '%s has its columns, with their types, nullability and defaults',
    async (table, wanted) => {
      const rows = await database.query<Column>(
        `select * from information_schema.columns where table_schema || '.' || table_name = $1`,
        [table],
      );
      const found = Object.fromEntries(rows.map((row) => [row.column_name, row]));
      for (const [name, [type, nullable = 'null', standard = null]] of Object.entries(wanted.columns)) {
        const column = found[name];
        expect(column, `${table}.${name}`).toBeDefined();
        if (column === undefined) continue;
        expect([
          name,
          describeType(column),
          column.is_nullable === 'NO' ? 'not null' : 'null',
          column.column_default,
        ]).toEqual([name, type, nullable, standard]);
      }
    },
  );

  test.each(Object.entries(given))('%s has its primary and unique keys', async (table, wanted) => {
    expect(await keysOf(table, 'PRIMARY KEY')).toEqual([wanted.key]);
    if (wanted.unique) expect(await keysOf(table, 'UNIQUE')).toContainEqual(wanted.unique);
  });

  test('have the prescribed indexes, and one for each lookup by order or tenant', async () => {
    const orders = await indexesOf('orders.orders');
    expect(orders).toContainEqual({ name: 'idx_orders_tenant_id', leading: 'tenant_id' });
    expect(orders).toContainEqual({ name: 'idx_orders_organization_id', leading: 'organization_id' });
    expect(await indexesOf('inventory.inventory')).toContainEqual({
      name: 'idx_inventory_tenant_id',
      leading: 'tenant_id',
    });
    for (const table of ['payments.payments', 'shipping.shipments']) {
      const leading = (await indexesOf(table)).map((index) => index.leading);
      expect(leading, table).toContain('order_id');
    }
    for (const table of Object.keys(given)) {
      const leading = (await indexesOf(table)).map((index) => index.leading);
      expect(leading, table).toContain('tenant_id');
    }
  });

  test('exist only once, with no table of the same name in another schema', async () => {
    const names = Object.keys(given).map((table) => table.split('.')[1]);
    const rows = await database.query<{ table: string }>(
      `select table_schema || '.' || table_name as table from information_schema.tables where table_name = any($1)`,
      [names],
    );
    expect(rows.map((row) => row.table).sort()).toEqual(Object.keys(given).sort());
  });
});

describe('a named constraint', () => {
  const product = { id: 'p', sku: 's', name: 'n', price: '1', currency: 'USD' };
  const payment = { payment_id: 'p', order_id: 'o', amount: '1', currency: 'USD', status: 'pending' };
  const order = { id: 'o', customer_id: 'c', items: '[]', total: '1', currency: 'USD', status: 'created' };
  const reservation = {
    order_id: 'o',
    tenant_id: 'default',
    skus: '{a}',
    quantities: '{1}',
    status: 'held',
    expires_at: 'now',
    created_at: 'now',
  };
  const campaign = {
    id: 'c',
    product_id: 'p',
    sku: 's',
    currency: 'USD',
    min_participants: '2',
    max_participants: '3',
    actual_participants: '0',
    price: '1',
    original_price: '2',
    start_time: '2026-01-01',
    end_time: '2026-01-02',
    status: 'active',
  };
  const shipment = { id: 's', order_id: 'o', tracking_number: 't', carrier: 'c', label_url: 'u', status: 'created' };
  const key = { id: 'k', tenant_id: 'default', prefix: 'p', key_hash: 'a'.repeat(64), kind: 'secret', scopes: '{}' };
  const stock = { sku: 's', quantity: '0', reserved: '0' };

  /** The constraint, its table, a valid row, and the change that makes the row invalid. */
  const violations: [string, string, Record<string, string>, Record<string, string>][] = [
    ['inventory_quantity_not_negative', 'inventory.inventory', stock, { quantity: '-1' }],
    ['inventory_reserved_not_negative', 'inventory.inventory', stock, { reserved: '-1' }],
    ['inventory_units_fit', 'inventory.inventory', stock, { quantity: '2147483647', reserved: '1' }],
    ['reservations_lines_match', 'inventory.reservations', reservation, { quantities: '{1,2}' }],
    ['reservations_status', 'inventory.reservations', reservation, { status: 'lost' }],
    ['products_price_not_negative', 'catalog.products', product, { price: '-0.01' }],
    ['products_currency_form', 'catalog.products', product, { currency: 'usd' }],
    ['products_status', 'catalog.products', product, { status: 'gone' }],
    ['orders_total_not_negative', 'orders.orders', order, { total: '-0.01' }],
    ['orders_status', 'orders.orders', order, { status: 'paid' }],
    ['payments_amount_not_negative', 'payments.payments', payment, { amount: '-0.01' }],
    ['payments_status', 'payments.payments', payment, { status: 'done' }],
    ['shipments_status', 'shipping.shipments', shipment, { status: 'lost' }],
    ['campaigns_terms', 'group_commerce.group_commerce_campaigns', campaign, { min_participants: '0' }],
    ['campaigns_terms', 'group_commerce.group_commerce_campaigns', campaign, { max_participants: '1' }],
    ['campaigns_not_overfull', 'group_commerce.group_commerce_campaigns', campaign, { actual_participants: '4' }],
    ['campaigns_terms', 'group_commerce.group_commerce_campaigns', campaign, { price: '2.01' }],
    ['campaigns_terms', 'group_commerce.group_commerce_campaigns', campaign, { end_time: '2026-01-01' }],
    ['campaigns_terms', 'group_commerce.group_commerce_campaigns', campaign, { price: '-0.01' }],
    ['campaigns_terms', 'group_commerce.group_commerce_campaigns', campaign, { mode: 'teams' }],
    ['campaigns_terms', 'group_commerce.group_commerce_campaigns', campaign, { team_size: '3' }],
    ['campaigns_terms', 'group_commerce.group_commerce_campaigns', campaign, { success_on: 'paid' }],
    ['campaigns_terms', 'group_commerce.group_commerce_campaigns', campaign, { joiners: 'nobody' }],
    ['campaigns_terms', 'group_commerce.group_commerce_campaigns', campaign, { max_per_customer: '0' }],
    ['campaigns_status', 'group_commerce.group_commerce_campaigns', campaign, { status: 'open' }],
    ['tenants_id_form', 'platform.tenants', { id: 'shop', name: 'n' }, { id: '*' }],
    ['api_keys_key_hash_form', 'platform.api_keys', key, { key_hash: 'sk_plain' }],
    ['api_keys_kind', 'platform.api_keys', key, { kind: 'root' }],
  ];

  const insert = (table: string, row: Record<string, string>) =>
    database.query(
      `insert into ${table} (${Object.keys(row).join()}) values (${Object.keys(row).map((_, at) => `$${at + 1}`)})`,
      Object.values(row),
    );

  test.each(violations)('%s rejects an invalid row of %s', async (constraint, table, valid, change) => {
    await expect(insert(table, { ...valid, ...change })).rejects.toMatchObject({ constraint });
    await insert(table, valid);
    await database.query(`delete from ${table} where ${Object.keys(valid)[0]} = $1`, [Object.values(valid)[0]]);
  });

  test('is given to every check, so none has a name that Postgres generated', async () => {
    const rows = await database.query<{ name: string }>(
      `select c.conname as name from pg_constraint c join pg_namespace n on n.oid = c.connamespace
       where c.contype = 'c' and n.nspname = any($1) and c.conname ~ '_check\\d*$'`,
      [['platform', ...Object.keys(given).map((table) => table.split('.')[0])]],
    );
    expect(rows).toEqual([]);
  });
});
