import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';
import { checkAll } from './exact.ts';
import { Exact, refundParts, roundHalfUp, split, sum } from './model.ts';

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

const scaleOf = (unit: string): number => (unit === '1' ? 1 : 100);
const inCurrency = (units: number, unit: string): string => new Exact(units).div(scaleOf(unit)).toFixed();
const unit = fc.constantFrom('0.01', '1');
const most = 99_999_999_999_999;
const amount = fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: most }));

describe('orders.allocate', () => {
  const weights = fc.array(fc.oneof(fc.constant(0), fc.constantFrom(1, 100, 333), amount), {
    maxLength: 12,
    size: 'max',
  });
  const split_ = fc.record({ unit, weights, share: fc.double({ min: 0, max: 1, noNaN: true }), more: amount });
  const case_ = split_.map(({ unit, weights, share, more }) => {
    const whole = weights.reduce((a, b) => a + b, 0);
    return { unit, weights, amount: share < 0.8 ? Math.floor(whole * (share / 0.8)) : more };
  });
  type Case = { unit: string; weights: number[]; amount: number };

  const allocate = async (cases: Case[]): Promise<string[][]> => {
    const written = cases.map((one) => ({
      unit: one.unit,
      amount: inCurrency(one.amount, one.unit),
      weights: `{${one.weights.map((weight) => inCurrency(weight, one.unit)).join()}}`,
    }));
    const rows = await database.query<{ parts: string[] }>(
      `select orders.allocate((c->>'amount')::numeric, (c->>'weights')::numeric[], (c->>'unit')::numeric)::text[] as parts
       from jsonb_array_elements($1::jsonb) with ordinality e(c, n) order by n`,
      [JSON.stringify(written)],
    );
    return rows.map(({ parts }) => parts);
  };

  test('returns parts that add up to the amount, each less than a unit from its exact share', async () => {
    await checkAll(case_, 1_000, allocate, (one, texts) => {
      const parts = texts.map((text) => new Exact(text).times(scaleOf(one.unit)));
      const whole = one.weights.reduce((total, weight) => total.plus(weight), new Exact(0));
      expect(sum(parts).toFixed()).toBe(whole.isZero() ? '0' : String(one.amount));
      for (const [index, part] of parts.entries()) {
        const weight = one.weights[index] ?? 0;
        expect(part.isInteger() && !part.isNegative()).toBe(true);
        expect(part.times(whole).minus(new Exact(one.amount).times(weight)).abs().lt(whole) || whole.isZero()).toBe(
          true,
        );
        if (whole.gte(one.amount)) expect(part.lte(weight)).toBe(true);
      }
    });
  });

  test('gives the odd units to the largest remainders, and of equal ones to the earlier', async () => {
    await checkAll(case_, 1_000, allocate, (one, parts) => {
      const expected = split(
        new Exact(one.amount),
        one.weights.map((weight) => new Exact(weight)),
      );
      expect(parts.map((part) => new Exact(part).toFixed())).toEqual(
        expected.map((part) => part.div(scaleOf(one.unit)).toFixed()),
      );
    });
    expect(await allocate([{ unit: '0.01', weights: [100, 100, 100], amount: 200 }])).toEqual([
      ['0.67', '0.67', '0.66'],
    ]);
    expect(await allocate([{ unit: '1', weights: [1, 1, 0], amount: 1 }])).toEqual([['1', '0', '0']]);
    expect(await allocate([{ unit: '1', weights: [], amount: 1 }])).toEqual([[]]);
  });
});

describe('a share of an amount', () => {
  test('is rounded half up, however large the amount is', async () => {
    const fraction = fc.record({
      unit,
      amount,
      share: fc.nat(2_000_000),
      whole: fc.integer({ min: 1, max: 2_000_000 }),
    });
    type Fraction = { unit: string; amount: number; share: number; whole: number };
    const inSql = async (values: Fraction[]) =>
      (
        await database.query<{ part: string }>(
          `select orders.fraction(a, s, w, u)::text as part
           from unnest($1::numeric[], $2::numeric[], $3::numeric[], $4::numeric[]) with ordinality e(a, s, w, u, n) order by n`,
          [
            values.map((one) => inCurrency(one.amount, one.unit)),
            ...[values.map(({ share }) => share), values.map(({ whole }) => whole), values.map((one) => one.unit)],
          ],
        )
      ).map(({ part }) => part);
    await checkAll(fraction, 1_000, inSql, (one, part) => {
      const units = roundHalfUp(new Exact(one.amount).times(one.share), new Exact(one.whole));
      expect(new Exact(part).toFixed()).toBe(units.div(scaleOf(one.unit)).toFixed());
    });
  });
});

