import { createHash, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { mulberry32 } from '../../dev/stripe/webhooks.ts';
import { createDatabase, type Database } from '../support/harness.ts';
import { jobSecret } from '../support/secrets.ts';

/** Refunds of units in random splits, against a model in whole minor units. Runs the database's functions alone. */
let database: Database;
let client: pg.Client;
let keyHash: string;
const seed = Number(process.env.SEED ?? 20261130);
const rounds = Number(process.env.MODEL_RUNS ?? 12);

beforeAll(async () => {
  database = await createDatabase();
  client = new pg.Client(database.url);
  await client.connect();
  keyHash = createHash('sha256')
    .update(await database.key())
    .digest('hex');
  await database.query(
    `insert into orders.tax_rates (id, tenant_id, name, country, rate, created_at, updated_at)
     values ('rate', 'default', 'TVA', 'FR', 17.5, now(), now())`,
  );
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

// biome-ignore lint/suspicious/noExplicitAny: a test reads any shape of result
const run = async (name: string, input: object, caller: object = { keyHash }): Promise<any> =>
  (await client.query(`select ${name}($1, $2) as result`, [caller, input])).rows[0].result;
const asJob = (name: string, input: object) => run(name, input, { jobSecret });

const kinds = [
  { currency: 'EUR', unit: 100, included: false },
  { currency: 'EUR', unit: 100, included: true },
  { currency: 'JPY', unit: 1, included: false },
  { currency: 'JPY', unit: 1, included: true },
];
type Kind = (typeof kinds)[number];

/** Places an order of `lines` with tax, shipping and a discount, and pays it. Returns its row as the API shows it. */
async function buy({ currency, unit, included }: Kind, lines: { price: number; quantity: number }[]) {
  await database.query('update platform.tenants set prices_include_tax = $1 where id = $2', [included, 'default']);
  const mark = randomUUID();
  const optionId = randomUUID();
  await database.query(
    `insert into orders.shipping_options (id, tenant_id, name, countries, currency, price, created_at, updated_at)
     values ($1, 'default', 'Post', '{FR}', $2, $3, now(), now())`,
    [optionId, currency, 799 / unit],
  );
  await database.query(
    `insert into orders.discounts (id, tenant_id, code, name, type, value, combinable, created_at, updated_at)
     values ($1, 'default', $1, 'D', 'percentage', 13, false, now(), now())`,
    [mark],
  );
  const items = [];
  for (const [at, { price, quantity }] of lines.entries()) {
    const sku = `${mark}-${at}`;
    await run('catalog.create_product', {
      ...{ id: randomUUID(), sku, name: sku, description: null, price: price / unit, currency, inventory: 1_000 },
    });
    items.push({ sku, quantity });
  }
  const orderId = randomUUID();
  const address = { name: 'Ada', line1: 'Rue 1', city: 'Paris', postalCode: '75001', country: 'FR' };
  const placed = await run('orders.place_order', {
    ...{ id: orderId, customerId: 'c', items, currency, async: false, holdSeconds: 900, shippingAddress: address },
    ...{ discountCodes: [mark], shippingOptionId: optionId },
  });
  expect(placed.answer).toMatchObject({ taxIncluded: included, lines: expect.any(Array) });
  const paymentId = randomUUID();
  const intentId = `pi_${paymentId}`;
  await asJob('payments.open_payments', {
    ...{ tenant: 'default', messages: [{ eventId: randomUUID(), orderId, id: paymentId }] },
  });
  const intents = [{ id: paymentId, intentId, attempt: 1, status: 'requires_payment_method', clientSecret: 's' }];
  await asJob('payments.record_intents', { tenant: 'default', refused: [], intents, again: [] });
  const amount = String(placed.answer.total);
  await asJob('payments.apply_stripe', {
    ...{
      eventId: randomUUID(),
      paymentId,
      intentId,
      terms: { holdSeconds: 900, secureSeconds: 600, graceSeconds: 900 },
    },
    intent: {
      ...{ status: 'succeeded', received: amount, amount, currency, clientSecret: null, failure: null },
      madeFor: { paymentId, orderId, tenant: 'default' },
    },
  });
  return { orderId, paymentId, intentId, placed: placed.answer, skus: items.map(({ sku }) => sku) };
}

const rowsOf = async (orderId: string, paymentId: string) => {
  const [order] = await database.query<Record<string, number[] | string | null>>(
    `select status, refunded_quantities as refunded, restocked_quantities as restocked, shipping_refunded as shipping
     from orders.orders where id = $1`,
    [orderId],
  );
  const refunds = await database.query<{
    id: string;
    status: string;
    amount: string;
    items: { lineId: string; quantity: number; amount: number; restocked: number }[] | null;
  }>('select id, status, amount, items from payments.refunds where payment_id = $1 order by id', [paymentId]);
  const [hold] = await database.query<{ status: string; restocked: number[] | null }>(
    'select status, restocked from inventory.reservations where order_id = $1',
    [orderId],
  );
  return { order, refunds, hold };
};

test.each(kinds)(
  `any split of a refund in $currency (tax included: $included) adds up to what was paid, and a unit is restocked once (seed ${seed})`,
  async (kind) => {
    const random = mulberry32(seed + kinds.indexOf(kind));
    const below = (limit: number) => Math.floor(random() * limit);
    const minor = (amount: unknown) => Math.round(Number(amount) * kind.unit);
    for (let round = 0; round < rounds; round++) {
      const lines = Array.from({ length: 1 + below(3) }, () => ({ price: 100 + below(5_000), quantity: 1 + below(7) }));
      const made = await buy(kind, lines);
      const totals = made.placed.lines.map((line: { total: number }) => minor(line.total)) as number[];
      const paid = minor(made.placed.total);
      const shippingPaid = paid - totals.reduce((sum, total) => sum + total, 0);
      const worth = (line: number, units: number) => {
        const n = lines[line]?.quantity ?? 1;
        return Math.floor((2 * (totals[line] ?? 0) * units + n) / (2 * n));
      };
      let hasAmounts = false;
      const sums = lines.map(() => 0); // what is refunded of each line

      const check = async (hasRefunded: boolean) => {
        const { order, refunds, hold } = await rowsOf(made.orderId, made.paymentId);
        const standing = refunds.filter(({ status }) => status !== 'failed');
        expect(standing.reduce((sum, { amount }) => sum + minor(amount), 0)).toBeLessThanOrEqual(paid);
        for (const at of lines.keys()) {
          const parts = standing.flatMap(({ items }) => items ?? []).filter(({ lineId }) => lineId === String(at + 1));
          const units = parts.reduce((sum, { quantity }) => sum + quantity, 0);
          expect((order?.refunded as number[] | null)?.[at] ?? 0).toBe(units);
          const sum = parts.reduce((money, { amount }) => money + minor(amount), 0);
          expect(sum).toBeLessThanOrEqual(totals[at] ?? 0);
          // A refund that fails leaves the amounts of later ones. The next refund corrects the sum.
          if (hasRefunded) expect([sums[at], Math.max(sums[at] ?? 0, worth(at, units))]).toContain(sum);
          sums[at] = sum;
          const [stock] = await database.query<{ quantity: number }>(
            'select quantity from inventory.inventory where sku = $1',
            [made.skus[at]],
          );
          const back = parts.reduce((sum, { restocked }) => sum + restocked, 0);
          const sold = lines[at]?.quantity ?? 0;
          if (hold?.status === 'committed') {
            expect((order?.restocked as number[] | null)?.[at] ?? 0).toBe(back);
            expect(stock?.quantity).toBe(1_000 - sold + back);
          } else {
            expect(stock?.quantity).toBe(1_000 - (units - back)); // all but what was refunded without going back
          }
        }
      };

      for (let turn = 0; turn < 14; turn++) {
        const { refunds } = await rowsOf(made.orderId, made.paymentId);
        const action = below(10);
        if (action < 5) {
          const items = [...lines.keys()]
            .filter(() => below(2) === 0)
            .map((at) => ({ lineId: String(at + 1), quantity: 1 + below(3) }));
          const shipping = below(4) === 0 ? [true, below(shippingPaid + 1) / kind.unit][below(2)] : false;
          await run('orders.refund_order', {
            ...{ id: made.orderId, refundId: randomUUID(), items, shipping },
            ...[{}, { restock: true }, { restock: false }][below(3)],
          });
        } else if (action === 5) {
          hasAmounts = true;
          await run('payments.request_refund', {
            ...{ id: made.paymentId, refundId: randomUUID(), amount: (1 + below(300)) / kind.unit },
          });
        } else if (action === 6) {
          hasAmounts = true;
          await asJob('payments.apply_stripe', {
            ...{ eventId: randomUUID(), paymentId: made.paymentId, intentId: made.intentId },
            refund: {
              id: null,
              stripeId: randomUUID(),
              status: 'succeeded',
              amount: String((1 + below(300)) / kind.unit),
            },
          }).catch((error: unknown) => expect(String(error)).toContain('payments_refunds_within_captured'));
        } else {
          const chosen = refunds.filter(({ status }) => status !== 'failed')[below(refunds.length || 1)];
          if (chosen) {
            await asJob('payments.apply_stripe', {
              ...{ eventId: randomUUID(), paymentId: made.paymentId, intentId: made.intentId },
              refund: {
                ...{ id: chosen.id, stripeId: `re_${chosen.id}`, amount: chosen.amount },
                status: below(3) === 0 ? 'failed' : 'succeeded',
              },
            });
          }
        }
        await check(action < 5).catch((error: unknown) => {
          throw new Error(`round ${round}, turn ${turn}: ${String(error)}`, { cause: error });
        });
      }
      // Refund one by one what is left. If no refund of an amount took a part of it, it is exactly what was paid.
      const { order } = await rowsOf(made.orderId, made.paymentId);
      if (order?.status === 'refunded') continue;
      for (const [at, { quantity }] of lines.entries()) {
        for (let unit = (order?.refunded as number[] | null)?.[at] ?? 0; unit < quantity; unit++) {
          const { answer } = await run('orders.refund_order', {
            ...{ id: made.orderId, refundId: randomUUID(), items: [{ lineId: String(at + 1), quantity: 1 }] },
          });
          if (!hasAmounts) expect(answer.error ?? 'none').toBe('none');
        }
      }
      await run('orders.refund_order', { id: made.orderId, refundId: randomUUID(), items: [], shipping: true });
      await check(true);
      if (!hasAmounts) {
        const after = await rowsOf(made.orderId, made.paymentId);
        const standing = after.refunds.filter(({ status }) => status !== 'failed');
        expect(standing.reduce((sum, { amount }) => sum + minor(amount), 0)).toBe(paid);
      }
    }
  },
  120_000,
);
