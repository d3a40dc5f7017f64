import { isDeepStrictEqual } from 'node:util';
import { topics } from '../../src/events/topics.ts';
import { type GroupBooks, groupQueries, readReferrals } from './group-books.ts';
import type { ClientRequest } from './journal.ts';
import type { ChaosPlatform } from './platform.ts';
import { type SaleBooks, saleQueries } from './sale-books.ts';

export type Line = { sku: string; quantity: number; price: number };
export type OrderRow = {
  id: string;
  tenant: string;
  customer: string;
  reference: string | null;
  items: Line[];
  total: string;
  /** The total less the sum of the items: shipping and added tax, less discounts. */
  extra: string;
  currency: string;
  status: string;
  failure: string | null;
  campaign: string | null;
  address: boolean;
};
export type ReservationRow = {
  order: string;
  tenant: string;
  skus: string[];
  quantities: number[];
  status: string;
  /** The units that are back in stock although the order was paid. Null: none if committed, all if released. */
  restocked: number[] | null;
  expires: Date | null;
};
export type StockRow = { tenant: string; sku: string; quantity: number; reserved: number };
export type AdjustmentRow = { tenant: string; sku: string; delta: number; reason: string };
export type ProductRow = { id: string; tenant: string; sku: string; name: string; version: number };
export type PaymentRow = {
  id: string;
  tenant: string;
  order: string;
  amount: string;
  currency: string;
  status: string;
  intent: string | null;
  captured: string;
  refunded: string;
  done: string;
  mode: string;
  /** What an intent authorizes, if that may be more than `amount`. */
  authorized: string | null;
};
export type RefundRow = {
  id: string;
  payment: string;
  amount: string;
  status: string;
  reason: string | null;
  stripe: string | null;
  /** The PaymentIntent that is refunded. */
  intent: string | null;
};
/** A PaymentIntent in our database. `fault`: why it cannot pay its payment. */
export type KnownIntentRow = { id: string; payment: string; received: string; fault: string | null };
/** `quantities`: the units of each line of its order; null: all of them. */
export type ShipmentRow = { id: string; order: string; status: string; tracking: string; quantities: number[] | null };
export type EventRow = {
  seq: number;
  id: string;
  tenant: string;
  topic: string;
  key: string;
  payload: Record<string, unknown>;
  time: Date;
};
export type DeadLetterRow = { sink: string; topic: string; key: string; reason: string; event: string };
/** A record in Kafka. `matchesEvent`: it has the key, tenant and payload of the event with its `ce_id`. */
export type RecordRow = {
  topic: string;
  partition: number;
  offset: number;
  timestamp: number;
  key: string;
  id: string;
  matchesEvent: boolean;
};
/** A PaymentIntent at Stripe. Amounts in minor units of its currency. */
export type IntentRow = {
  id: string;
  order: string;
  status: string;
  amount: number;
  currency: string;
  captured: number;
  refunded: number;
  /** It has held or captured money at some time. */
  paid: boolean;
  secret: string;
  /** Stripe stored an error as the response of the request that created it. */
  hidden: boolean;
  dispute: string | null;
};
/** A SetupIntent at Stripe: a payment method that was saved for a place. */
export type SetupRow = { order: string; status: string };
export type StripeRefundRow = { id: string; intent: string; amount: number; status: string; refundId: string | null };

/**
 * Everything that the audit checks, read once: rows of the database, Kafka's records, Stripe's objects, clients'
 * requests.
 */
export type Books = SaleBooks &
  GroupBooks & {
    orders: OrderRow[];
    reservations: ReservationRow[];
    stock: StockRow[];
    adjustments: AdjustmentRow[];
    products: ProductRow[];
    payments: PaymentRow[];
    refunds: RefundRow[];
    knownIntents: KnownIntentRow[];
    shipments: ShipmentRow[];
    labels: { order: string; status: string }[];
    events: EventRow[];
    undelivered: { sink: string; topic: string; key: string }[];
    deadLetters: DeadLetterRow[];
    inbox: { consumer: string; event: string }[];
    records: RecordRow[];
    intents: IntentRow[];
    setups: SetupRow[];
    stripeRefunds: StripeRefundRow[];
    requests: ClientRequest[];
    /** The latest time (ms) with which a cron ran. */
    clock: number;
  };

