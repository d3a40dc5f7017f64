import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decimalsOf } from '../../src/base/currencies.ts';
import { createDatabase, type Database } from '../support/harness.ts';
import { totalsInSql as allInSql } from './database.ts';
import { checkAll, plainAmounts } from './exact.ts';
import { input } from './inputs.ts';
import { Exact, type Input, sum, type Totals, totalsOf } from './model.ts';

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

const totalsInSql = (inputs: Input[]): Promise<Totals[]> => allInSql(database, inputs);

const amountsOf = (totals: Totals): string[] => [
  ...[totals.subtotal, totals.discount, totals.shipping, totals.shippingTax, totals.tax, totals.total],
  ...totals.lines.flatMap(({ subtotal, discount, tax, total }) => [subtotal, discount, tax, total]),
  ...totals.taxLines.flatMap(({ taxable, amount }) => [taxable, amount]),
  ...totals.discounts.flatMap(({ amount, allocations }) => [amount, ...allocations.map((part) => part.amount)]),
];
const added = (amounts: string[]): string => sum(amounts.map((amount) => new Exact(amount))).toFixed();
const minus = (a: string, b: string): string => new Exact(a).minus(b).toFixed();
const plain = (totals: Totals): Totals => plainAmounts(totals) as Totals;

/** What every result must be, whatever the model says. */
function expectSound({ currency }: Input, exact: Totals): void {
  const decimals = decimalsOf(currency) === 2 ? /^\d+(\.\d{1,2})?$/ : /^\d+$/;
  for (const amount of amountsOf(exact)) expect(amount).toMatch(decimals); // not negative either
  for (const { rate } of exact.taxLines) expect(rate).toMatch(/^\d+(\.\d{1,4})?$/);
  const totals = plain(exact);
  const due = totals.taxIncluded ? '0' : totals.tax;
  expect(added([minus(totals.subtotal, totals.discount), totals.shipping, due])).toBe(totals.total);
  for (const line of totals.lines) {
    expect(added([minus(line.subtotal, line.discount), totals.taxIncluded ? '0' : line.tax])).toBe(line.total);
    expect(new Exact(line.discount).lte(line.subtotal)).toBe(true);
    const shares = totals.discounts.flatMap(({ allocations }) => allocations).filter((part) => part.lineId === line.id);
    expect(added(shares.map(({ amount }) => amount))).toBe(line.discount);
  }
  for (const name of ['subtotal', 'discount'] as const)
    expect(added(totals.lines.map((line) => line[name]))).toBe(totals[name]);
  expect(added([...totals.lines.map(({ tax }) => tax), totals.shippingTax])).toBe(totals.tax);
  expect(added(totals.taxLines.map(({ amount }) => amount))).toBe(totals.tax);
  for (const { amount, allocations } of totals.discounts)
    expect(added(allocations.map((part) => part.amount))).toBe(amount);
}

function expectModel(one: Input, totals: Totals): void {
  expect(plain(totals)).toEqual(totalsOf(one));
}

