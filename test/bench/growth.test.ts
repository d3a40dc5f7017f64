import { describe, expect, test } from 'vitest';
import { markdownOf, withTable } from '../../bench/growth/docs.ts';
import { help, readOptions } from '../../bench/growth/options.ts';
import { readPlans } from '../../bench/growth/plan.ts';
import { type Measured, type Row, ratiosOf, resultOf, tableOf } from '../../bench/growth/report.ts';
import { timesOf } from '../../bench/growth/times.ts';

describe('the command line', () => {
  test('measures the default sizes if no flag is given', () => {
    expect(readOptions([])?.sizes).toEqual([10_000, 100_000, 1_000_000, 5_000_000]);
    expect(readOptions(['--sizes', '5000,20000', '--products', '6000', '--calls', '10', '--only', 'search'])).toEqual({
      sizes: [5_000, 20_000],
      products: 6_000,
      dir: undefined,
      calls: 10,
      only: 'search',
      docs: false,
    });
    expect(readOptions(['--help'])).toBeNull();
  });

  test('has every flag in its help', () => {
    for (const flag of ['sizes', 'products', 'dir', 'calls', 'only', 'docs', 'help'])
      expect(help).toContain(`--${flag}`);
  });

  test.each([['--sizes', '20000,10000'], ['--sizes', '100'], ['--products', 'many'], ['--calls', '0'], ['--nothing']])(
    'rejects %s %s',
    (...args) => {
      expect(() => readOptions(args)).toThrow();
    },
  );
});

describe('the plan of a call', () => {
  const noticeOf = (text: string, plan: object): string =>
    `duration: 0.1 ms  plan:\n${JSON.stringify({ 'Query Text': text, Plan: plan })}`;
  const scan = {
    'Index Searches': 4,
    'Node Type': 'Index Scan',
    'Index Name': 'i',
    'Relation Name': 't',
    'Actual Loops': 2,
  };
  const inner = noticeOf('select  1\n from t', {
    ...scan,
    'Actual Rows': 3,
    'Shared Hit Blocks': 4,
    'Shared Read Blocks': 1,
  });

  test('sums blocks by statement, and takes the total from the outermost statement, which is reported last', () => {
    const outer = noticeOf('select f()', { 'Node Type': 'Result', 'Shared Hit Blocks': 12 });
    expect(readPlans([inner, 'a notice', inner, outer], 8)).toEqual({
      blocks: 12,
      searches: new Map([['i', 8]]),
      lines: [{ statement: 'select 1 from t', times: 2, blocks: 10, scans: ['Index Scan i on t: 6'] }],
    });
  });

  test('shows how many rows a filter removed', () => {
    const filtered = noticeOf('q', {
      'Node Type': 'Limit',
      'Shared Hit Blocks': 9,
      Plans: [{ ...scan, 'Actual Rows': 1, 'Rows Removed by Filter': 500, 'Shared Hit Blocks': 9 }],
    });
    expect(readPlans([filtered], 8).lines[0]?.scans).toEqual(['Index Scan i on t: 2, removed 1000']);
  });
});

describe('the figures', () => {
  const measured = (api: number, sql: number, blocks: number, levels: number): Measured => ({
    api: timesOf([api]),
    sql: timesOf([sql]),
    blocks,
    levels,
  });
  const row: Row = {
    name: 'a case',
    sizes: [measured(9, 9, 9, 1), measured(2, 3, 8, 3)],
    smallestAgain: measured(1, 2, 5, 1),
  };

  test('are medians of the samples', () => {
    expect(timesOf([5, 1, 100])).toEqual({ p50: 5, p95: 100, calls: 3 });
  });

  test('compare the largest size with the second measurement of the smallest size, not with its first', () => {
    expect(ratiosOf(row)).toEqual({ api: 2, sql: 1.5, blocks: 1.6, belowLevels: 1.25 });
    expect(ratiosOf({ ...row, smallestAgain: {} })).toEqual({
      api: undefined,
      sql: undefined,
      blocks: undefined,
      belowLevels: undefined,
    });
  });

  test('above the target are marked in the table', () => {
    const lines = tableOf([row], [10_000, 1_000_000]).split('\n');
    expect(lines.map((line) => line.trimEnd().endsWith('!'))).toEqual([false, true, true, true, false]);
    expect(lines[0]).toContain('1M');
  });

  test('are saved for every size; plans are saved for the largest size and the second measurement of the smallest', () => {
    const plan = { blocks: 5, levels: 1, lines: [{ statement: 'q', times: 1, blocks: 5, scans: [] }] };
    const withPlans = {
      ...row,
      sizes: row.sizes.map((size) => ({ ...size, plan })),
      smallestAgain: { ...row.smallestAgain, plan },
    };
    const text = JSON.stringify(resultOf([withPlans], [10_000, 1_000_000], {}));
    expect(text.match(/"plan"/g)).toHaveLength(2);
    expect(JSON.parse(text).cases[0].ratio).toEqual({ api: 2, sql: 1.5, blocks: 1.6, belowLevels: 1.25 });
  });

  test('replace the figures of the previous run in the document, and change nothing else', () => {
    const page = 'before <!-- growth -->old<!-- /growth --> after';
    const once = withTable(page, markdownOf([row], [10_000, 1_000_000]));
    expect(once).toContain('| a case | 1.0 | 2.0 | 2.00 | 2.0 | 3.0 | 1.50 | 9 | 8 | 1.60 | 1.25 |');
    expect(withTable(once, 'new')).toBe('before <!-- growth -->\n\nnew\n\n<!-- /growth --> after');
    expect(() => withTable('nothing', '')).toThrow('no markers <!-- growth -->');
  });
});
