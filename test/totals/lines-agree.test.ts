import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decimalsOf } from '../../src/base/currencies.ts';
import { createDatabase, type Database } from '../support/harness.ts';
import { totalsInSql } from './database.ts';
import { checkAll } from './exact.ts';
import { input } from './inputs.ts';
import { Exact, type Input, type Totals } from './model.ts';

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

/** The places of the amounts that the constraints hold, as paths into the totals. */
const pathsOf = (totals: Totals): (string | number)[][] => [
  ...['subtotal', 'discount', 'tax', 'shippingTax'].map((name) => [name]),
  ...totals.lines.flatMap((_line, index) =>
    ['subtotal', 'discount', 'tax', 'total'].map((name) => ['lines', index, name]),
  ),
  ...totals.taxLines.map((_line, index) => ['taxLines', index, 'amount']),
];

/** The totals with one amount changed. */
function changed(totals: Totals, path: (string | number)[], change: (amount: string) => string | null): Totals {
  const copy = structuredClone(totals);
  // biome-ignore lint/suspicious/noExplicitAny: a path into any part of it
  const holder = path.slice(0, -1).reduce((value: any, name) => value[name], copy);
  const name = path.at(-1) as string;
  holder[name] = change(holder[name]);
  return copy;
}

const moveBy =
  (units: number, { currency }: Input) =>
  (amount: string) =>
    new Exact(amount).plus(new Exact(units).div(10 ** decimalsOf(currency))).toFixed();

const agree = async (all: Totals[]): Promise<boolean[]> =>
  (
    await database.query<{ agrees: boolean }>(
      `select orders.lines_agree(t->'lines', (t->>'subtotal')::numeric, (t->>'discount')::numeric, (t->>'tax')::numeric,
         (t->>'shippingTax')::numeric, (t->>'taxIncluded')::boolean, t->'taxLines') as agrees
       from unnest($1::jsonb[]) with ordinality e(t, n) order by n`,
      [all.map((totals) => JSON.stringify(totals))],
    )
  ).map(({ agrees }) => agrees);

const mutated = fc.record({ one: input({ minLines: 1 }), pick: fc.nat(), units: fc.constantFrom(-1, 1, 100) });
type Mutated = { one: Input; pick: number; units: number };
const pathOf = (totals: Totals, pick: number) => {
  const paths = pathsOf(totals);
  return paths[pick % paths.length] ?? [];
};

test('lines_agree accepts every result of totals, and rejects each amount that is changed or missing', async () => {
  const evaluate = async (values: Mutated[]) => {
    const all = await totalsInSql(
      database,
      values.map(({ one }) => one),
    );
    const moved = all.map((totals, index) => {
      const { one, pick, units } = values[index] as Mutated;
      return changed(totals, pathOf(totals, pick), moveBy(units, one));
    });
    const without = all.map((totals, index) => changed(totals, pathOf(totals, values[index]?.pick ?? 0), () => null));
    const [kept, other, missing] = await Promise.all([agree(all), agree(moved), agree(without)]);
    return all.map((totals, index) => {
      return { totals, kept: kept[index], other: other[index], missing: missing[index] };
    });
  };
  await checkAll(mutated, 1_000, evaluate, ({ pick }, { totals, kept, other, missing }) => {
    const isTaxLine = pathOf(totals, pick)[0] === 'taxLines';
    const isNothing = isTaxLine && totals.taxLines[Number(pathOf(totals, pick)[1])]?.amount.match(/^0(\.0+)?$/);
    expect({ kept, other, missing: isNothing ? false : missing }).toEqual({ kept: true, other: false, missing: false });
  });
});

test('an order whose amounts do not add up is not stored', async () => {
  const columns = {
    ...{ subtotal: 'subtotal', discount: 'discount_total', shipping: 'shipping_total', shippingTax: 'shipping_tax' },
    ...{ tax: 'tax_total', total: 'total' },
  } as const;
  const small = input({ minLines: 1, lines: 3 }).filter(
    ({ lines, shipping }) =>
      lines.every(({ quantity, price }) => quantity * price < 1_000_000) && (shipping?.price ?? 0) < 1_000_000,
  );
  const inputs = fc.sample(small, { seed: 20261130, numRuns: 30 });
  const store = (totals: Totals) =>
    database.query(
      `insert into orders.orders (id, customer_id, items, currency, status, tenant_id, created_at, updated_at, tax_included,
         tax_lines, discounts, lines, ${Object.values(columns).join(', ')})
       values ($1, 'c', '[]', 'EUR', 'created', 'default', now(), now(), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
      [
        ...[randomUUID(), totals.taxIncluded, JSON.stringify(totals.taxLines), JSON.stringify(totals.discounts)],
        ...[JSON.stringify(totals.lines), ...Object.keys(columns).map((name) => totals[name as keyof typeof columns])],
      ],
    );
  for (const [index, totals] of (await totalsInSql(database, inputs)).entries()) {
    const one = inputs[index] as Input;
    await store(totals);
    for (const name of Object.keys(columns)) {
      await expect(store(changed(totals, [name], moveBy(1, one))), name).rejects.toMatchObject({
        constraint: 'orders_amounts_agree',
      });
    }
  }
});