export const queries = {
  orders: `select id, tenant_id as tenant, customer_id as customer, purchase_order_number as reference, items, total,
    coalesce(shipping_total - discount_total + case when tax_included then 0 else tax_total end, 0) as extra,
    currency, status, failure_reason as failure, campaign_id as campaign, shipping_address is not null as address
    from orders.orders order by id`,
  reservations: `select order_id as "order", tenant_id as tenant, skus, quantities, status, restocked,
    case when expires_at = 'infinity' then null else expires_at end as expires from inventory.reservations`,
  stock: 'select tenant_id as tenant, sku, quantity, reserved from inventory.inventory order by 1, 2',
  adjustments: 'select tenant_id as tenant, sku, delta, reason from inventory.adjustments',
  products: 'select id, tenant_id as tenant, sku, name, version from catalog.products',
  payments: `select payment_id as id, tenant_id as tenant, order_id as "order", amount, currency, status,
    stripe_payment_intent_id as intent, captured, refunded, refund_done as done, mode,
    authorized from payments.payments`,
  refunds: `select id, payment_id as payment, amount, status, reason, stripe_refund_id as stripe, stripe_intent_id as intent
    from payments.refunds`,
  knownIntents: 'select stripe_id as id, payment_id as payment, received, fault from payments.intents',
  shipments: `select id, order_id as "order", status, tracking_number as tracking, quantities from shipping.shipments`,
  labels: 'select order_id as "order", status from shipping.label_requests',
  events: `select seq::int, id, tenant_id as tenant, topic, key, payload, time from platform.events order by seq`,
  undelivered: `select o.sink, e.topic, o.key from platform.outbox o join platform.events e using (tenant_id, seq)`,
  deadLetters: `select sink, topic, key, reason, event_id as event from platform.dead_letters where replayed_at is null`,
  inbox: 'select consumer, event_id as event from platform.inbox',
  ...groupQueries,
  ...saleQueries,
} as const;

type Metadata = Record<string, string>;
export type StripeState = {
  intents: { id: string; status: string; captured: number; refunded: number; metadata: Metadata }[];
  payment_intents: { id: string; amount: number; currency: string; client_secret: string }[];
  charges: { payment_intent: string; status: string }[];
  setup_intents: { status: string; metadata: Metadata }[];
  disputes: { payment_intent: string; status: string }[];
  hidden: string[];
  refunds: { id: string; payment_intent: string; amount: number; status: string; metadata: Record<string, string> }[];
};

function readRecords(platform: ChaosPlatform, events: EventRow[]): RecordRow[] {
  const known = new Map(events.map((event) => [event.id, event]));
  const records: RecordRow[] = [];
  for (const name of Object.keys(topics)) {
    for (const { topic, partition, offset, timestamp, key, value, headers } of platform.kafka.read(name)) {
      const attributes = new Map(headers.map((header) => [header.key, header.value]));
      const id = attributes.get('ce_id') ?? '';
      const event = known.get(id);
      const matchesEvent =
        event?.topic === topic &&
        event.key === key &&
        event.tenant === attributes.get('ce_tenantid') &&
        isDeepStrictEqual(JSON.parse(value), event.payload);
      records.push({ topic, partition, offset, timestamp, key, id, matchesEvent });
    }
  }
  return records;
}

/** The PaymentIntents of the emulator's state. */
export function intentsOf({ intents, payment_intents, charges, disputes, hidden }: StripeState): IntentRow[] {
  const details = new Map(payment_intents.map((intent) => [intent.id, intent]));
  const paid = new Set(charges.filter(({ status }) => status === 'succeeded').map((charge) => charge.payment_intent));
  const disputed = new Map(disputes.map((dispute) => [dispute.payment_intent, dispute.status]));
  return intents.map(({ id, status, captured, refunded, metadata }) => ({
    id,
    order: metadata.orderId ?? '',
    status,
    amount: details.get(id)?.amount ?? 0,
    currency: details.get(id)?.currency ?? '',
    captured,
    refunded,
    paid: paid.has(id),
    secret: details.get(id)?.client_secret ?? '',
    hidden: hidden.includes(id),
    dispute: disputed.get(id) ?? null,
  }));
}

/** Reads the database, Kafka and the Stripe emulator. Call it when no work is open. */
export async function readBooks(
  platform: ChaosPlatform,
  requests: ClientRequest[],
  clock: number,
  storedTokens: Books['storedTokens'],
): Promise<Books> {
  const results: Record<string, unknown[]> = {};
  for (const [name, sql] of Object.entries(queries)) results[name] = await platform.query(sql);
  const rows = results as Pick<Books, keyof typeof queries>;
  const state = (await platform.emulator('GET', 'state')) as StripeState;
  return {
    ...rows,
    referrals: await readReferrals(platform.worker.url, rows.campaigns),
    records: readRecords(platform, rows.events),
    intents: intentsOf(state),
    setups: state.setup_intents.map(({ status, metadata }) => ({ order: metadata.orderId ?? '', status })),
    stripeRefunds: state.refunds.map(({ id, payment_intent: intent, amount, status, metadata }) => ({
      id,
      intent,
      amount,
      status,
      refundId: metadata.refundId ?? null,
    })),
    requests,
    clock,
    storedTokens,
  };
}
