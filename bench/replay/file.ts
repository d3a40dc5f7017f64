import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { CsvError, parse } from 'csv-parse';

/** An error for the user, printed without a stack. */
export class ReplayError extends Error {}

/** The column names of Online Retail (UCI Machine Learning Repository, CC BY 4.0). */
export const columns = [
  'InvoiceNo',
  'StockCode',
  'Description',
  'Quantity',
  'InvoiceDate',
  'UnitPrice',
  'CustomerID',
  'Country',
] as const;

type Column = (typeof columns)[number];

/**
 * A row of the file. `row` counts from 1 after the header line. `fields` is null if the row has too few or too many
 * columns.
 */
export type Row = { row: number; fields: Record<Column, string> | null };

export type FileOptions = {
  /** Called with the share of the file on disk that was read, from 0 to 1. */
  onRead?: (share: number) => void;
  /** Called at the end of the file with the SHA-256 of the uncompressed content, in hexadecimal. */
  onEnd?: (sha256: string) => void;
};

const maxRowBytes = 1_000_000;

async function inspectFile(path: string): Promise<{ size: number; compressed: boolean }> {
  try {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0);
      return { size, compressed: bytesRead === 2 && buffer.readUInt16BE() === 0x1f8b };
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason = { ENOENT: 'there is no such file', EISDIR: 'it is a folder', EACCES: 'permission denied' }[
      code ?? ''
    ];
    throw new ReplayError(`cannot read ${path}: ${reason ?? (error as Error).message}`);
  }
}

/** The index of each column in the header. Columns may be in any order, with further columns among them. */
function columnIndexes(path: string, header: string[]): number[] {
  const names = header.map((name) => name.trim());
  const missing = columns.filter((column) => !names.includes(column));
  if (missing.length > 0) {
    const found = names.slice(0, 20).join(', ').slice(0, 500);
    throw new ReplayError(`${path} lacks the columns ${missing.join(', ')}. Its header line has: ${found}`);
  }
  return columns.map((column) => names.indexOf(column));
}

function explain(path: string, error: unknown): unknown {
  if (error instanceof CsvError) return new ReplayError(`${path} is not a valid CSV file: ${error.message}`);
  const { code } = error as NodeJS.ErrnoException;
  // An error of zlib: the file is truncated or corrupt.
  if (/^Z_/.test(code ?? '')) return new ReplayError(`${path} is damaged: ${(error as Error).message}`);
  return error;
}

/**
 * Streams the rows of a CSV file, plain or compressed with gzip (detected by its first bytes). Memory use is a few
 * hundred kilobytes, whatever the size of the file.
 * @throws ReplayError if the file is missing, damaged, not CSV, or lacks columns
 */
export async function* readRows(path: string, options: FileOptions = {}): AsyncGenerator<Row> {
  const { size, compressed } = await inspectFile(path);
  const hash = createHash('sha256');
  const source = createReadStream(path);
  const tap = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      options.onRead?.(size === 0 ? 1 : source.bytesRead / size);
      done(null, chunk);
    },
  });
  const parser = parse({
    bom: true,
    relax_column_count: true,
    relax_quotes: true,
    skip_empty_lines: true,
    max_record_size: maxRowBytes,
  });
  const flow = pipeline([source, ...(compressed ? [createGunzip()] : []), tap, parser]);
  // The parser passes every error on to the loop below.
  flow.catch(() => undefined);
  let indexes: number[] | undefined;
  let width = 0;
  let row = 0;
  try {
    for await (const record of parser as Readable & AsyncIterable<string[]>) {
      if (indexes === undefined) {
        indexes = columnIndexes(path, record);
        width = record.length;
        continue;
      }
      row++;
      const fits = record.length === width;
      const entries = indexes.map((index, i) => [columns[i], record[index] ?? '']);
      yield { row, fields: fits ? (Object.fromEntries(entries) as Record<Column, string>) : null };
    }
  } catch (error) {
    throw explain(path, error);
  } finally {
    source.destroy();
  }
  if (indexes === undefined) throw new ReplayError(`${path} is empty: its first line must name ${columns.join(', ')}`);
  options.onEnd?.(hash.digest('hex'));
}
