import { fromMinor, toMinor } from '../../src/base/money.ts';
import type { Books, Shop } from './shop.ts';

/** What is known of one order's money, in minor units. `says`: what the order and its refunds say that the shop has. */
export type OrderFacts = {
  id: string;
  status: string;
  currency: string;
  says: number;
  ours: { captured: number; refunded: number };
  theirs: { captured: number; refunded: number };
};

/** Units of one SKU: put in by the ledger, and where they are now. */
export type StockFacts = { sku: string; putIn: number; free: number; held: number; sold: number; reserved: number };

export type Audit = {
  lines: string[];
  differences: string[];
};

/** Whether an order keeps its buyer's money, once what was sent back is taken off. */
const keepsMoney = new Set(['confirmed', 'shipped', 'delivered']);

/** Compares what everybody says; each difference is a sentence. */
export function differencesOf(orders: OrderFacts[], stock: StockFacts[], undelivered: number, dead: number): string[] {
  const found: string[] = [];
  for (const { id, status, currency, says, ours, theirs } of orders) {
    const tell = (minor: number) => `${fromMinor(minor, currency)} ${currency}`;
    const has = theirs.captured - theirs.refunded;
    if (has !== says) found.push(`Order ${id} (${status}) says ${tell(says)}; Stripe has ${tell(has)} for it.`);
    for (const part of ['captured', 'refunded'] as const) {
      if (ours[part] === theirs[part]) continue;
      found.push(`Order ${id}: ${part} ${tell(ours[part])} by our rows, ${tell(theirs[part])} by Stripe's.`);
    }
  }
  for (const { sku, putIn, free, held, sold, reserved } of stock) {
    if (free + held + sold !== putIn) {
      found.push(`${sku}: ${putIn} units put in; ${free} free + ${held} held + ${sold} sold = ${free + held + sold}.`);
    }
    if (reserved !== held) found.push(`${sku}: ${reserved} units are counted as held, orders hold ${held}.`);
  }
  if (undelivered > 0) found.push(`${undelivered} events have not been delivered.`);
  if (dead > 0) found.push(`${dead} events are among the dead letters.`);
  return found;
}

type Row = {
  id: string;
  status: string;
  total: string;
  currency: string;
  intent: string | null;
  captured: string;
  done: string;
};

async function readOrders(shop: Shop, ids: string[], books: Books[]): Promise<OrderFacts[]> {
  const rows = await shop.query<Row>(
    `select o.id, o.status, o.total, o.currency, p.stripe_payment_intent_id as intent,
       coalesce(p.captured, 0)::text as captured, coalesce(p.refund_done, 0)::text as done
     from orders.orders o left join payments.payments p on p.order_id = o.id
     where o.id = any($1) order by o.id`,
    [ids],
  );
  const facts: OrderFacts[] = [];
  for (const { id, status, total, currency, intent, captured, done } of rows) {
    const { payment } = await shop.readOrder(id);
    const refunds = payment === null ? [] : await shop.refundsOf(payment.id);
    const back = refunds
      .filter((refund) => refund.status === 'succeeded')
      .reduce((sum, refund) => sum + toMinor(String(refund.amount), currency), 0);
    const book = books.find((one) => one.id === intent);
    facts.push({
      id,
      status,
      currency,
      says: keepsMoney.has(status) ? toMinor(total, currency) - back : 0,
      ours: { captured: toMinor(captured, currency), refunded: toMinor(done, currency) },
      theirs: { captured: book?.captured ?? 0, refunded: book?.refunded ?? 0 },
    });
  }
  return facts;
}

const readStock = (shop: Shop, skus: string[]) =>
  shop.query<StockFacts>(
    `with line as (
       select l.sku, r.status, sum(l.n)::int as n from inventory.reservations r, unnest(r.skus, r.quantities) l(sku, n)
       where l.sku = any($1) group by 1, 2
     )
     select i.sku, i.quantity as free, i.reserved,
       (select coalesce(sum(a.delta), 0)::int from inventory.adjustments a where a.sku = i.sku) as "putIn",
       coalesce((select n from line where line.sku = i.sku and status = 'held'), 0) as held,
       coalesce((select n from line where line.sku = i.sku and status = 'committed'), 0) as sold
     from inventory.inventory i where i.sku = any($1) order by i.sku`,
    [skus],
  );

/** How much of this is still to be done: events, webhooks, refunds, and intents that Stripe is to close. */
export async function countOpen(shop: Shop, orderIds: string[]): Promise<number> {
  const [row] = await shop.query<{ n: number }>(
    `select (select count(*)::int from platform.outbox)
       + (select count(*)::int from payments.payments p where p.order_id = any($1) and p.intent_open and p.status <> 'pending')
       + (select count(*)::int from payments.refunds r join payments.payments p using (payment_id)
          where p.order_id = any($1) and r.status = 'pending') as n`,
    [orderIds],
  );
  return (row?.n ?? 0) + (await shop.deliveries()).pending;
}

/** Adds up the day: every order's money against Stripe's books, every unit against the ledger, every event delivered. */
export async function auditDay(shop: Shop, orderIds: string[], skus: string[]): Promise<Audit> {
  const orders = await readOrders(shop, orderIds, await shop.books());
  const stock = await readStock(shop, skus);
  const [events] = await shop.query<{ undelivered: number; dead: number; all: number }>(
    `select (select count(*)::int from platform.outbox) as undelivered,
       (select count(*)::int from platform.dead_letters where replayed_at is null and key = any(k.keys)) as dead,
       (select count(*)::int from platform.events where key = any(k.keys)) as all
     from (select array(select unnest($1::text[]) union all
       select payment_id from payments.payments where order_id = any($1)) as keys) k`,
    [orderIds],
  );
  const { undelivered, dead, all } = events ?? { undelivered: 0, dead: 0, all: 0 };
  const sum = <T>(rows: T[], of: (row: T) => number) => rows.reduce((total, row) => total + of(row), 0);
  const euros = (minor: number) => `${fromMinor(minor, 'EUR')} EUR`;
  const captured = sum(orders, ({ theirs }) => theirs.captured);
  const refunded = sum(orders, ({ theirs }) => theirs.refunded);
  const lines = [
    `${euros(captured)} captured − ${euros(refunded)} refunded = ${euros(captured - refunded)} by Stripe; ` +
      `the ${orders.length} orders say ${euros(sum(orders, ({ says }) => says))}`,
    `${sum(stock, ({ sold }) => sold)} units sold + ${sum(stock, ({ held }) => held)} held + ` +
      `${sum(stock, ({ free }) => free)} free; ${sum(stock, ({ putIn }) => putIn)} were put in`,
    `${all} events of these orders, ${undelivered} still to be delivered`,
  ];
  return { lines, differences: differencesOf(orders, stock, undelivered, dead) };
}