describe('totals', () => {
  test('are those of the model, and every sum agrees to the cent in every currency', async () => {
    await checkAll(input(), 1_500, totalsInSql, (one, totals) => {
      expectSound(one, totals);
      expectModel(one, totals);
    });
  });

  test('are those of the model with ten discounts on lists of lines', async () => {
    const many = input({ lines: 12, minLines: 3, discounts: 10 });
    await checkAll(many, 500, totalsInSql, (one, totals) => {
      expectSound(one, totals);
      expectModel(one, totals);
    });
  });

  test('are those of the model for 1,200 lines', async () => {
    const long = input({ lines: 1_200, minLines: 1_200, discounts: 10 });
    await checkAll(long, 4, totalsInSql, (one, totals) => {
      expectSound(one, totals);
      expectModel(one, totals);
    });
  });

  test('do not depend on the order of the lines', async () => {
    const shuffled = input({ minLines: 2 }).chain((one) =>
      fc.record({
        one: fc.constant(one),
        lines: fc.shuffledSubarray(one.lines, { minLength: one.lines.length, maxLength: one.lines.length }),
      }),
    );
    const bothInSql = async (values: { one: Input; lines: Input['lines'] }[]) => {
      const [before, after] = await Promise.all([
        totalsInSql(values.map(({ one }) => one)),
        totalsInSql(values.map(({ one, lines }) => ({ ...one, lines }))),
      ]);
      return before.map((totals, index) => [totals, after[index] as Totals] as const);
    };
    await checkAll(shuffled, 500, bothInSql, ({ one, lines }, [before, after]) => {
      expect(after.lines.map(({ id }) => id)).toEqual(lines.map(({ id }) => id));
      // Lines with the same SKU, sum and price may swap their amounts.
      const amountsBySum = (totals: Totals) =>
        totals.lines
          .map(({ id, ...amounts }) => {
            const { sku, price, quantity } = one.lines.find((line) => line.id === id) as Input['lines'][number];
            return JSON.stringify({ sku, price, quantity: price === 0 ? 0 : quantity, ...amounts });
          })
          .sort();
      expect(amountsBySum(after)).toEqual(amountsBySum(before));
      const sums = ({ lines: _, discounts, ...totals }: Totals) => {
        return { ...totals, discounts: discounts.map(({ id, amount }) => ({ id, amount })) };
      };
      expect(sums(after)).toEqual(sums(before));
    });
  });

  test('leave the lines alone that no discount names', async () => {
    await checkAll(input({ minLines: 2 }), 300, totalsInSql, (one, totals) => {
      if (one.discounts.some(({ type, lines }) => type !== 'free_shipping' && lines === undefined)) return;
      const named = new Set(one.discounts.flatMap(({ lines }) => lines ?? []));
      for (const { id, discount } of plain(totals).lines) if (!named.has(id)) expect(discount).toBe('0');
    });
  });

  test('cost nothing with a discount of 100 %, apart from shipping, and free shipping takes that', async () => {
    const free = { id: 'z', name: 'All', type: 'percentage', value: 100, combinable: true } as const;
    const everything = input().map((one): Input => ({ ...one, discounts: [free] }));
    await checkAll(everything, 200, totalsInSql, (one, exact) => {
      const { total, shipping, tax, taxIncluded } = plain(exact);
      expect(total).toBe(added([shipping, taxIncluded ? '0' : tax]));
      if (!one.reverseCharge) expect(shipping).toBe(new Exact(one.shipping?.price ?? 0).toFixed());
    });
    const shipping = { ...free, id: 'y', type: 'free_shipping', value: 0 } as const;
    const allFree = everything.map((one): Input => ({ ...one, discounts: [free, shipping] }));
    await checkAll(allFree, 200, totalsInSql, (_one, totals) => {
      expect(plain(totals)).toMatchObject({ total: '0', shipping: '0', tax: '0' });
    });
  });

  test('take the discounts that save most', async () => {
    const allChoices = async (inputs: Input[]) => {
      const sets = inputs.map(({ discounts }) => [
        discounts.filter(({ combinable }) => combinable),
        ...discounts.filter(({ combinable }) => !combinable).map((discount) => [discount]),
      ]);
      const trials = inputs.flatMap((one, index) => (sets[index] ?? []).map((discounts) => ({ ...one, discounts })));
      const results = await totalsInSql([...inputs, ...trials]);
      let next = inputs.length;
      return inputs.map((_one, index) => {
        const choices = results.slice(next, next + (sets[index]?.length ?? 0));
        next += choices.length;
        return { totals: results[index] as Totals, choices };
      });
    };
    const saved = ({ discounts }: Totals): number => Number(added(discounts.map(({ amount }) => amount)));
    await checkAll(input({ minLines: 1, discounts: 6 }), 300, allChoices, (_one, { totals, choices }) => {
      expect(saved(totals)).toBe(Math.max(...choices.map(saved)));
    });
  });

  test('with reverse charge contain no tax, and the price without it', async () => {
    const reverse = input().map((one): Input => ({ ...one, reverseCharge: true, discounts: [] }));
    const withAndWithout = async (inputs: Input[]) => {
      const results = await totalsInSql([...inputs, ...inputs.map((one) => ({ ...one, reverseCharge: false }))]);
      return inputs.map((_one, index) => [results[index], results[index + inputs.length]] as [Totals, Totals]);
    };
    await checkAll(reverse, 300, withAndWithout, (_one, [exact, exactTaxed]) => {
      const [totals, taxed] = [plain(exact), plain(exactTaxed)];
      expect(totals).toMatchObject({ tax: '0', shippingTax: '0', taxIncluded: false });
      expect(totals.total).toBe(minus(taxed.total, taxed.tax));
      expect(totals.taxLines.every(({ name, amount }) => name === 'Reverse charge' && amount === '0')).toBe(true);
    });
  });

  test('are exact where a quotient of 16 digits is not', async () => {
    const one = input({ currency: 'EUR', minLines: 1 }).map((drawn): Input => {
      const lines = drawn.lines.map((line) => ({
        ...line,
        quantity: 1_000_000,
        price: 99_999_999.99 - line.quantity / 100,
      }));
      return { ...drawn, lines: lines.map((line) => ({ ...line, price: Number(line.price.toFixed(2)) })) };
    });
    await checkAll(one, 500, totalsInSql, expectModel);
  });
});
