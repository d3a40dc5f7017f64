import * as z from 'zod';
import { ApiError, type Fault } from '../../base/errors.ts';
import { parseJson } from '../../base/json.ts';
import { newProduct } from '../catalog/products.ts';
import { readCsv } from './csv.ts';
import { type LineCode, readLines } from './split-lines.ts';

const { sku, name, description, price, currency, inventory } = newProduct.shape;

/** One line of an import. Every field except the SKU is optional, since an existing product may be updated in part. */
export const importedProduct = z.strictObject({
  sku,
  name: name.optional(),
  description,
  price: price.optional(),
  currency: currency.optional(),
  inventory: inventory.optional(),
  status: z.enum(['active', 'archived']).optional(),
});

export type ImportedProduct = z.infer<typeof importedProduct>;

/** The result of reading a line: a product and its size in characters, or an error. `line` counts from 1. */
export type ImportLine =
  | { line: number; size: number; product: ImportedProduct }
  | { line: number; code: LineCode; detail: string };

const columns = new Set(Object.keys(importedProduct.shape));
/** The formats of number fields in CSV: a count has no decimal point, a price at most two decimals. */
const numberFormats: Record<string, RegExp> = { price: /^-?(0|[1-9]\d*)(\.\d{1,2})?$/, inventory: /^-?(0|[1-9]\d*)$/ };
const maxDetailLength = 200;
const maxFaults = 10;

/** A value as the report quotes it: shortened, and without the content of lists and objects. */
function quoteValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object';
  return String(value);
}

/** Describes what is wrong with a line: its SKU, and each invalid field with its value. */
function describeIssues(issues: z.core.$ZodIssue[], value: unknown): string {
  const line = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const faults = issues.slice(0, maxFaults).map(({ path: [field], message }) => {
    if (field === undefined) return `The line ${message}`;
    const invalidValue = line[String(field)];
    return `${String(field)} ${message}${invalidValue === undefined ? '' : `, and not ${quoteValue(invalidValue)}`}`;
  });
  const hasValidSku = typeof line.sku === 'string' && line.sku !== '' && !issues.some(({ path }) => path[0] === 'sku');
  return `${hasValidSku ? `${quoteValue(line.sku)}: ` : ''}${faults.join('; ')}`;
}

function validateProduct(line: number, size: number, value: unknown): ImportLine {
  const result = importedProduct.safeParse(value);
  if (result.success) return { line, size, product: result.data };
  // The report is stored for its Idempotency-Key, so the detail must not contain text that cannot be stored.
  const detail = describeIssues(result.error.issues, value)
    .slice(0, maxDetailLength)
    .toWellFormed()
    .replaceAll('\0', '\uFFFD');
  return { line, code: 'validation_failed', detail };
}

async function* readNdjson(body: AsyncIterable<Uint8Array>): AsyncGenerator<ImportLine> {
  for await (const item of readLines(body)) {
    if ('code' in item) {
      yield item;
      continue;
    }
    if (item.text.trim() === '') continue;
    let value: unknown;
    try {
      value = parseJson(item.text);
    } catch {
      yield { line: item.line, code: 'malformed_json', detail: 'The line is not valid JSON.' };
      continue;
    }
    yield validateProduct(item.line, item.text.length, value);
  }
}

/** @throws ApiError validation_failed: an invalid header makes every line unreadable */
function checkHeader(header: string[]): void {
  const seen = new Set<string>();
  const faults: Fault[] = [];
  for (const column of header) {
    if (faults.length === maxFaults) break;
    if (!columns.has(column)) {
      const name = quoteValue(column.toWellFormed());
      faults.push({ pointer: '/1', detail: `Unknown column ${name}. The columns are: ${[...columns].join(', ')}.` });
    } else if (seen.has(column)) {
      faults.push({ pointer: '/1', detail: `The column ${column} appears twice.` });
    }
    seen.add(column);
  }
  if (!header.includes('sku')) {
    faults.push({ pointer: '/1', detail: 'The first line must name the columns, including sku.' });
  }
  if (faults.length > 0)
    throw new ApiError('validation_failed', 'The first line is invalid. Nothing was changed.', { faults });
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
      const detail = `The line has ${fields.length} fields; the header has ${header.length}.`;
      yield { line, code: 'validation_failed', detail };
      continue;
    }
    const value: Record<string, unknown> = {};
    for (const [index, column] of header.entries()) {
      const field = fields[index] ?? '';
      if (field === '') continue;
      value[column] = numberFormats[column]?.test(field) ? parseJson(field) : field;
    }
    yield validateProduct(line, fields.join().length, value);
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
 * Reads the lines of an import from a stream of any length and holds at most 1 MB. In CSV an empty field counts as
 * omitted.
 * @throws ApiError validation_failed for CSV whose first line does not name the columns
 */
export const readImport = (format: 'ndjson' | 'csv', body: AsyncIterable<Uint8Array>): AsyncGenerator<ImportLine> =>
  readers[format](body);
