import type { CallPlan } from './plan.ts';
import type { Times } from './times.ts';

/** The figures of one case at one size. `levels`: as in CallPlan. */
export type Measured = { api?: Times; sql?: Times; blocks?: number; levels?: number; plan?: CallPlan };
/** One case at all sizes. `smallestAgain`: the smallest size, measured again at the same time as the largest. */
export type Row = { name: string; sizes: Measured[]; smallestAgain: Measured };

/** The project's target: the p50 at the largest size is at most this many times the p50 at the smallest. */
export const target = 1.3;

const withoutLevels = ({ blocks, levels }: Measured): number | undefined =>
  blocks === undefined ? undefined : blocks - (levels ?? 0);

/**
 * Largest divided by smallest, both measured at the same time. Undefined if one is missing. `belowLevels`: the ratio of
 * the blocks without the upper levels of B-trees. A B-tree gets another level each time its table has become a few hundred
 * times as large.
 */
export function ratiosOf({ sizes, smallestAgain }: Row): {
  api: number | undefined;
  sql: number | undefined;
  blocks: number | undefined;
  belowLevels: number | undefined;
} {
  const largest = sizes.at(-1);
  const ratio = (a: number | undefined, b: number | undefined) =>
    a === undefined || b === undefined || b === 0 ? undefined : a / b;
  return {
    api: ratio(largest?.api?.p50, smallestAgain.api?.p50),
    sql: ratio(largest?.sql?.p50, smallestAgain.sql?.p50),
    blocks: ratio(largest?.blocks, smallestAgain.blocks),
    belowLevels: ratio(largest && withoutLevels(largest), withoutLevels(smallestAgain)),
  };
}

const ms = (value: number | undefined): string =>
  value === undefined ? '–' : value >= 100 ? value.toFixed(0) : value.toFixed(2);
const times = (value: number | undefined): string =>
  value === undefined ? '–' : `${value.toFixed(2)}${value > target ? ' !' : '  '}`;
/** 10k, 5M. */
export const shortSize = (size: number): string => (size >= 1_000_000 ? `${size / 1_000_000}M` : `${size / 1_000}k`);

/** The table for the screen, four lines for each case. `!` marks a ratio above the target. */
export function tableOf(rows: Row[], sizes: number[]): string {
  const width = Math.max(...rows.map(({ name }) => name.length));
  const columns = sizes.map((size) => `${shortSize(size).padStart(8)}`).join('');
  const line = (row: Row, unit: string, cell: (figures: Measured) => string, ratio: number | undefined): string =>
    [
      `  ${(unit === 'API ms' ? row.name : '').padEnd(width)}`,
      unit.padEnd(7),
      [...row.sizes, row.smallestAgain].map((figures) => cell(figures).padStart(8)).join(''),
      times(ratio).padStart(9),
    ].join('  ');
  return [
    `  ${''.padEnd(width)}  p50      ${columns}${`${shortSize(sizes[0] ?? 0)}'`.padStart(8)}     ratio`,
    ...rows.flatMap((row) => {
      const ratios = ratiosOf(row);
      return [
        line(row, 'API ms', (figures) => ms(figures.api?.p50), ratios.api),
        line(row, 'SQL ms', (figures) => ms(figures.sql?.p50), ratios.sql),
        line(row, 'blocks', (figures) => String(figures.blocks ?? '–'), ratios.blocks),
        line(row, ' below', (figures) => String(withoutLevels(figures) ?? '–'), ratios.belowLevels),
      ];
    }),
  ].join('\n');
}

const rounded = ({ p50, p95, calls }: Times): Times => ({ p50: round(p50), p95: round(p95), calls });
const round = (value: number): number => Math.round(value * 1000) / 1000;

/** The content of the results file: figures of every size, query plans of the smallest and the largest. */
export function resultOf(rows: Row[], sizes: number[], machine: object): object {
  const saved = (figures: Measured, withPlan: boolean) => ({
    ...(figures.api ? { api: rounded(figures.api) } : {}),
    ...(figures.sql ? { sql: rounded(figures.sql) } : {}),
    ...(figures.blocks === undefined ? {} : { blocks: figures.blocks, levels: figures.levels }),
    ...(withPlan && figures.plan ? { plan: figures.plan.lines } : {}),
  });
  return {
    ...machine,
    orders: sizes,
    target,
    cases: rows.map((row) => {
      const ratios = ratiosOf(row);
      return {
        name: row.name,
        ratio: Object.fromEntries(
          Object.entries(ratios).map(([name, value]) => [name, value === undefined ? null : round(value)]),
        ),
        sizes: row.sizes.map((figures, i) => ({ orders: sizes[i], ...saved(figures, i === sizes.length - 1) })),
        smallestAgain: saved(row.smallestAgain, true),
      };
    }),
  };
}
