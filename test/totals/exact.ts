import fc from 'fast-check';
import { Exact } from './model.ts';

const seed = Number(process.env.SEED ?? 20261130);
const factor = Number(process.env.MODEL_RUNS ?? 1);

/** The JSON value with each number as the text that was written. */
export const parseExactly = (json: string): unknown =>
  JSON.parse(json, ((_key: string, value: unknown, { source }: { source: string }) =>
    typeof value === 'number' ? source : value) as (key: string, value: unknown) => unknown);

/** Decimal text without trailing zeros. */
export const plain = (amount: string): string => new Exact(amount).toFixed();

/** Every text of this form in a JSON value in its plain form, so that 1.50 and 1.5 are equal. */
export const plainAmounts = (value: unknown, key = ''): unknown => {
  if (Array.isArray(value)) return value.map((one) => plainAmounts(one));
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plainAmounts(one, name)]));
  return typeof value === 'string' && !['id', 'lineId', 'code', 'name', 'sku'].includes(key) ? plain(value) : value;
};

/**
 * Checks random values, all of them with one query. If one fails, finds the smallest that fails, with a query for each.
 * `evaluate` runs SQL on all values; `check` throws if the result for a value is wrong.
 */
export async function checkAll<Value, Result>(
  arbitrary: fc.Arbitrary<Value>,
  runs: number,
  evaluate: (values: Value[]) => Promise<Result[]>,
  check: (value: Value, result: Result) => void,
): Promise<void> {
  const settings = { seed, numRuns: runs * factor };
  const values = fc.sample(arbitrary, settings);
  const results = await evaluate(values);
  try {
    for (const [index, value] of values.entries()) check(value, results[index] as Result);
  } catch (error) {
    await fc.assert(
      fc.asyncProperty(arbitrary, async (value) => {
        check(value, (await evaluate([value]))[0] as Result);
      }),
      settings,
    );
    throw error; // the values of the batch fail only together
  }
}
