import { expect, test } from 'vitest';
import { cases, withLimits } from '../../bench/load/cases.ts';
import { drawChart, roundUp, ticksOf } from '../../bench/load/chart.ts';
import { markdownOf } from '../../bench/load/docs.ts';
import { readBenchOptions } from '../../bench/load/options.ts';
import { align, formatFigure, targetLines } from '../../bench/load/table.ts';
import { type CaseResult, isMet, targetsOf } from '../../bench/load/targets.ts';

const names = cases.map(({ name }) => name);

test('without flags each case is measured in three rounds of 5 s with 16 clients', () => {
  expect(readBenchOptions([], names)).toEqual({
    ...{ cases: [], rounds: 3, seconds: 5, clients: 16, file: undefined, save: true, docs: false },
  });
  expect(readBenchOptions(['--cases', 'order,relay', '--rounds', '1', '--no-save'], names)).toMatchObject({
    ...{ cases: ['order', 'relay'], rounds: 1, save: false },
  });
  expect(readBenchOptions(['--help'], names)).toBeNull();
});

test('an unknown case and an invalid number are rejected, and the error names them', () => {
  expect(() => readBenchOptions(['--cases', 'orders'], names)).toThrow(/unknown case orders; the cases are .*order/);
  expect(() => readBenchOptions(['--rounds', 'many'], names)).toThrow(
    '--rounds many is not a whole number from 1 to 100',
  );
});

test('the documentation gets only the results of all cases', () => {
  expect(readBenchOptions(['--docs'], names)).toMatchObject({ docs: true });
  for (const flags of [['--no-save'], ['--cases', 'order']])
    expect(() => readBenchOptions(['--docs', ...flags], names)).toThrow('--docs needs the results of all cases');
});

test('a chosen case is run together with every case that it is compared with', () => {
  const chosen = withLimits(cases, ['order-25']).map(({ name }) => name);
  expect(chosen).toEqual(['limit-insert', 'limit-order', 'order', 'order-25']);
});

test('every case is compared only with existing cases, and case names are unique', () => {
  expect(cases.flatMap(({ against }) => against).filter((name) => !names.includes(name))).toEqual([]);
  expect(new Set(names).size).toBe(names.length);
});

const result = (name: string, rate: number, postgres = 1): CaseResult => ({
  ...{ name, title: name, against: [], statements: null, rounds: 3, requests: 1, rate, lowest: rate, highest: rate },
  ...{ p50: 1, p95: 1, p99: 1, failed: 0, calls: 1, cpu: { worker: 1, bridge: 1, postgres } },
});

test('a target is met, missed, or open if its case was not run', () => {
  const targets = targetsOf([result('order', 590), result('limit-insert', 1_000), result('limit-order', 5_000, 0.5)]);
  const metOf = (metric: string) => targets.filter((target) => target.metric === metric).map(isMet);
  expect(metOf('order of 1 line / bare one-row insert, the goal')).toEqual([false]);
  expect(metOf("order of 1 line / one-statement limit, Postgres's CPU")).toEqual([true]);
  expect(metOf('order of 25 lines / order of 1 line, time')).toEqual([undefined]);
  expect(new Set(targetLines(targets).map((line) => line[0]))).toEqual(new Set([' ', '✗', '✓', '–']));
});

test('figures are printed with three significant digits', () => {
  expect([12_345, 123.4, 12.34, 1.234, 0.001, 0, Number.NaN, null].map(formatFigure)).toEqual([
    ...['12,345', '123', '12.3', '1.23', '0.00', '0', '–', '–'],
  ]);
});

test('cells are padded into columns', () => {
  expect(
    align([
      ['name', 'n'],
      ['a', '1,000'],
    ]),
  ).toEqual(['name      n', 'a     1,000']);
});

test('a scale begins at 0, is rounded up to at least the largest bar, and has at most six grid lines', () => {
  expect([1, 1.1, 3, 7, 130].map(roundUp)).toEqual([1, 2, 5, 10, 200]);
  for (const largest of [0.7, 3, 99, 1_234, 10_000]) {
    const ticks = ticksOf(largest);
    expect(ticks[0]).toBe(0);
    expect(ticks.length).toBeLessThanOrEqual(6);
    expect(ticks.at(-1)).toBeLessThanOrEqual(largest);
  }
});

test('a chart is well-formed, has a bar and a figure for each case, and has colours for light and dark mode', () => {
  const bar = (label: string, value: number, isLimit = false) => ({
    ...{ label, value, lowest: value * 0.9, highest: value * 1.1, isLimit },
  });
  const svg = drawChart('Rates', 'a <machine>', [
    { title: 'Orders', bars: [bar('limit & co', 1_000, true), bar('order', 600)] },
    { title: 'Nothing', bars: [] },
  ]);
  expect(svg.match(/class="(bar|limit)"/g)).toEqual(['class="limit"', 'class="bar"']);
  expect(svg).toContain('limit &amp; co');
  expect(svg).toContain('a &lt;machine&gt;');
  expect(svg).toContain('>600<');
  expect(svg).toContain('prefers-color-scheme: dark');
  expect(svg).not.toContain('Nothing');
  expect(svg.match(/<text/g)?.length).toBe(svg.match(/<\/text>/g)?.length);
});

test('the documentation shows each figure, the run that it comes from, and whether its target is met', () => {
  const results = [{ ...result('order', 500), against: ['limit-insert'] }, result('limit-insert', 1_000)];
  const machine = { cpu: 'CPU X', cores: 2, memoryGb: 8, system: 'Linux 6', postgres: '18.4', durability: {} };
  const versions = { node: '24.0.0', workerd: '1.0' };
  const markdown = markdownOf(
    {
      at: '2026-01-02T03:04:05.000Z',
      machine: { ...machine, versions, commit: 'abc1234' },
      options: { rounds: 3, seconds: 4, clients: 16 },
      results,
      targets: targetsOf(results).slice(0, 2),
    },
    'x.json',
  );
  expect(markdown).toContain('16 clients, 2026-01-02 03:04 UTC, commit abc1234');
  expect(markdown).toContain('[`bench/results/x.json`](../bench/results/x.json)');
  expect(markdown).toContain(
    '| order | 500 | 500–500 | 1.00 / 1.00 / 1.00 | 1.00 | – | 1.00 / 1.00 / 1.00 | 50.0 % of limit-insert |',
  );
  expect(markdown).toContain('| order of 1 line / bare one-row insert | 0.50 | ≥ 0.45 | ✓ |');
  expect(markdown).toContain('| order of 1 line / bare one-row insert, the goal | 0.50 | ≥ 0.60 | missed |');
});
