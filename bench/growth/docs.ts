import { type Row, ratiosOf, shortSize } from './report.ts';

const ms = (value: number | undefined): string =>
  value === undefined ? '–' : value >= 10 ? value.toFixed(0) : value.toFixed(1);
const ratio = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(2));

/** A Markdown table: the first row is the head, the first column is aligned left and the others right. */
export const markdownTable = ([head = [], ...rows]: string[][]): string =>
  [head, head.map((_, column) => (column === 0 ? '---' : '--:')), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');

/**
 * The table for the documentation: times of the largest size and of the smallest size measured at the same time, and
 * blocks for every size, with their ratio and the ratio without the upper levels of B-trees.
 */
export function markdownOf(rows: Row[], sizes: number[]): string {
  const [smallestSize, largestSize] = [shortSize(sizes[0] ?? 0), shortSize(sizes.at(-1) ?? 0)];
  const head = [
    '',
    `API p50, ms: ${smallestSize}`,
    largestSize,
    'ratio',
    `SQL p50, ms: ${smallestSize}`,
    largestSize,
    'ratio',
    ...sizes.map((size) => `blocks: ${shortSize(size)}`),
    'ratio',
    'without levels',
  ];
  const lines = rows.map((row) => {
    const largest = row.sizes.at(-1);
    const ratios = ratiosOf(row);
    return [
      row.name,
      ...[ms(row.smallestAgain.api?.p50), ms(largest?.api?.p50), ratio(ratios.api)],
      ...[ms(row.smallestAgain.sql?.p50), ms(largest?.sql?.p50), ratio(ratios.sql)],
      ...row.sizes.map((size) => String(size.blocks ?? '–')),
      ...[ratio(ratios.blocks), ratio(ratios.belowLevels)],
    ];
  });
  return markdownTable([head, ...lines]);
}

/** Replaces the text between a document's markers for `name`. @throws Error if the document has no such markers */
export function withTable(document: string, table: string, name = 'growth'): string {
  const marks = [`<!-- ${name} -->`, `<!-- /${name} -->`] as const;
  const [start, end] = [document.indexOf(marks[0]), document.indexOf(marks[1])];
  if (start < 0 || end < start) throw new Error(`the document has no markers ${marks.join(' … ')} for the table`);
  return `${document.slice(0, start)}${marks[0]}\n\n${table}\n\n${document.slice(end)}`;
}
