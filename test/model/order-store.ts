import { addProduct, type Reply, type Store } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { home, sign } from '../support/shipping.ts';
import { type Command, type Confirm, mostUses, type Order, type State } from './order.ts';

export const prices: Record<string, number> = { A: 10, B: 3.33, C: 7.5 };
/** What the code takes off, in cents. */
export const codeCents = 100;

const methods: Record<Confirm, string> = {
  pay: 'pm_card_visa',
  decline: 'pm_card_chargeDeclined',
  debit: 'pm_usBankAccount_processing',
};

type Placed = { id: string; request: object; key: string; first: Reply };

/**
 * Runs the commands of the model in the store, and reads the state in the model’s format. Each run has separate SKUs.
 */
export async function orderStore(store: Store, run: string, stock: Record<string, number>) {
  const paying = paymentFixture(store);
  const placed = new Map<string, Placed>();
  const skuOf = (sku: string) => `${run}-${sku}`;
  for (const [sku, n] of Object.entries(stock)) await addProduct(store, skuOf(sku), n, prices[sku] ?? 0);
  await store.send('POST', '/v1/discounts', {
    ...{ code: run, name: 'For two orders', type: 'amount', value: codeCents / 100, currency: 'USD' },
    ...{ usageLimit: mostUses, combinable: false },
  });

  const outcomeOf = ({ status, body }: Reply) => (status < 400 ? String(status) : `${status} ${body.code}`);
  const idOf = (name: string) => placed.get(name)?.id ?? '';
  const paymentOf = async (name: string) => {
    const [row] = await store.database.query<{ id: string }>(
      'select payment_id as id from payments.payments where order_id = $1 order by 1 desc limit 1',
      [idOf(name)],
    );
    return row?.id;
  };
  let events = 0;
  let attempts = 0;

  async function place(command: Command & { do: 'place' }): Promise<string> {
    const request = {
      customerId: run,
      // A SKU with several units is ordered in two lines, which the store merges.
      items: Object.entries(command.units).flatMap(([sku, n]) =>
        n > 1
          ? [
              { sku: skuOf(sku), quantity: n - 1 },
              { sku: skuOf(sku), quantity: 1 },
            ]
          : [{ sku: skuOf(sku), quantity: n }],
      ),
      ...(command.addressed ? { shippingAddress: home } : {}),
      ...(command.coded ? { discountCodes: [run.toLowerCase()] } : {}),
    };
    const key = `${run} ${command.order} ${++attempts}`;
    const first = await store.send('POST', '/v1/orders', request, { idempotencyKey: key });
    if (first.body.code === 'discount_invalid') return outcomeOf(first); // there is no order
    placed.set(command.order, { id: first.body.orderId ?? first.body.id, request, key, first });
    return outcomeOf(first);
  }

  async function pay(command: { do: Confirm; order: string }): Promise<string> {
    const opened = await store.send('POST', '/v1/payments', { orderId: idOf(command.order) });
    if (opened.status !== 201) return outcomeOf(opened);
    if (opened.body.clientSecret === null) return '201 refused';
    const declined = command.do === 'decline';
    const confirmed = await paying.pay(opened.body.stripePaymentIntentId, methods[command.do]);
    if (confirmed) return confirmed.status === 'processing' ? '201 processing' : '201 paid';
    const { intents } = await paying.state();
    const intent = intents.find(({ id }) => id === opened.body.stripePaymentIntentId);
    return declined && intent?.status === 'requires_payment_method' ? '201 declined' : '201 refused';
  }

  const intentOf = async (name: string) =>
    (
      await store.database.query<{ id: string | null }>(
        'select stripe_payment_intent_id as id from payments.payments where order_id = $1 order by payment_id desc limit 1',
        [idOf(name)],
      )
    )[0]?.id ?? 'none';

  /** Calls an endpoint of the emulator. Returns false where Stripe would reject the action. */
  async function atStripe(path: string, body: object): Promise<boolean> {
    const answer = await fetch(`${store.stripe.url}/_emulator/${path}`, { method: 'POST', body: JSON.stringify(body) });
    await answer.arrayBuffer();
    return answer.ok;
  }

  async function bank({ order, outcome }: Command & { do: 'bank' }): Promise<string> {
    const done = await atStripe(`payment_intents/${await intentOf(order)}/settle`, { outcome });
    return done ? outcome : 'nothing to decide';
  }

  async function refundAtStripe({ order, cents }: Command & { do: 'refundAtStripe' }): Promise<string> {
    const amount = cents === null ? {} : { amount: cents };
    const done = await atStripe('dashboard/refund', { payment_intent: await intentOf(order), ...amount });
    return done ? 'refunded' : 'refused';
  }

  async function cancelAtStripe({ order }: Command & { do: 'cancelAtStripe' }): Promise<string> {
    const done = await atStripe('dashboard/cancel', { payment_intent: await intentOf(order) });
    return done ? 'cancelled' : 'refused';
  }

  async function bounce({ order }: Command & { do: 'bounce' }): Promise<string> {
    const [row] = await store.database.query<{ id: string }>(
      `select stripe_refund_id as id from payments.refunds where payment_id = $1 and status = 'succeeded'
       order by amount desc, automatic limit 1`,
      [await paymentOf(order)],
    );
    return row && (await atStripe('dashboard/fail_refund', { refund: row.id })) ? 'failed' : 'no refund';
  }

  async function track(command: Command & { do: 'track' }): Promise<string> {
    const [row] = await store.database.query<{ n: string }>(
      'select tracking_number as n from shipping.shipments where order_id = $1',
      [idOf(command.order)],
    );
    if (!row) return 'no shipment';
    const body = JSON.stringify({
      eventId: `${run}-${events++}`,
      trackingNumber: row.n,
      status: command.status,
      occurredAt: new Date().toISOString(),
    });
    return outcomeOf(
      await store.send('POST', '/webhooks/shipping/manual', body, { headers: { 'x-signature': sign(body) } }),
    );
  }

  return {
    /**
     * Runs the cron at a later time: late enough that every hold expires, or only that the store queries Stripe again.
     */
    cron: (seconds: number) => store.cron('* * * * *', new Date(Date.now() + seconds * 1000)),

    async run(command: Command): Promise<string> {
      if (command.do === 'place') return place(command);
      if (command.do === 'pay' || command.do === 'decline' || command.do === 'debit') return pay(command);
      if (command.do === 'bank') return bank(command);
      if (command.do === 'refundAtStripe') return refundAtStripe(command);
      if (command.do === 'cancelAtStripe') return cancelAtStripe(command);
      if (command.do === 'bounce') return bounce(command);
      if (command.do === 'track') return track(command);
      if (command.do === 'cancel')
        return outcomeOf(await store.send('POST', `/v1/orders/${idOf(command.order)}/cancel`, {}));
      if (command.do === 'refund') {
        const payment = await paymentOf(command.order);
        if (payment === undefined) return 'no payment';
        const body = command.cents === null ? {} : { amount: command.cents / 100 };
        return outcomeOf(await store.send('POST', `/v1/payments/${payment}/refunds`, body));
      }
      if (command.do === 'adjust') {
        const body = { delta: command.delta, reason: run };
        return outcomeOf(await store.send('POST', `/v1/inventory/${skuOf(command.sku)}/adjustments`, body));
      }
      if (command.do === 'count') {
        return outcomeOf(
          await store.send('PUT', `/v1/inventory/${skuOf(command.sku)}`, { quantity: command.quantity }),
        );
      }
      if (command.do === 'expire') await this.cron(901);
      return '';
    },

    /** Sends the same request with the same key, which returns the first response whatever the order’s state is now. */
    async repeat(name: string): Promise<{ reply: Reply; first: Reply } | null> {
      const sent = placed.get(name);
      if (sent === undefined) return null;
      const { request, key, first } = sent;
      return { reply: await store.send('POST', '/v1/orders', request, { idempotencyKey: key }), first };
    },

    /** The state in the model’s format. `todo` contains the work that the rows show as pending. */
    async readState(): Promise<State> {
      const [row] = await store.database.query<{
        stock: State['stock'];
        orders: (Order & { id: string })[];
        uses: number;
        todo: number;
      }>(
        `select (select jsonb_object_agg(split_part(i.sku, '-', 2), jsonb_build_object('free', i.quantity, 'held', i.reserved))
             from inventory.inventory i where i.sku like $1 || '-%') as stock,
           (select coalesce(sum(c.used), 0)::int from orders.discount_counters c join orders.discounts d on d.id = c.discount_id
             where d.code = $1) as uses,
           (select count(*)::int from payments.payments p where p.order_id = any($2)
             and (p.intent_open and p.status <> 'pending' or p.status = 'pending' and p.stripe_payment_intent_id is null)) as todo,
           (select coalesce(jsonb_agg(jsonb_build_object('id', o.id, 'status', o.status, 'addressed', o.shipping_address is not null, 'reason', o.failure_reason,
             'total', (o.total * 100)::int, 'hold', r.status,
             'use', coalesce((select case when u.is_taken then 'taken' else 'returned' end from orders.discount_uses u
               where u.order_id = o.id), 'none'),
             'units', (select jsonb_object_agg(split_part(u.sku, '-', 2), u.n) from unnest(r.skus, r.quantities) u(sku, n)),
             'payments', (select coalesce(jsonb_agg(jsonb_build_object('status', p.status, 'captured', (p.captured * 100)::int,
                 'requested', (p.refunded * 100)::int, 'refunded', (p.refund_done * 100)::int,
                 'refunds', (select coalesce(jsonb_agg(jsonb_build_object('cents', (f.amount * 100)::int,
                     'automatic', f.automatic, 'status', f.status) order by f.amount desc, f.automatic, f.status desc), '[]')
                   from payments.refunds f where f.payment_id = p.payment_id),
                 'debit', p.status = 'pending' and p.stripe_status is not distinct from 'processing') order by p.payment_id), '[]')
               from payments.payments p where p.order_id = o.id),
             'shipment', (select s.status from shipping.shipments s where s.order_id = o.id),
             'history', (select jsonb_agg(e.topic order by e.seq) from platform.events e
               where e.key = o.id or e.key in (select p.payment_id from payments.payments p where p.order_id = o.id)))), '[]')
             from orders.orders o join inventory.reservations r on r.order_id = o.id where o.id = any($2)) as orders`,
        [run, [...placed.values()].map(({ id }) => id)],
      );
      const names = new Map([...placed].map(([name, { id }]) => [id, name]));
      return {
        stock: row?.stock ?? {},
        uses: row?.uses ?? 0,
        todo: Array.from({ length: row?.todo ?? 0 }, () => 'at Stripe'),
        orders: Object.fromEntries(
          (row?.orders ?? []).map(({ id, ...order }) => [names.get(id) ?? id, { ...order, name: names.get(id) ?? id }]),
        ),
      };
    },
  };
}

export type OrderStore = Awaited<ReturnType<typeof orderStore>>;
