import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { CsvError, parse } from 'csv-parse';

/** What the user is told as it is, without a stack. */
export class ReplayError extends Error {}

/** The columns of Online Retail (UCI Machine Learning Repository, CC BY 4.0), by the names of its first line. */
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

/** A row of the file; `row` counts from 1, the first line not among them. `fields`: null when it has too few or too many. */
export type Row = { row: number; fields: Record<Column, string> | null };

export type FileOptions = {
  /** Is told how much of the file, as it lies on disk, was read: between 0 and 1. */
  onRead?: (share: number) => void;
  /** Is told the SHA-256 of the uncompressed content, in hexadecimal, if it was read to its end. */
  onEnd?: (sha256: string) => void;
};

const longestRow = 1_000_000;

async function inspectFile(path: string): Promise<{ size: number; packed: boolean }> {
  try {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0);
      return { size, packed: bytesRead === 2 && buffer.readUInt16BE() === 0x1f8b };
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = { ENOENT: 'there is no such file', EISDIR: 'it is a folder', EACCES: 'it may not be read' }[code ?? ''];
    throw new ReplayError(`cannot read ${path}: ${why ?? (error as Error).message}`);
  }
}

/** Where each column is. Columns may stand in any order, and others beside them. */
function placesOf(path: string, header: string[]): number[] {
  const names = header.map((name) => name.trim());
  const missing = columns.filter((column) => !names.includes(column));
  if (missing.length > 0) {
    const found = names.slice(0, 20).join(', ').slice(0, 500);
    throw new ReplayError(`${path} lacks the columns ${missing.join(', ')}. Its first line has: ${found}`);
  }
  return columns.map((column) => names.indexOf(column));
}

function explain(path: string, error: unknown): unknown {
  if (error instanceof CsvError) return new ReplayError(`${path} is no CSV: ${error.message}`);
  const { code } = error as NodeJS.ErrnoException;
  // zlib's own: cut off in the middle, or altered.
  if (/^Z_/.test(code ?? '')) return new ReplayError(`${path} is damaged: ${(error as Error).message}`);
  return error;
}

/**
 * Reads the rows of a CSV file, plain or packed with gzip (told by its first bytes), as a stream: what is held is a
 * few hundred kilobytes, whatever the size.
 * @throws ReplayError the file is missing, damaged, no CSV, or lacks columns
 */
export async function* readRows(path: string, options: FileOptions = {}): AsyncGenerator<Row> {
  const { size, packed } = await inspectFile(path);
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
    max_record_size: longestRow,
  });
  const flow = pipeline([source, ...(packed ? [createGunzip()] : []), tap, parser]);
  // The parser passes every failure on to whoever reads from it.
  flow.catch(() => undefined);
  let places: number[] | undefined;
  let width = 0;
  let row = 0;
  try {
    for await (const record of parser as Readable & AsyncIterable<string[]>) {
      if (places === undefined) {
        places = placesOf(path, record);
        width = record.length;
        continue;
      }
      row++;
      const fits = record.length === width;
      const entries = places.map((place, i) => [columns[i], record[place] ?? '']);
      yield { row, fields: fits ? (Object.fromEntries(entries) as Record<Column, string>) : null };
    }
  } catch (error) {
    throw explain(path, error);
  } finally {
    source.destroy();
  }
  if (places === undefined) throw new ReplayError(`${path} is empty: its first line must name ${columns.join(', ')}`);
  options.onEnd?.(hash.digest('hex'));
}
