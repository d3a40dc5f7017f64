import type { Line } from './split-lines.ts';

/** A record of a CSV file, or the line that is none. `line` is where it starts. */
export type CsvRecord = { line: number; fields: string[] } | Extract<Line, { code: string }>;

const limitChars = 1_048_576;
const maxFields = 1_000;

const countQuotes = (text: string): number => {
  let count = 0;
  for (let at = text.indexOf('"'); at !== -1; at = text.indexOf('"', at + 1)) count++;
  return count;
};

/**
 * The fields of one record, of 1,000 at most (RFC 4180, 2.5 to 2.7: a quote stands only around a field, or doubled in a
 * quoted one).
 */
function split(record: string): string[] | undefined {
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
 * Reads the records of a CSV file (RFC 4180; lines may end in LF too; lines of white space are left out), holding 1 MB
 * at most. A line that is no CSV costs that line only, an open quote that nothing closes included: the next line is
 * read anew.
 */
export async function* readCsv(lines: AsyncIterable<Line>): AsyncGenerator<CsvRecord> {
  const source = lines[Symbol.asyncIterator]();
  // Lines from the current record's on: what was looked at in vain is read anew from here.
  let seen: Line[] = [];
  let at = 0;
  const next = async (): Promise<Line | undefined> => {
    if (at === seen.length) {
      const { done, value } = await source.next();
      if (done) return undefined;
      seen.push(value);
    }
    return seen[at++];
  };

  try {
    for (;;) {
      if (at === seen.length || at > 10_000) {
        seen = seen.slice(at);
        at = 0;
      }
      const first = await next();
      if (!first) return;
      if ('code' in first) {
        yield first;
        continue;
      }
      if (/^[ \t\r\n]*$/.test(first.text)) continue;
      // Within a record quotes come in pairs: an odd number so far means that a quoted field goes on in the next line.
      const after = at;
      let record = first.text;
      let open = countQuotes(record) % 2 === 1;
      while (open && record.length < limitChars) {
        const more = await next();
        if (!more || 'code' in more) break;
        record += `\n${more.text}`;
        open = countQuotes(more.text) % 2 === 0;
      }
      record = record.replace(/\r$/, '');
      const fields = open ? undefined : split(record);
      if (fields) {
        yield { line: first.line, fields };
      } else {
        // Parity makes this linear: only a line with an odd number of quotes looks ahead, and no further than the next.
        at = after;
        yield {
          line: first.line,
          code: 'validation_failed',
          detail: 'The line is no CSV: a quote is missing or misplaced, or it has more than 1,000 fields.',
        };
      }
    }
  } finally {
    await source.return?.();
  }
}
