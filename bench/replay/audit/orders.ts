import type { Database } from '../database.ts';
import { markOf, type Plan, type PlannedOrder, readOrders } from '../plan.ts';
import { grouped, type Progress, pounds } from '../progress.ts';
import { type Aspect, compareOrder, digestOf, linesOf, type OrderRow, penceOf } from './compare.ts';
import type { Check, Findings } from './findings.ts';

/** An event that Kafka must have. `digest`: of its payload. `time`: milliseconds since 1970. */
export type AuditedEvent = { topic: string; key: string; digest: string; time: number };

const atOnce = 200;

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
 * Compares each order with its invoice: customer, lines, total, reservation and events; adds its events to `events`.
 * The file is read once more for it, so that no line of it is held.
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
    orders: findings.check('orders, one an invoice'),
    lines: findings.check('lines, one for SKU and price'),
    revenue: findings.check('revenue in GBP'),
    reservations: findings.check('reservations, one an order'),
    events: findings.check('orders with all their events'),
  };
  for (const invoice of ids.keys()) {
    const planned = plan.invoices.get(invoice);
    const isOrder = planned?.kind === 'sale' && (planned.refused === undefined || planned.refused === 'limit');
    if (!isOrder) checks.orders.differ(`${invoice || 'one without a number'}: the file has no such order`);
  }

  const counts = { orders: 0, wantedLines: 0, lines: 0, pence: 0n, reservations: 0, events: 0 };
  const holds = new Map<string, number>();
  const take = (order: PlannedOrder, row: OrderRow): void => {
    const faults = compareOrder(order, row);
    for (const [aspect, fault] of Object.entries(faults)) checks[aspect as Aspect].differ(`${order.invoice}: ${fault}`);
    counts.orders++;
    counts.lines += row.items.length;
    counts.pence += penceOf(row.total);
    if (faults.reservations === undefined) counts.reservations++;
    if (faults.events === undefined) counts.events++;
    holds.set(row.hold ?? 'missing', (holds.get(row.hold ?? 'missing') ?? 0) + 1);
    for (const { id, topic, payload, time } of row.events ?? []) {
      events.set(id, { topic, key: row.id, digest: digestOf(payload), time });
    }
  };

  let read = 0;
  const takeAll = async (orders: PlannedOrder[]): Promise<void> => {
    const wanted = orders.flatMap(({ invoice }) => (ids.get(invoice) ?? []).map(({ id }) => id));
    const rows = await readChunk(database, wanted);
    for (const order of orders) {
      counts.wantedLines += linesOf(order).size;
      const [first, ...more] = rows.get(order.invoice) ?? [];
      if (first) take(order, first);
      else checks.orders.differ(`${order.invoice}: there is no order`);
      for (const { id } of more) checks.orders.differ(`${order.invoice}: placed once more as ${id}`);
      counts.orders += more.length;
    }
    read += orders.length;
    progress.show(() => `${grouped(read)} of ${grouped(plan.orders)} orders`);
  };
  let chunk: PlannedOrder[] = [];
  for await (const order of readOrders(plan)) {
    chunk.push(order);
    if (chunk.length < atOnce) continue;
    await takeAll(chunk);
    chunk = [];
  }
  await takeAll(chunk);

  checks.orders.close(grouped(plan.orders), grouped(counts.orders));
  checks.lines.close(grouped(counts.wantedLines), grouped(counts.lines));
  checks.revenue.close(pounds(plan.pence), pounds(counts.pence));
  checks.reservations.close(grouped(plan.orders), grouped(counts.reservations));
  checks.events.close(grouped(plan.orders), grouped(counts.events));
  const states = [...holds].sort().map(([hold, count]) => `${grouped(count)} ${hold}`);
  if (states.length > 0) findings.note(`Reservations: ${states.join(', ')}.`);
}
