import { expect, test } from 'vitest';
import { parseStat, sumTree } from '../../bench/fixture/cpu.ts';
import { median, percentile, type Sample, summarise } from '../../bench/load/figures.ts';

const sample = (requests: number, seconds: number, overrides: Partial<Sample> = {}): Sample => ({
  ...{ requests, begun: requests, seconds, p50: 1, p95: 2, p99: 3, failed: 0, calls: requests },
  cpu: { worker: requests, bridge: 0, postgres: 2 * requests },
  ...overrides,
});

test('a median is the middle number, or the mean of the two middle numbers', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([])).toBeNaN();
});

test('a percentile is one of the measured numbers', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
  expect([50, 95, 99, 100].map((percent) => percentile(hundred, percent))).toEqual([50, 95, 99, 100]);
  expect(percentile([7], 99)).toBe(7);
  expect(percentile([], 50)).toBeNaN();
});

test('one slow round changes the spread but not the median', () => {
  const { rate, lowest, highest, rounds, requests } = summarise([sample(1_000, 1), sample(100, 1), sample(1_200, 1)]);
  expect({ rate, lowest, highest, rounds, requests }).toEqual({
    ...{ rate: 1_000, lowest: 100, highest: 1_200, rounds: 3, requests: 2_300 },
  });
});

test('CPU and calls are divided by all requests that were begun', () => {
  const { cpu, calls } = summarise([
    sample(90, 1, { begun: 100, calls: 100, cpu: { worker: 50, bridge: 10, postgres: 200 } }),
  ]);
  expect(calls).toBe(1);
  expect(cpu).toEqual({ worker: 0.5, bridge: 0.1, postgres: 2 });
});

test('the CPU of a process is read even if its name has spaces and parentheses', () => {
  const line = '42 (a (b) c) S 7 42 42 0 -1 4194560 1 2 0 0 150 50 5 6 20 0 11 0 100 1 2';
  expect(parseStat(line)).toEqual({ pid: 42, parent: 7, name: 'a (b) c', ms: 2_110 });
});

test("a part's CPU is that of its process and all descendants, and of no other process", () => {
  const row = (pid: number, parent: number, name: string, ms: number) => ({ pid, parent, name, ms });
  const rows = [row(5, 3, 'workerd', 100), row(2, 1, 'node', 10), row(3, 2, 'sh', 1), row(9, 1, 'workerd', 1_000)];
  expect(sumTree(rows, 2)).toBe(111);
  expect(sumTree(rows, 2, 'workerd')).toBe(100);
});
