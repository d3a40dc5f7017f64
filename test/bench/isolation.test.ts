import { expect, test } from 'vitest';
import { readIsolationOptions } from '../../bench/isolation/options.ts';
import {
  cpuText,
  describeResponses,
  markdownOf,
  type Phase,
  quantile,
  rowsOf,
  shareOf,
} from '../../bench/isolation/report.ts';

const phase = (noisy: boolean, ms: number): Phase => ({
  ...{ noisy, cpu: { worker: noisy ? 30 : 10, postgres: 5 } },
  times: { order: [ms, ms], payment: [ms], webhook: [ms], refund: [ms], failed: [] },
});

test('the ratio compares medians over the phases, so one slow phase does not change it', () => {
  const phases = [10, 20, 900].map((ms) => phase(false, ms)).concat([30, 40, 5].map((ms) => phase(true, ms)));
  const [order] = rowsOf(phases);
  expect(order).toEqual({ kind: 'order', sales: 12, p50: [20, 30], p95: [20, 30], ratio: 1.5 });
  expect(markdownOf(rowsOf(phases)).split('\n')[2]).toBe('| order | 12 | 20 | 30 | 20 | 30 | 1.5 |');
});

test('a kind of request without measurements has no ratio', () => {
  expect(quantile([], 0.95)).toBeNaN();
  expect(rowsOf([phase(false, 1)])[0]?.ratio).toBeNaN();
});

test('responses to the noise are summed over the phases', () => {
  expect(describeResponses([{ flood: { 200: 1, 429: 2 } }, { flood: { 429: 3 } }])).toEqual([
    'flood: 1 × 200, 5 × 429',
  ]);
});

test('CPU is reported by part, in percent of one core', () => {
  expect(shareOf({ worker: 100 }, { worker: 600, stripe: 50 }, 1_000)).toEqual({ worker: 50, stripe: 5 });
  expect(cpuText([phase(false, 1), phase(true, 1)])).toBe('worker 10 and 30, postgres 5 and 5, total 15 and 35');
});

test('an unknown flag, an unknown noise and an invalid number are rejected', () => {
  expect(readIsolationOptions(['--help'])).toBeNull();
  expect(readIsolationOptions(['--noise', 'queue,import'])?.noises).toEqual(['queue', 'import']);
  for (const args of [
    ['--noise', 'rain'],
    ['--rate', '0'],
    ['--rounds', 'many'],
    ['--minutes', '1'],
  ]) {
    expect(() => readIsolationOptions(args)).toThrow();
  }
});
