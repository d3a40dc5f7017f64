import * as z from 'zod';
import type { Context } from '../../context.ts';

export const exportFormat = z.enum(['csv', 'ndjson']).default('csv').meta({ description: 'Default: `csv`' });
export type ExportFormat = z.output<typeof exportFormat>;

const mediaTypes: Record<ExportFormat, string> = {
  csv: 'text/csv; charset=utf-8; header=present',
  ndjson: 'application/x-ndjson',
};

/** A value of a row. Undefined and null are empty fields in CSV. */
type Field = string | number | null | undefined;

/** One record of CSV (RFC 4180). */
export const csvRecord = (fields: Field[]): string =>
  `${fields
    .map((field) => {
      const text = field === null || field === undefined ? '' : String(field);
      return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    })
    .join(',')}\r\n`;

/**
 * Text that a buyer may have written. A spreadsheet takes a field that begins with one of these characters for a
 * formula, and an apostrophe prevents that (OWASP, "CSV Injection").
 */
export const withoutFormula = (text: string): string => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);

/** Rows that are read from the database at a time. An order may have 1,200 lines, and an isolate has 128 MB. */
export const pageSize = 100;
/** How many characters are written at a time: as CSV, a page of such orders has 40 MB. */
const chunkCharacters = 65_536;

/** Reads the rows below the id `before`, newest first. */
export type ReadPage<T> = (before: string | undefined) => Promise<T[]>;

/**
 * Streams rows of any number, page by page, and holds one page in memory. It reads the first page before it returns, so
 * that an invalid key is an error response. If a later page cannot be read, the connection breaks off, so that a client
 * does not take a part for the whole.
 */
export async function streamRows<T extends { id: string }>(
  read: ReadPage<T>,
  header: string,
  lineOf: (row: T) => string,
): Promise<ReadableStream<Uint8Array>> {
  const encoder = new TextEncoder();
  let rows: T[] = await read(undefined);
  let position = 0;
  let text = header;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        let isComplete = false;
        while (text.length < chunkCharacters && !isComplete) {
          const row = rows[position++];
          const last = rows.at(-1);
          if (row !== undefined) text += lineOf(row);
          else if (last === undefined || rows.length < pageSize) isComplete = true;
          else {
            rows = []; // two pages are never held at once
            rows = await read(last.id);
            position = 0;
          }
        }
        if (text !== '') controller.enqueue(encoder.encode(text));
        text = '';
        if (isComplete) controller.close();
      },
    },
    { highWaterMark: 0 },
  );
}

/** A file that is streamed while it is read. */
export type Export = { body: ReadableStream<Uint8Array>; type: string; fileName: string };

export const toExport = (
  context: Context,
  { name, format, body }: { name: string; format: ExportFormat; body: ReadableStream<Uint8Array> },
): Export => ({
  body,
  type: mediaTypes[format],
  fileName: `${name}-${context.now().toISOString().slice(0, 10)}.${format}`,
});
