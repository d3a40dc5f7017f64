import { createHash } from 'node:crypto';
import type pg from 'pg';
import { connectTo } from '../../dev/postgres/connection.ts';
import { ReplayError } from './file.ts';
import { markOf, type Plan } from './plan.ts';

/** A connection to the platform's database that reads one tenant. */
export type Database = { client: pg.Client; tenant: string };

/** The rows that earlier runs of a replay have written. */
export type EarlierRuns = {
  /** Invoices that were placed as orders. */
  invoices: Set<string>;
  /** Reasons of the adjustments (reasonOfOpening, reasonOfRow). */
  adjustments: Set<string>;
  /** SKUs in the catalog. `imported`: by this replay. `problem`: why it cannot be ordered in GBP. */
  products: Map<string, { imported: boolean; problem: string | undefined }>;
  /**
   * SKUs whose price in an order may differ from the plan's: they have another price in the catalog, or a price in another
   * list that may apply.
   */
  repriced: Set<string>;
  /** The price list of this replay. `rows`: the quantities that have a price, by SKU. */
  priceList: { id: string; rows: Map<string, Set<number>> } | undefined;
};

/** A later run recognizes an adjustment by its reason, even if its Idempotency-Key has been purged. */
export const reasonOfOpening = (plan: Pick<Plan, 'id'>): string => `${markOf(plan)}: opening stock`;
export const reasonOfRow = (plan: Pick<Plan, 'id'>, line: { invoice: string; row: number }): string =>
  `${markOf(plan)}: ${line.invoice}, row ${line.row}`;

/** A later run finds the price list by its name. */
export const nameOfPriceList = (plan: Pick<Plan, 'id'>): string => `Historical prices (${markOf(plan)})`;

/** The trace id of all requests of a replay, and so of all its events. */
export const traceOf = (plan: Pick<Plan, 'sha256'>): string => plan.sha256.slice(0, 32);

/**
 * Connects to the database and finds the key's tenant. Row-level security then shows only that tenant's rows.
 * @throws ReplayError if it cannot connect, if the database has no such key, or if the role may not read all tables
 */
export async function openDatabase(url: string, key: string): Promise<Database> {
  const hint = 'Give the connection string of the owner of the database with --database-url.';
  const client = await connectTo(url).catch((error: Error) => {
    throw new ReplayError(`${error.message}. ${hint}`);
  });
  try {
    const hash = createHash('sha256').update(key).digest('hex');
    await client.query(`select set_config('app.key_hash', $1, false)`, [hash]);
    const { rows } = await client.query<{ tenant_id: string }>(
      'select tenant_id from platform.api_keys where key_hash = $1',
      [hash],
    );
    const tenant = rows[0]?.tenant_id;
    if (tenant === undefined) {
      throw new ReplayError(
        `the API key (--key) is not in this database (${new URL(url).host}). Is it the database of the API? ${hint}`,
      );
    }
    await client.query(`select set_config('app.tenant_id', $1, false)`, [tenant]);
    // Reads the tables once, so that a missing privilege is reported before anything is sold.
    await client.query(
      'select from orders.orders, inventory.reservations, catalog.prices, platform.outbox, platform.events limit 0',
    );
    return { client, tenant };
  } catch (error) {
    await client.end();
    const { code } = error as { code?: string };
    if (code === '42501') throw new ReplayError(`the database role may not read all tables. ${hint}`);
    if (code === '42P01' || code === '3F000')
      throw new ReplayError(`this database does not have the platform's tables. ${hint}`);
    throw error;
  }
}

/** The products that this replay has imported: their event product.created has its trace id. */
export const importedProducts = `
  select e.key as id, e.payload->>'sku' as sku, (e.payload->>'inventory')::int as opening
  from platform.events e
  where e.tenant_id = $1 and e.topic = 'product.created' and starts_with(e.traceparent, '00-' || $2 || '-')`;

type ProductRow = {
  sku: string;
  imported: boolean;
  currency: string;
  status: string;
  pence: string;
  listed: boolean;
};

/** Finds the rows that earlier runs have written. */
export async function findEarlierRuns({ client, tenant }: Database, plan: Plan): Promise<EarlierRuns> {
  const orders = await client.query<{ invoice: string }>(
    `select purchase_order_number as invoice from orders.orders
     where tenant_id = $1 and organization_id = $2 and purchase_order_number is not null`,
    [tenant, markOf(plan)],
  );
  const adjustments = await client.query<{ reason: string }>(
    `select reason || case when reason = $2 then ' of ' || sku else '' end as reason
     from inventory.adjustments where tenant_id = $1 and starts_with(reason, $3)`,
    [tenant, reasonOfOpening(plan), `${markOf(plan)}: `],
  );
  const products = await client.query<ProductRow>(
    `select p.sku, p.currency, p.status, o.id is not null as imported, (p.price * 100)::bigint as pence, exists (
       select from catalog.prices r join catalog.price_lists l on l.id = r.list_id
       where r.tenant_id = $1 and r.sku = p.sku and l.name <> $4
         and (l.audience <> 'organization' or l.audience_id = $5)
     ) as listed
     from catalog.products p left join (${importedProducts}) o on o.id = p.id
     where p.tenant_id = $1 and p.sku = any($3)`,
    [tenant, traceOf(plan), [...plan.products.keys()], nameOfPriceList(plan), markOf(plan)],
  );
  const isRepriced = ({ sku, pence, listed }: ProductRow): boolean =>
    listed || plan.products.get(sku)?.pence !== Number(pence);
  const problemOf = (product: { currency: string; status: string }): string | undefined => {
    if (product.currency !== 'GBP') return `is sold in ${product.currency}`;
    return product.status === 'active' ? undefined : `is ${product.status}`;
  };
  return {
    invoices: new Set(orders.rows.map((row) => row.invoice)),
    adjustments: new Set(adjustments.rows.map((row) => row.reason)),
    products: new Map(products.rows.map((row) => [row.sku, { imported: row.imported, problem: problemOf(row) }])),
    repriced: new Set(products.rows.filter(isRepriced).map(({ sku }) => sku)),
    priceList: await findPriceList({ client, tenant }, plan),
  };
}

async function findPriceList({ client, tenant }: Database, plan: Plan): Promise<EarlierRuns['priceList']> {
  const lists = await client.query<{ id: string }>(
    'select id from catalog.price_lists where tenant_id = $1 and name = $2 order by id limit 1',
    [tenant, nameOfPriceList(plan)],
  );
  const [list] = lists.rows;
  if (!list) return undefined;
  const prices = await client.query<{ sku: string; quantities: number[] }>(
    'select sku, array_agg(min_quantity) as quantities from catalog.prices where list_id = $1 group by sku',
    [list.id],
  );
  return { id: list.id, rows: new Map(prices.rows.map(({ sku, quantities }) => [sku, new Set(quantities)])) };
}
