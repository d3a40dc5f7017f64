import type { Line } from './split-lines.ts';

/** A record of a CSV file, or a line that cannot be read. `line`: where it starts. */
export type CsvRecord = { line: number; fields: string[] } | Extract<Line, { code: string }>;

const limitChars = 1_048_576;
const maxFields = 1_000;

const countQuotes = (text: string): number => {
  let count = 0;
  for (let at = text.indexOf('"'); at !== -1; at = text.indexOf('"', at + 1)) count++;
  return count;
};

/**
 * Splits a record into at most 1,000 fields (RFC 4180, 2.5 to 2.7). A quote may only enclose a field, or be doubled
 * within a quoted field.
 */
function splitFields(record: string): string[] | undefined {
  const fields: string[] = [];
  for (let at = 0; fields.length < maxFields; ) {
    let end: number;
    if (record[at] === '"') {
      end = record.indexOf('"', at + 1);
      while (end !== -1 && record[end + 1] === '"') end = record.indexOf('"', end + 2);
      if (end === -1) return undefined;
      fields.push(record.slice(at + 1, end++).replaceAll('""', '"'));
    } else {
      end = record.indexOf(',', at);
      if (end === -1) end = record.length;
      const field = record.slice(at, end);
      if (field.includes('"')) return undefined;
      fields.push(field);
    }
    if (end === record.length) return fields;
    if (record[end] !== ',') return undefined;
    at = end + 1;
  }
  return undefined;
}

/**
 * Reads the records of a CSV file (RFC 4180; LF line ends and blank lines are allowed) and holds at most 1 MB. Only the
 * invalid line is reported: after a quote that is never closed, reading continues with the next line.
 */
export async function* readCsv(lines: AsyncIterable<Line>): AsyncGenerator<CsvRecord> {
  const source = lines[Symbol.asyncIterator]();
  // The lines from the current record on. If the lines after the first turn out not to belong to it, they are read
  // again.
  let buffered: Line[] = [];
  let position = 0;
  const next = async (): Promise<Line | undefined> => {
    if (position === buffered.length) {
      const { done, value } = await source.next();
      if (done) return undefined;
      buffered.push(value);
    }
    return buffered[position++];
  };

  try {
    for (;;) {
      if (position === buffered.length || position > 10_000) {
        buffered = buffered.slice(position);
        position = 0;
      }
      const first = await next();
      if (!first) return;
      if ('code' in first) {
        yield first;
        continue;
      }
      if (/^[ \t\r\n]*$/.test(first.text)) continue;
      // Quotes come in pairs within a record. After an odd number of quotes, a quoted field continues on the next line.
      const afterFirst = position;
      let record = first.text;
      let open = countQuotes(record) % 2 === 1;
      while (open && record.length < limitChars) {
        const following = await next();
        if (!following || 'code' in following) break;
        record += `\n${following.text}`;
        open = countQuotes(following.text) % 2 === 0;
      }
      record = record.replace(/\r$/, '');
      const fields = open ? undefined : splitFields(record);
      if (fields) {
        yield { line: first.line, fields };
      } else {
        // This stays linear: only a line with an odd number of quotes looks ahead, and only to the next such line.
        position = afterFirst;
        yield {
          line: first.line,
          code: 'validation_failed',
          detail: 'The line is not valid CSV: a quote is missing or misplaced, or it has more than 1,000 fields.',
        };
      }
    }
  } finally {
    await source.return?.();
  }
}
