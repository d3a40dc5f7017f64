import { type CaseResult, isMet, type Target } from './targets.ts';

/** A number with three significant digits: `12,345`, `123`, `12.3`, `1.23`. A dash if there is no number. */
export function formatFigure(number: number | null | undefined): string {
  if (number === null || number === undefined || !Number.isFinite(number)) return '–';
  const digits = number === 0 ? 0 : Math.max(0, Math.min(2, 2 - Math.floor(Math.log10(Math.abs(number)))));
  return number.toLocaleString('en-GB', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

const percent = (share: number): string => `${formatFigure(share * 100)} %`;

/** Pads cells into columns: the first aligned left, the others right. */
export function align(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}

/** The rate of a case beside those of the cases that it is compared with: `31.0 % of limit-insert`. */
export const comparedRates = (
  { rate, against }: Pick<CaseResult, 'rate' | 'against'>,
  rates: ReadonlyMap<string, number>,
): string[] =>
  against.flatMap((name) => {
    const limit = rates.get(name);
    return limit === undefined ? [] : [`${percent(rate / limit)} of ${name}`];
  });

/** The results as a table for the screen. CPU in ms per request. */
export function resultLines(results: readonly CaseResult[]): string[] {
  const rates = new Map(results.map(({ name, rate }) => [name, rate]));
  const head = [
    '',
    'per s',
    'lowest–highest',
    'p50 ms',
    'p95',
    'p99',
    'calls',
    'statements',
    'CPU Worker',
    'bridge',
    'Postgres',
  ];
  const rows = results.map((result) => [
    result.title,
    formatFigure(result.rate),
    `${formatFigure(result.lowest)}–${formatFigure(result.highest)}`,
    ...[result.p50, result.p95, result.p99, result.calls, result.statements].map(formatFigure),
    ...[result.cpu.worker, result.cpu.bridge, result.cpu.postgres].map(formatFigure),
    comparedRates(result, rates).join(', '),
  ]);
  return align([[...head, 'rate compared'], ...rows]);
}

export function targetLines(targets: readonly Target[]): string[] {
  const mark = { true: '✓', false: '✗', undefined: '–' };
  const rows = targets.map((target) => [
    `${mark[`${isMet(target)}`]} ${target.metric}`,
    formatFigure(target.reached),
    target.atLeast === undefined
      ? `at most ${formatFigure(target.atMost)}`
      : `at least ${formatFigure(target.atLeast)}`,
  ]);
  return align([['  target', 'reached', 'target value'], ...rows]);
}
