import { type Row, ratiosOf, short } from './report.ts';

const ms = (value: number | undefined): string =>
  value === undefined ? '–' : value >= 10 ? value.toFixed(0) : value.toFixed(1);
const ratio = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(2));

/** The table for the documentation: the smallest size as it was measured beside the largest, and blocks of every size. */
export function markdownOf(rows: Row[], sizes: number[]): string {
  const [least, most] = [short(sizes[0] ?? 0), short(sizes.at(-1) ?? 0)];
  const head = [
    '',
    `API p50, ms: ${least}`,
    most,
    'ratio',
    `SQL p50, ms: ${least}`,
    most,
    'ratio',
    ...sizes.map((size) => `blocks: ${short(size)}`),
  ];
  const lines = rows.map((row) => {
    const largest = row.sizes.at(-1);
    const ratios = ratiosOf(row);
    return [
      row.name,
      ...[ms(row.again.api?.p50), ms(largest?.api?.p50), ratio(ratios.api)],
      ...[ms(row.again.sql?.p50), ms(largest?.sql?.p50), ratio(ratios.sql)],
      ...row.sizes.map((one) => String(one.blocks ?? '–')),
    ];
  });
  return [head, head.map((_, i) => (i === 0 ? '---' : '--:')), ...lines]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}

/** The document with this table in its place. @throws Error if it has no such place */
export function withTable(document: string, table: string, name = 'growth'): string {
  const marks = [`<!-- ${name} -->`, `<!-- /${name} -->`] as const;
  const [start, end] = [document.indexOf(marks[0]), document.indexOf(marks[1])];
  if (start < 0 || end < start) throw new Error(`the document has no ${marks.join(' … ')}`);
  return `${document.slice(0, start)}${marks[0]}\n\n${table}\n\n${document.slice(end)}`;
}
