import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CsvRecord, readCsv } from '../../src/domain/imports/csv.ts';
import { readLines } from '../../src/domain/imports/split-lines.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

/** A stream in chunks of these sizes; the last size repeats. All chunks share one buffer, as a socket's may do. */
async function* chunked(content: Uint8Array, sizes: number[]): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(Math.max(...sizes));
  for (let offset = 0, n = 0; offset < content.length; n++) {
    const size = sizes[Math.min(n, sizes.length - 1)] ?? 1;
    const part = content.subarray(offset, offset + size);
    buffer.set(part);
    yield buffer.subarray(0, part.length);
    offset += size;
  }
}

async function read(content: Uint8Array | string, sizes = [64]): Promise<CsvRecord[]> {
  const records: CsvRecord[] = [];
  const body = chunked(typeof content === 'string' ? bytes(content) : content, sizes);
  for await (const record of readCsv(readLines(body))) records.push(record);
  return records;
}

const quoteError = {
  code: 'validation_failed',
  detail: 'The line is not valid CSV: a quote is missing or misplaced, or it has more than 1,000 fields.',
};

test('CSV is read back as it was written, and as csv-parse reads it, wherever the stream is split into chunks', async () => {
  const field = fc.string({ unit: fc.constantFrom('a', 'é', '💶', '"', ',', '\n', '\r\n', ' ', ';'), maxLength: 6 });
  const records = fc.array(fc.array(field, { minLength: 2, maxLength: 2 }), { minLength: 1, maxLength: 8 });
  const quoted = (value: string) => (/["\n\r,]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  await fc.assert(
    fc.asyncProperty(
      records,
      fc.constantFrom('\n', '\r\n'),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
      async (rows, ending, sizes) => {
        const csv = rows.map((row) => row.map(quoted).join(',') + ending).join('');
        const fields = (await read(csv, sizes)).map((record) => ('fields' in record ? record.fields : record));
        expect(fields).toEqual(rows);
        expect(fields).toEqual(parse(csv, { recordDelimiter: ending }));
      },
    ),
    { numRuns: 500, seed: 20261122 },
  );
});

test('a record has the number of the line that it starts in', async () => {
  expect(await read('sku,name\n\nA,"two\nlines"\nB,b')).toEqual([
    { line: 1, fields: ['sku', 'name'] },
    { line: 3, fields: ['A', 'two\nlines'] },
    { line: 5, fields: ['B', 'b'] },
  ]);
});

test('a byte order mark is not part of the first field', async () => {
  expect(await read('\ufeffsku\n\ufeffA')).toEqual([
    { line: 1, fields: ['sku'] },
    { line: 2, fields: ['\ufeffA'] },
  ]);
});

test('an unclosed quote makes only its own line fail', async () => {
  expect(await read('A,"a\nB,b\nC,c\n')).toEqual([
    { line: 1, ...quoteError },
    { line: 2, fields: ['B', 'b'] },
    { line: 3, fields: ['C', 'c'] },
  ]);
});

test('a quote inside a field makes only its own line fail, even if a later line seems to close it', async () => {
  expect(await read('A,5" pipe\nB,b\nC,"c"\nD,6" pipe\nE,e')).toEqual([
    { line: 1, ...quoteError },
    { line: 2, fields: ['B', 'b'] },
    { line: 3, fields: ['C', 'c'] },
    { line: 4, ...quoteError },
    { line: 5, fields: ['E', 'e'] },
  ]);
});

test('unclosed quotes before megabytes of valid lines make only their own lines fail', async () => {
  const good = Array.from({ length: 40_000 }, (_, n) => `SKU-${n},"a good ""line"""`);
  const file = ['bad,"', ...good, 'bad,"', ...good].join('\n');
  const records = await read(file, [65_536]);
  expect(records.filter((record) => 'code' in record).map((record) => record.line)).toEqual([1, 40_002]);
  expect(records).toHaveLength(80_002);
});

test('a line of more than 1 MB makes only that line fail', async () => {
  const records = await read(`A,a\nB,${'b'.repeat(1_048_576)}\nC,c`, [10_000]);
  expect(records).toEqual([
    { line: 1, fields: ['A', 'a'] },
    { line: 2, code: 'body_too_large', detail: 'A line may have 1 MB at most.' },
    { line: 3, fields: ['C', 'c'] },
  ]);
});

test('a line of 1 MB is read', async () => {
  const records = await read(`A,a\nB,${'b'.repeat(1_048_574)}\nC,c`, [10_000]);
  expect(records.every((record) => 'fields' in record)).toBe(true);
});

test('bytes that are not UTF-8 make only their own line fail', async () => {
  const file = new Uint8Array([...bytes('A,a\nB,'), 0xff, ...bytes('\nC,c\n')]);
  expect(await read(file, [3])).toEqual([
    { line: 1, fields: ['A', 'a'] },
    { line: 2, code: 'validation_failed', detail: 'The line is not UTF-8.' },
    { line: 3, fields: ['C', 'c'] },
  ]);
});

test('1 MB of empty or blank lines is read in a few chunks', async () => {
  for (const unit of ['\n', '\r\n', ' \n', '\t \r\n']) {
    const count = Math.floor(1_000_000 / unit.length);
    let lines = 0;
    for await (const _line of readLines(chunked(bytes(unit.repeat(count)), [65_536]))) lines++;
    expect(lines).toBeLessThan(40);
    expect(await read(`a,b\n${unit.repeat(count)}c,d`, [65_536])).toEqual([
      { line: 1, fields: ['a', 'b'] },
      { line: count + 2, fields: ['c', 'd'] },
    ]);
  }
});

test('empty lines inside quotes are preserved, wherever the stream is split into chunks', async () => {
  for (const size of [1, 2, 3, 7, 64]) {
    expect(await read('a\n"x\n\r\n \n\ny"\n\n\nb', [size])).toEqual([
      { line: 1, fields: ['a'] },
      { line: 2, fields: ['x\n\r\n \n\ny'] },
      { line: 9, fields: ['b'] },
    ]);
  }
});

test('the event loop keeps running while many tiny lines are read', async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 0);
  for await (const _record of readCsv(readLines(chunked(bytes('x\n'.repeat(100_000)), [1_000_000]))));
  clearInterval(timer);
  expect(turns).toBeGreaterThan(20);
});

test('a reader that stops early releases the stream', async () => {
  let released = false;
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield bytes('A,a\n');
    } finally {
      released = true;
    }
  }
  for await (const record of readCsv(readLines(endless()))) {
    expect(record).toEqual({ line: 1, fields: ['A', 'a'] });
    break;
  }
  expect(released).toBe(true);
});