describe('refunds of units', () => {
  /** The units of a line, and how many of them each refund returns, in any order until all are refunded. */
  const refunds = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 });
  const line = fc.record({ unit, amount, refunds });
  type Refunds = { unit: string; amount: number; refunds: number[] };

  test('return exactly the frozen amount, whatever the split', () => {
    fc.assert(
      fc.property(line, ({ amount, refunds }) => {
        const units = refunds.reduce((a, b) => a + b, 0);
        const parts = refundParts(new Exact(amount), units, refunds);
        expect(sum(parts).toFixed()).toBe(String(amount));
        for (const [index, part] of parts.entries()) {
          const exact = new Exact(amount).times(refunds[index] ?? 0);
          expect(part.isNegative()).toBe(false);
          expect(part.times(units).minus(exact).abs().lte(units)).toBe(true); // at most a unit from its share
        }
      }),
      { seed: 20261130, numRuns: 1_000 },
    );
  });

  /** The refunds of each line, one after the other, each by `orders.refund_amounts` of an order with this line. */
  const query = `
    select array(
      select orders.refund_amounts(
        jsonb_populate_record(null::orders.orders, jsonb_build_object('currency', l.currency, 'status', 'confirmed',
          'total', l.amount, 'subtotal', l.amount, 'discount_total', 0, 'shipping_total', 0, 'shipping_tax', 0,
          'tax_total', 0, 'tax_included', false, 'refunded_quantities', array[before.units],
          'refunded_amounts', array[orders.fraction(l.amount, before.units, l.units, l.unit)],
          'items', jsonb_build_array(jsonb_build_object('sku', 'A', 'quantity', l.units, 'price', 1)),
          'lines', jsonb_build_array(jsonb_build_object('id', '1', 'total', l.amount)))),
        jsonb_build_object('items', jsonb_build_array(jsonb_build_object('lineId', '1', 'quantity', r.units))), null
      ) ->> 'amount'
      from unnest(l.refunds) with ordinality r(units, n)
      cross join lateral (select coalesce(sum(e), 0)::int as units from unnest(l.refunds[:r.n - 1]) e) before
      order by r.n) as parts
    from (
      select n, (l->>'amount')::numeric as amount, array(select jsonb_array_elements_text(l->'refunds'))::int[] as refunds,
        l->>'currency' as currency, (l->>'unit')::numeric as unit, (l->>'units')::int as units
      from jsonb_array_elements($1::jsonb) with ordinality e(l, n)
    ) l order by l.n`;

  test('are those of the model in SQL', async () => {
    // An order's total has eight digits before the point.
    const fitting = ({ unit, amount }: Refunds) => amount % (unit === '1' ? 99_999_999 : 9_999_999_999);
    const inSql = async (values: Refunds[]): Promise<string[][]> => {
      const lines = values.map((value) => ({
        ...{ unit: value.unit, amount: inCurrency(fitting(value), value.unit), refunds: value.refunds },
        currency: value.unit === '1' ? 'JPY' : 'EUR',
        units: value.refunds.reduce((a, b) => a + b, 0),
      }));
      return (await database.query<{ parts: string[] }>(query, [JSON.stringify(lines)])).map(({ parts }) => parts);
    };
    await checkAll(line, 300, inSql, (value, parts) => {
      const units = value.refunds.reduce((a, b) => a + b, 0);
      const expected = refundParts(new Exact(fitting(value)), units, value.refunds);
      expect(parts.map((part) => new Exact(part).toFixed())).toEqual(
        expected.map((part) => part.div(scaleOf(value.unit)).toFixed()),
      );
    });
  });
});
