import type { Database } from '../database.ts';
import { markOf, type Plan, readOrders } from '../plan.ts';
import type { PlannedOrder } from '../planned.ts';
import { grouped, type Progress, pounds } from '../progress.ts';
import { type Aspect, compareOrder, digestOf, linesOf, type OrderRow, penceOf } from './compare.ts';
import type { Check, Findings } from './findings.ts';

/** An event that Kafka must have. `digest`: digest of its payload. `time`: ms since 1970. */
export type AuditedEvent = { topic: string; key: string; digest: string; time: number };

const ordersPerQuery = 200;

async function readChunk({ client, tenant }: Database, ids: string[]): Promise<Map<string, OrderRow[]>> {
  const { rows } = await client.query<OrderRow>(
    `select o.id, o.purchase_order_number as invoice, o.customer_id as customer, o.items, o.total::text, o.currency,
       o.status, o.failure_reason as reason, r.status as hold, r.skus, r.quantities, (
         select jsonb_agg(jsonb_build_object('id', e.id, 'topic', e.topic, 'payload', e.payload,
           'time', extract(epoch from e.time) * 1000) order by e.seq)
         from platform.events e where e.tenant_id = o.tenant_id and e.key = o.id
       ) as events
     from orders.orders o
     left join inventory.reservations r on r.tenant_id = o.tenant_id and r.order_id = o.id
     where o.tenant_id = $1 and o.id = any($2) order by o.id`,
    [tenant, ids],
  );
  return Map.groupBy(rows, (row) => row.invoice);
}

/**
 * Compares each order with its invoice: customer, lines, total, reservation and events. Adds its events to `events`. It
 * reads the file again, so that its lines need not be kept in memory.
 */
export async function auditOrders(
  database: Database,
  plan: Plan,
  events: Map<string, AuditedEvent>,
  findings: Findings,
  progress: Progress,
): Promise<void> {
  const { rows: all } = await database.client.query<{ id: string; invoice: string | null }>(
    `select id, purchase_order_number as invoice from orders.orders where tenant_id = $1 and organization_id = $2`,
    [database.tenant, markOf(plan)],
  );
  const ids = Map.groupBy(all, (row) => row.invoice ?? '');
  const checks: Record<Aspect, Check> = {
    orders: findings.check('orders, one per invoice'),
    lines: findings.check('lines, one per SKU and price'),
    revenue: findings.check('revenue in GBP'),
    reservations: findings.check('reservations, one per order'),
    events: findings.check('orders with all their events'),
  };
  for (const invoice of ids.keys()) {
    const planned = plan.invoices.get(invoice);
    const isOrder = planned?.kind === 'sale' && (planned.rejected === undefined || planned.rejected === 'limit');
    if (!isOrder)
      checks.orders.differ(`${invoice || 'an order without purchaseOrderNumber'}: the file has no such order`);
  }

  const counts = { orders: 0, wantedLines: 0, lines: 0, pence: 0n, reservations: 0, events: 0 };
  const holds = new Map<string, number>();
  const compareRow = (order: PlannedOrder, row: OrderRow): void => {
    const problems = compareOrder(order, row);
    for (const [aspect, problem] of Object.entries(problems))
      checks[aspect as Aspect].differ(`${order.invoice}: ${problem}`);
    counts.orders++;
    counts.lines += row.items.length;
    counts.pence += penceOf(row.total);
    if (problems.reservations === undefined) counts.reservations++;
    if (problems.events === undefined) counts.events++;
    holds.set(row.hold ?? 'missing', (holds.get(row.hold ?? 'missing') ?? 0) + 1);
    for (const { id, topic, payload, time } of row.events ?? []) {
      events.set(id, { topic, key: row.id, digest: digestOf(payload), time });
    }
  };

  let read = 0;
  const compareChunk = async (orders: PlannedOrder[]): Promise<void> => {
    const wanted = orders.flatMap(({ invoice }) => (ids.get(invoice) ?? []).map(({ id }) => id));
    const rows = await readChunk(database, wanted);
    for (const order of orders) {
      counts.wantedLines += linesOf(order).size;
      const [first, ...duplicates] = rows.get(order.invoice) ?? [];
      if (first) compareRow(order, first);
      else checks.orders.differ(`${order.invoice}: the order is missing`);
      for (const { id } of duplicates) checks.orders.differ(`${order.invoice}: placed again as ${id}`);
      counts.orders += duplicates.length;
    }
    read += orders.length;
    progress.show(() => `${grouped(read)} of ${grouped(plan.orders)} orders`);
  };
  let chunk: PlannedOrder[] = [];
  for await (const order of readOrders(plan)) {
    chunk.push(order);
    if (chunk.length < ordersPerQuery) continue;
    await compareChunk(chunk);
    chunk = [];
  }
  await compareChunk(chunk);

  checks.orders.close(grouped(plan.orders), grouped(counts.orders));
  checks.lines.close(grouped(counts.wantedLines), grouped(counts.lines));
  checks.revenue.close(pounds(plan.pence), pounds(counts.pence));
  checks.reservations.close(grouped(plan.orders), grouped(counts.reservations));
  checks.events.close(grouped(plan.orders), grouped(counts.events));
  const states = [...holds].sort().map(([hold, count]) => `${grouped(count)} ${hold}`);
  if (states.length > 0) findings.note(`Reservations: ${states.join(', ')}.`);
}
