import * as z from 'zod';
import { readCsv } from '../csv.ts';
import { ApiError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { type LineCode, readLines } from '../lines.ts';
import { newProduct } from './catalog.ts';

const { sku, name, description, price, currency, inventory } = newProduct.shape;

/** One line of an import. All but the SKU may be left out, since a SKU that exists may be updated in part. */
export const importedProduct = z.strictObject({
  sku,
  name: name.optional(),
  description,
  price: price.optional(),
  currency: currency.optional(),
  inventory: inventory.optional(),
});

export type ImportedProduct = z.infer<typeof importedProduct>;

/** What became of a line that was read: a product (`size` characters of it), or why it is none. Lines count from 1. */
export type ImportLine =
  | { line: number; size: number; product: ImportedProduct }
  | { line: number; code: LineCode; detail: string };

const columns = new Set(Object.keys(importedProduct.shape));
const numbers = new Set(['price', 'inventory']);
const longestDetail = 200;

function check(line: number, size: number, value: unknown): ImportLine {
  const result = importedProduct.safeParse(value);
  if (result.success) return { line, size, product: result.data };
  const faults = result.error.issues.map((issue) => [...issue.path, issue.message].join(': '));
  // The report is kept for its Idempotency-Key: a name that is no text, or that the cut halves, must not stop that.
  const detail = faults.join('; ').slice(0, longestDetail).toWellFormed().replaceAll('\0', '\uFFFD');
  return { line, code: 'validation_failed', detail };
}

async function* readNdjson(body: AsyncIterable<Uint8Array>): AsyncGenerator<ImportLine> {
  for await (const read of readLines(body)) {
    if ('code' in read) {
      yield read;
      continue;
    }
    if (read.text.trim() === '') continue;
    let value: unknown;
    try {
      value = parseJson(read.text);
    } catch {
      yield { line: read.line, code: 'malformed_json', detail: 'The line is not valid JSON.' };
      continue;
    }
    yield check(read.line, read.text.length, value);
  }
}

/** @throws ApiError validation_failed: with a wrong header no line of the file can be read */
function checkHeader(header: string[]): void {
  const faults = header
    .filter((column, at) => !columns.has(column) || header.indexOf(column) !== at)
    .slice(0, 10)
    .map((column) => ({
      pointer: '/1',
      detail: columns.has(column)
        ? `The column ${column} is there twice.`
        : `Unknown column ${JSON.stringify(column.slice(0, 64))}. There are: ${[...columns].join(', ')}.`,
    }));
  if (!header.includes('sku'))
    faults.push({ pointer: '/1', detail: 'The first line must name the columns, sku among them.' });
  if (faults.length > 0)
    throw new ApiError('validation_failed', 'The first line does not fit. Nothing was changed.', { faults });
}

async function* readCsvProducts(body: AsyncIterable<Uint8Array>): AsyncGenerator<ImportLine> {
  let header: string[] | undefined;
  for await (const record of readCsv(readLines(body))) {
    if (!header) {
      header = 'code' in record ? [] : record.fields.map((column) => column.trim());
      checkHeader(header);
      continue;
    }
    if ('code' in record) {
      yield record;
      continue;
    }
    const { line, fields } = record;
    if (fields.length !== header.length) {
      const detail = `The line has ${fields.length} fields, the first one ${header.length}.`;
      yield { line, code: 'validation_failed', detail };
      continue;
    }
    const value: Record<string, unknown> = {};
    for (const [at, column] of header.entries()) {
      const field = fields[at] ?? '';
      if (field === '') continue;
      value[column] = numbers.has(column) && /^-?(0|[1-9]\d*)(\.\d+)?$/.test(field) ? parseJson(field) : field;
    }
    yield check(line, fields.join().length, value);
  }
}

const readers = { ndjson: readNdjson, csv: readCsvProducts };

const formats: Record<string, keyof typeof readers> = {
  'application/x-ndjson': 'ndjson',
  'application/ndjson': 'ndjson',
  'application/jsonl': 'ndjson',
  'text/csv': 'csv',
};

/** @throws ApiError unsupported_media_type */
export function importFormat(headers: Headers): 'ndjson' | 'csv' {
  const type = (headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  const format = Object.hasOwn(formats, type) ? formats[type] : undefined;
  const encoding = headers.get('content-encoding') ?? 'identity';
  if (!format || encoding !== 'identity') {
    throw new ApiError('unsupported_media_type', 'Send application/x-ndjson or text/csv, not compressed.');
  }
  return format;
}

/**
 * Reads the lines of an import from a stream of any length, holding 1 MB of it at most. In CSV an empty field is one that
 * was left out.
 * @throws ApiError validation_failed, for CSV whose first line does not name the columns
 */
export const readImport = (format: 'ndjson' | 'csv', body: AsyncIterable<Uint8Array>): AsyncGenerator<ImportLine> =>
  readers[format](body);
