import { createHash } from 'node:crypto';
import type pg from 'pg';
import { connectTo } from '../../dev/postgres/connection.ts';
import { ReplayError } from './file.ts';
import { markOf, type Plan } from './plan.ts';

/** The database of the platform, read as one tenant. */
export type Database = { client: pg.Client; tenant: string };

/** What the database has of a replay already. */
export type Found = {
  /** Invoices that are orders. */
  invoices: Set<string>;
  /** Reasons of the adjustments, see reasonOfOpening and reasonOfRow. */
  adjustments: Set<string>;
  /** SKUs in the catalog, with what keeps an order in GBP from naming one. */
  products: Map<string, { ours: boolean; fault: string | undefined }>;
};

/** Reasons are how a later run knows an adjustment, when its Idempotency-Key has long been forgotten. */
export const reasonOfOpening = (plan: Pick<Plan, 'id'>): string => `${markOf(plan)}: opening stock`;
export const reasonOfRow = (plan: Pick<Plan, 'id'>, line: { invoice: string; row: number }): string =>
  `${markOf(plan)}: ${line.invoice}, row ${line.row}`;

/** What all of a replay's requests carry, and so all of its events. */
export const traceOf = (plan: Pick<Plan, 'sha256'>): string => plan.sha256.slice(0, 32);

/**
 * Connects and finds the key's tenant; row-level security shows this connection that tenant alone.
 * @throws ReplayError it cannot be reached, is another platform's, or shows too little to audit
 */
export async function openDatabase(url: string, key: string): Promise<Database> {
  const hint = 'Name it with --database-url: the connection string of its owner.';
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
        `this database (${new URL(url).host}) does not know the key (--key): is it the API's? ${hint}`,
      );
    }
    await client.query(`select set_config('app.tenant_id', $1, false)`, [tenant]);
    // Read once, so that a role that may not is told before anything is sold.
    await client.query('select from orders.orders, inventory.reservations, platform.outbox, platform.events limit 0');
    return { client, tenant };
  } catch (error) {
    await client.end();
    const { code } = error as { code?: string };
    if (code === '42501') throw new ReplayError(`this role of the database may not read all tables. ${hint}`);
    if (code === '42P01' || code === '3F000')
      throw new ReplayError(`this database has not the platform's tables. ${hint}`);
    throw error;
  }
}

/** The products that this replay has brought into the catalog: those whose product.created has its trace. */
export const ownProducts = `
  select e.key as id, e.payload->>'sku' as sku, (e.payload->>'inventory')::int as opening
  from platform.events e
  where e.tenant_id = $1 and e.topic = 'product.created' and starts_with(e.traceparent, '00-' || $2 || '-')`;

/** Looks up what an earlier run has done. */
export async function findEarlier({ client, tenant }: Database, plan: Plan): Promise<Found> {
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
  const products = await client.query<{ sku: string; ours: boolean; currency: string; status: string }>(
    `select p.sku, p.currency, p.status, o.id is not null as ours
     from catalog.products p left join (${ownProducts}) o on o.id = p.id
     where p.tenant_id = $1 and p.sku = any($3)`,
    [tenant, traceOf(plan), [...plan.products.keys()]],
  );
  const faultOf = (product: { currency: string; status: string }): string | undefined => {
    if (product.currency !== 'GBP') return `is sold in ${product.currency}`;
    return product.status === 'active' ? undefined : `is ${product.status}`;
  };
  return {
    invoices: new Set(orders.rows.map((row) => row.invoice)),
    adjustments: new Set(adjustments.rows.map((row) => row.reason)),
    products: new Map(products.rows.map((row) => [row.sku, { ours: row.ours, fault: faultOf(row) }])),
  };
}
