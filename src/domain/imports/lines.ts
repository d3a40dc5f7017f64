import { ApiError, type Fault } from '../../base/errors.ts';
import { word } from '../../base/fields.ts';
import { parseJson } from '../../base/json.ts';
import type { UrlRules } from '../../base/public-url.ts';
import { readCsv } from './csv.ts';
import { type ImportLine, lineFields, maxFaults, quoteValue, toRejection, validateLine } from './product-line.ts';
import { readShopify } from './shopify/reader.ts';
import { readLines } from './split-lines.ts';

/** The columns of CSV, beside one for each option, such as `option:Size`. */
const columns = new Set(lineFields.filter((field) => field !== 'options'));
const optionPrefix = 'option:';
const optionName = word(40);

const whole = /^-?(0|[1-9]\d*)$/;
const decimal = /^-?(0|[1-9]\d*)(\.\d{1,2})?$/;
/** The formats of number fields in CSV: a count has no decimal point, a price at most two decimals. */
const numberFormats: Record<string, RegExp> = {
  price: decimal,
  compareAtPrice: decimal,
  inventory: whole,
  weight: whole,
};

async function* readNdjson(body: AsyncIterable<Uint8Array>, rules: UrlRules): AsyncGenerator<ImportLine> {
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
    yield validateLine(item.line, item.text.length, value, rules);
  }
}

const isColumn = (column: string): boolean =>
  columns.has(column) ||
  (column.startsWith(optionPrefix) && optionName.safeParse(column.slice(optionPrefix.length)).success);

/** @throws ApiError validation_failed: an invalid header makes every line unreadable */
function checkHeader(header: string[]): void {
  const seen = new Set<string>();
  const faults: Fault[] = [];
  for (const column of header) {
    if (faults.length === maxFaults) break;
    if (!isColumn(column)) {
      const name = quoteValue(column.toWellFormed());
      const known = [...columns, 'option:NAME'].join(', ');
      faults.push({ pointer: '/1', detail: `Unknown column ${name}. The columns are: ${known}.` });
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

/** A field that is not empty, as the schema of a line takes it. Text that does not fit is left for the schema to reject. */
function readField(column: string, field: string): unknown {
  if (column === 'collections' || column === 'image') return field.split(/\s+/).filter((part) => part !== '');
  if (column === 'metadata') {
    try {
      return parseJson(field);
    } catch {
      return field;
    }
  }
  return numberFormats[column]?.test(field) ? parseJson(field) : field;
}

function toValue(header: string[], fields: string[]): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  const options = new Map<string, string>();
  for (const [index, column] of header.entries()) {
    const field = fields[index] ?? '';
    if (field === '') continue;
    if (column.startsWith(optionPrefix)) options.set(column.slice(optionPrefix.length), field);
    else value[column] = readField(column, field);
  }
  return options.size === 0 ? value : { ...value, options: Object.fromEntries(options) };
}

async function* readCsvProducts(body: AsyncIterable<Uint8Array>, rules: UrlRules): AsyncGenerator<ImportLine> {
  let header: string[] | undefined;
  for await (const record of readCsv(readLines(body))) {
    if (!header) {
      header = 'code' in record ? [] : record.fields.map((column) => column.trim().normalize('NFC'));
      checkHeader(header);
      continue;
    }
    if ('code' in record) {
      yield record;
      continue;
    }
    const { line, fields } = record;
    if (fields.length !== header.length) {
      yield toRejection(line, `The line has ${fields.length} fields; the header has ${header.length}.`);
      continue;
    }
    yield validateLine(line, fields.join().length, toValue(header, fields), rules);
  }
}

const contentTypes: Record<string, 'ndjson' | 'csv'> = {
  'application/x-ndjson': 'ndjson',
  'application/ndjson': 'ndjson',
  'application/jsonl': 'ndjson',
  'text/csv': 'csv',
};

export type ImportFormat = 'ndjson' | 'csv' | 'shopify';

/** @throws ApiError unsupported_media_type */
export function importFormat(headers: Headers, wanted: 'shopify' | undefined): ImportFormat {
  const type = (headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  const format = Object.hasOwn(contentTypes, type) ? contentTypes[type] : undefined;
  const encoding = headers.get('content-encoding') ?? 'identity';
  if (!format || encoding !== 'identity') {
    throw new ApiError('unsupported_media_type', 'Send application/x-ndjson or text/csv, not compressed.');
  }
  if (wanted === 'shopify' && format !== 'csv') {
    throw new ApiError('unsupported_media_type', "Send Shopify's product file as text/csv.");
  }
  return wanted ?? format;
}

/**
 * Reads the lines of an import from a stream of any length and holds at most 1 MB, or one product of a Shopify file. In
 * CSV an empty field counts as omitted. `currency`: of the prices in a Shopify file.
 * @throws ApiError validation_failed for CSV whose first line does not name the columns
 */
export function readImport(
  format: ImportFormat,
  body: AsyncIterable<Uint8Array>,
  rules: UrlRules,
  currency: string,
): AsyncGenerator<ImportLine> {
  if (format === 'shopify') return readShopify(body, rules, currency);
  return format === 'csv' ? readCsvProducts(body, rules) : readNdjson(body, rules);
}
