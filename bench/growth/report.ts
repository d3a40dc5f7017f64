import type { CallPlan } from './plan.ts';
import type { Times } from './times.ts';

/** The figures of one case at one size. */
export type Measured = { api?: Times; sql?: Times; blocks?: number; plan?: CallPlan };
/** One case at all sizes. `smallestAgain`: the smallest size, measured again at the same time as the largest. */
export type Row = { name: string; sizes: Measured[]; smallestAgain: Measured };

/** The project's target: the p50 at the largest size is at most this many times the p50 at the smallest. */
export const target = 1.3;

/** Largest divided by smallest, both measured at the same time. Undefined if one is missing. */
export function ratiosOf({ sizes, smallestAgain }: Row): {
  api: number | undefined;
  sql: number | undefined;
  blocks: number | undefined;
} {
  const largest = sizes.at(-1);
  const ratio = (a: number | undefined, b: number | undefined) =>
    a === undefined || b === undefined || b === 0 ? undefined : a / b;
  return {
    api: ratio(largest?.api?.p50, smallestAgain.api?.p50),
    sql: ratio(largest?.sql?.p50, smallestAgain.sql?.p50),
    blocks: ratio(largest?.blocks, smallestAgain.blocks),
  };
}

const ms = (value: number | undefined): string =>
  value === undefined ? '–' : value >= 100 ? value.toFixed(0) : value.toFixed(2);
const times = (value: number | undefined): string =>
  value === undefined ? '–' : `${value.toFixed(2)}${value > target ? ' !' : '  '}`;
/** 10k, 5M. */
export const short = (size: number): string => (size >= 1_000_000 ? `${size / 1_000_000}M` : `${size / 1_000}k`);

/** The table for the screen, three lines for each case. `!` marks a ratio above the target. */
export function tableOf(rows: Row[], sizes: number[]): string {
  const width = Math.max(...rows.map(({ name }) => name.length));
  const columns = sizes.map((size) => `${short(size).padStart(8)}`).join('');
  const line = (row: Row, unit: string, cell: (one: Measured) => string, ratio: number | undefined): string =>
    [
      `  ${(unit === 'API ms' ? row.name : '').padEnd(width)}`,
      unit.padEnd(7),
      [...row.sizes, row.smallestAgain].map((one) => cell(one).padStart(8)).join(''),
      times(ratio).padStart(9),
    ].join('  ');
  return [
    `  ${''.padEnd(width)}  p50      ${columns}${`${short(sizes[0] ?? 0)}'`.padStart(8)}     ratio`,
    ...rows.flatMap((row) => {
      const ratios = ratiosOf(row);
      return [
        line(row, 'API ms', (one) => ms(one.api?.p50), ratios.api),
        line(row, 'SQL ms', (one) => ms(one.sql?.p50), ratios.sql),
        line(row, 'blocks', (one) => (one.blocks === undefined ? '–' : String(one.blocks)), ratios.blocks),
      ];
    }),
  ].join('\n');
}

const rounded = ({ p50, p95, calls }: Times): Times => ({ p50: round(p50), p95: round(p95), calls });
const round = (value: number): number => Math.round(value * 1000) / 1000;

/** The content of the results file: figures of every size, query plans of the smallest and the largest. */
export function resultOf(rows: Row[], sizes: number[], machine: object): object {
  const saved = (one: Measured, withPlan: boolean) => ({
    ...(one.api ? { api: rounded(one.api) } : {}),
    ...(one.sql ? { sql: rounded(one.sql) } : {}),
    ...(one.blocks === undefined ? {} : { blocks: one.blocks }),
    ...(withPlan && one.plan ? { plan: one.plan.lines } : {}),
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
        sizes: row.sizes.map((one, i) => ({ orders: sizes[i], ...saved(one, i === sizes.length - 1) })),
        smallestAgain: saved(row.smallestAgain, true),
      };
    }),
  };
}
