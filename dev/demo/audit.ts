import { fromMinor, toMinor } from '../../src/base/money.ts';
import type { IntentTotals, Shop } from './shop.ts';

/** An order's money in minor units. `expected`: the order's total less its refunds, or 0 if the order ended. */
export type OrderMoney = {
  id: string;
  status: string;
  currency: string;
  expected: number;
  database: { captured: number; refunded: number };
  stripe: { captured: number; refunded: number };
};

/** The units of one SKU: `added` is the sum of the stock ledger, the others are where the units are now. */
export type StockUnits = { sku: string; added: number; free: number; held: number; sold: number; reserved: number };

export type Audit = {
  lines: string[];
  differences: string[];
};

/** In these statuses the merchant keeps the order's total less its refunds. */
const paidStatuses = new Set(['confirmed', 'shipped', 'delivered']);

/** Compares the API, the database and Stripe. Each difference is a sentence. */
export function findDifferences(
  orders: OrderMoney[],
  stock: StockUnits[],
  undelivered: number,
  deadLetters: number,
): string[] {
  const differences: string[] = [];
  for (const { id, status, currency, expected, database, stripe } of orders) {
    const format = (minor: number) => `${fromMinor(minor, currency)} ${currency}`;
    const kept = stripe.captured - stripe.refunded;
    if (kept !== expected) {
      differences.push(`Order ${id} (${status}): ${format(expected)} expected, ${format(kept)} at Stripe.`);
    }
    for (const part of ['captured', 'refunded'] as const) {
      if (database[part] === stripe[part]) continue;
      differences.push(
        `Order ${id}: ${part} ${format(database[part])} in the database, ${format(stripe[part])} at Stripe.`,
      );
    }
  }
  for (const { sku, added, free, held, sold, reserved } of stock) {
    if (free + held + sold !== added) {
      differences.push(
        `${sku}: ${added} units added; ${free} free + ${held} held + ${sold} sold = ${free + held + sold}.`,
      );
    }
    if (reserved !== held)
      differences.push(`${sku}: the counter of held units is ${reserved}, but orders hold ${held}.`);
  }
  if (undelivered > 0) differences.push(`${undelivered} events have not been delivered.`);
  if (deadLetters > 0) differences.push(`${deadLetters} events are dead letters.`);
  return differences;
}

type OrderRow = {
  id: string;
  status: string;
  total: string;
  currency: string;
  intent: string | null;
  captured: string;
  done: string;
};

async function readOrders(shop: Shop, ids: string[], intents: IntentTotals[]): Promise<OrderMoney[]> {
  const rows = await shop.query<OrderRow>(
    `select o.id, o.status, o.total, o.currency, p.stripe_payment_intent_id as intent,
       coalesce(p.captured, 0)::text as captured, coalesce(p.refund_done, 0)::text as done
     from orders.orders o left join payments.payments p on p.order_id = o.id
     where o.id = any($1) order by o.id`,
    [ids],
  );
  const money: OrderMoney[] = [];
  for (const { id, status, total, currency, intent, captured, done } of rows) {
    const { payment } = await shop.readOrder(id);
    const refunds = payment === null ? [] : await shop.refundsOf(payment.id);
    const refundedTotal = refunds
      .filter((refund) => refund.status === 'succeeded')
      .reduce((sum, refund) => sum + toMinor(String(refund.amount), currency), 0);
    const atStripe = intents.find((total) => total.id === intent);
    money.push({
      id,
      status,
      currency,
      expected: paidStatuses.has(status) ? toMinor(total, currency) - refundedTotal : 0,
      database: { captured: toMinor(captured, currency), refunded: toMinor(done, currency) },
      stripe: { captured: atStripe?.captured ?? 0, refunded: atStripe?.refunded ?? 0 },
    });
  }
  return money;
}

const readStock = (shop: Shop, skus: string[]) =>
  shop.query<StockUnits>(
    `with line as (
       select l.sku, r.status, sum(l.n - coalesce(l.back, 0))::int as n
       from inventory.reservations r, unnest(r.skus, r.quantities, r.restocked) l(sku, n, back)
       where l.sku = any($1) group by 1, 2
     )
     select i.sku, i.quantity as free, i.reserved,
       (select coalesce(sum(a.delta), 0)::int from inventory.adjustments a where a.sku = i.sku) as "added",
       coalesce((select n from line where line.sku = i.sku and status = 'held'), 0) as held,
       coalesce((select n from line where line.sku = i.sku and status = 'committed'), 0) as sold
     from inventory.inventory i where i.sku = any($1) order by i.sku`,
    [skus],
  );

/** Counts the unfinished work: events and webhooks to deliver, refunds, and PaymentIntents to close at Stripe. */
export async function countUnfinished(shop: Shop, orderIds: string[]): Promise<number> {
  const [row] = await shop.query<{ n: number }>(
    `select (select count(*)::int from platform.outbox)
       + (select count(*)::int from payments.payments p where p.order_id = any($1) and p.intent_open and p.status <> 'pending')
       + (select count(*)::int from payments.refunds r join payments.payments p using (payment_id)
          where p.order_id = any($1) and r.status = 'pending') as n`,
    [orderIds],
  );
  return (row?.n ?? 0) + (await shop.readWebhooks()).pending;
}

/**
 * Checks each order's money against Stripe, each SKU's units against the stock ledger, and that all events are
 * delivered.
 */
export async function auditDay(shop: Shop, orderIds: string[], skus: string[]): Promise<Audit> {
  const orders = await readOrders(shop, orderIds, await shop.readIntents());
  const stock = await readStock(shop, skus);
  const [events] = await shop.query<{ undelivered: number; deadLetters: number; total: number }>(
    `select (select count(*)::int from platform.outbox) as undelivered,
       (select count(*)::int from platform.dead_letters where replayed_at is null and key = any(k.keys)) as "deadLetters",
       (select count(*)::int from platform.events where key = any(k.keys)) as total
     from (select array(select unnest($1::text[]) union all
       select payment_id from payments.payments where order_id = any($1)) as keys) k`,
    [orderIds],
  );
  const { undelivered, deadLetters, total } = events ?? { undelivered: 0, deadLetters: 0, total: 0 };
  const sum = <T>(rows: T[], getValue: (row: T) => number) => rows.reduce((total, row) => total + getValue(row), 0);
  const euros = (minor: number) => `${fromMinor(minor, 'EUR')} EUR`;
  const captured = sum(orders, ({ stripe }) => stripe.captured);
  const refunded = sum(orders, ({ stripe }) => stripe.refunded);
  const lines = [
    `${euros(captured)} captured − ${euros(refunded)} refunded = ${euros(captured - refunded)} at Stripe; ` +
      `expected for ${orders.length} orders: ${euros(sum(orders, ({ expected }) => expected))}`,
    `${sum(stock, ({ sold }) => sold)} units sold + ${sum(stock, ({ held }) => held)} held + ` +
      `${sum(stock, ({ free }) => free)} free = ${sum(stock, ({ added }) => added)} added`,
    `${total} events of these orders, ${undelivered} not delivered`,
  ];
  return { lines, differences: findDifferences(orders, stock, undelivered, deadLetters) };
}
