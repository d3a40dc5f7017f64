import { type Database, importedProducts, reasonOfOpening, reasonOfRow, traceOf } from '../database.ts';
import { markOf, type Plan } from '../plan.ts';
import { grouped } from '../progress.ts';
import { digestOf, sumBy } from './compare.ts';
import type { Findings } from './findings.ts';
import type { AuditedEvent } from './orders.ts';

type StockRow = {
  sku: string;
  /** Null: the product is missing. */
  product: string | null;
  /** Null: the SKU was in the catalog before this replay. */
  event: string | null;
  payload: unknown;
  time: number | null;
  /** Opening stock by import, opening stock by adjustment, and the sum of all adjustments. */
  openedByImport: string;
  openedByAdjustment: string;
  ledger: string;
  free: number | null;
  reserved: number | null;
  held: string;
  committed: string;
};

/** Sums are strings, because PostgreSQL returns them as bigint. */
async function readStock({ client, tenant }: Database, plan: Plan): Promise<StockRow[]> {
  const { rows } = await client.query<StockRow>(
    `with imported as (${importedProducts}),
     adjusted as (
       select a.sku, sum(a.delta) as ledger, coalesce(sum(a.delta) filter (where a.reason = 'opening'), 0) as by_import,
         coalesce(sum(a.delta) filter (where a.reason = $4), 0) as by_adjustment
       from inventory.adjustments a where a.tenant_id = $1 group by a.sku
     ), reserved_units as (
       select u.sku, coalesce(sum(u.n) filter (where r.status = 'held'), 0) as held,
         coalesce(sum(u.n - coalesce(u.back, 0)) filter (where r.status = 'committed'), 0) as committed
       from inventory.reservations r, unnest(r.skus, r.quantities, r.restocked) u(sku, n, back) where r.tenant_id = $1 group by u.sku
     )
     select w.sku, p.id as product, e.id as event, e.payload, extract(epoch from e.time) * 1000 as time,
       coalesce(m.by_import, 0)::text as "openedByImport",
       coalesce(m.by_adjustment, 0)::text as "openedByAdjustment",
       coalesce(m.ledger, 0)::text as ledger, i.quantity as free, i.reserved,
       coalesce(h.held, 0)::text as held, coalesce(h.committed, 0)::text as committed
     from unnest($3::text[]) w(sku)
     left join catalog.products p on p.tenant_id = $1 and p.sku = w.sku
     left join imported on imported.id = p.id
     left join platform.events e on e.tenant_id = $1 and e.key = imported.id and e.topic = 'product.created'
     left join inventory.inventory i on i.tenant_id = $1 and i.sku = w.sku
     left join adjusted m on m.sku = w.sku
     left join reserved_units h on h.sku = w.sku
     order by w.sku`,
    [tenant, traceOf(plan), [...plan.products.keys()], reasonOfOpening(plan)],
  );
  return rows;
}

/**
 * Checks the catalog and the stock of every SKU: its opening stock is that of the file, and all units ever added are
 * free, held or committed. Units of an expired hold are free again, so this is true at any time. Adds product.created
 * to `events`.
 */
export async function auditStock(
  database: Database,
  plan: Plan,
  events: Map<string, AuditedEvent>,
  findings: Findings,
): Promise<void> {
  const products = findings.check('SKUs in the catalog');
  const openings = findings.check('units of opening stock');
  const stocks = findings.check('SKUs whose stock adds up');
  const count = { products: 0, opening: 0, wanted: 0, stocks: 0, preexisting: 0 };
  for (const row of await readStock(database, plan)) {
    const { sku } = row;
    const wanted = plan.products.get(sku)?.opening ?? 0;
    count.wanted += wanted;
    if (row.product === null) {
      products.differ(`${sku} is missing`);
      continue;
    }
    count.products++;
    if (row.event === null) count.preexisting++;
    else {
      const time = Number(row.time);
      events.set(row.event, { topic: 'product.created', key: row.product, digest: digestOf(row.payload), time });
    }
    const opening = Number(row.event === null ? row.openedByAdjustment : row.openedByImport);
    count.opening += opening;
    if (opening !== wanted) openings.differ(`${sku}: ${opening} instead of ${wanted}`);

    const [ledger, free, held, committed] = [row.ledger, row.free ?? 0, row.held, row.committed].map(Number);
    const sum = (free ?? 0) + (held ?? 0) + (committed ?? 0);
    if (sum !== ledger) {
      stocks.differ(`${sku}: ${ledger} added, but ${free} free + ${held} held + ${committed} committed = ${sum}`);
    } else if ((row.reserved ?? 0) !== held)
      stocks.differ(`${sku}: ${row.reserved} reserved, but reservations hold ${held}`);
    else count.stocks++;
  }
  products.close(grouped(plan.products.size), grouped(count.products));
  openings.close(grouped(count.wanted), grouped(count.opening));
  stocks.close(grouped(plan.products.size), grouped(count.stocks));
  if (count.preexisting > 0) {
    findings.note(
      `${grouped(count.preexisting)} SKUs were in the catalog before this replay. Their opening stock is an adjustment.`,
    );
  }
  await auditCancellations(database, plan, findings);
}

/** Checks that each line of a cancellation is one adjustment, found by its reason. Ignores invoices beyond --limit. */
async function auditCancellations({ client, tenant }: Database, plan: Plan, findings: Findings): Promise<void> {
  const check = findings.check('cancelled units');
  const { rows } = await client.query<{ sku: string; delta: number; reason: string }>(
    `select sku, delta, reason from inventory.adjustments
     where tenant_id = $1 and starts_with(reason, $2) and reason <> $3`,
    [tenant, `${markOf(plan)}: C`, reasonOfOpening(plan)],
  );
  const found = Map.groupBy(rows, (row) => row.reason);
  let units = 0;
  for (const line of plan.cancellations) {
    const [first, ...duplicates] = found.get(reasonOfRow(plan, line)) ?? [];
    const name = `${line.invoice}, row ${line.row} (${line.units} of ${line.sku})`;
    if (!first) check.differ(`${name} is missing`);
    else if (first.sku !== line.sku || first.delta !== line.units)
      check.differ(`${name}: ${first.delta} of ${first.sku}`);
    if (duplicates.length > 0) check.differ(`${name} was returned ${duplicates.length + 1} times`);
    for (const { delta } of first ? [first, ...duplicates] : []) units += delta;
    found.delete(reasonOfRow(plan, line));
  }
  for (const [reason, [first]] of found) {
    const invoice = /: (C\d+),/.exec(reason)?.[1] ?? '';
    if (plan.invoices.get(invoice)?.rejected !== 'limit') check.differ(`${reason} (${first?.sku}): not in the file`);
  }
  const wanted =
    [
      ...sumBy(
        plan.cancellations,
        () => '',
        (line) => line.units,
      ).values(),
    ][0] ?? 0;
  check.close(grouped(wanted), grouped(units));
}
