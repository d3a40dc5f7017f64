import { createHash } from 'node:crypto';
import type { UrlRules } from '../../../base/public-url.ts';
import { readCsv } from '../csv.ts';
import { type ImportLine, quoteValue, toRejection } from '../product-line.ts';
import { readLines } from '../split-lines.ts';
import { type Header, readHeader, readRow } from './columns.ts';
import { toSlug } from './names.ts';
import { type ProductRows, toLines } from './products.ts';

const maxRows = 2_000;
const maxCharacters = 4_000_000;
/** How many SKUs of a file are remembered, to find one that is used twice. */
const maxSkus = 100_000;

/**
 * Finds the line that has used a SKU before. Shopify lets variants share a SKU, and an import would take the second for
 * a change of the first. A part of a hash takes less memory than the SKU, which may keep its whole line in memory.
 */
function rememberSkus() {
  const lines = new Map<string, number>();
  return (sku: string, line: number): number | undefined => {
    const key = createHash('sha256').update(sku).digest('base64').slice(0, 12);
    const earlier = lines.get(key);
    if (earlier === undefined && lines.size < maxSkus) lines.set(key, line);
    return earlier;
  };
}

/**
 * Reads a product file of Shopify, one product at a time: the rows of one handle, which follow each other. It holds at
 * most 2,000 rows and 4 million characters.
 * @throws ApiError validation_failed if the first line is not that of such a file
 */
export async function* readShopify(
  body: AsyncIterable<Uint8Array>,
  urls: UrlRules,
  currency: string,
): AsyncGenerator<ImportLine> {
  let header: Header | undefined;
  let product: ProductRows | undefined;
  let size = 0;
  const earlierLineOf = rememberSkus();

  function* finish(): Generator<ImportLine> {
    if (!header || !product) return;
    for (const line of toLines(product, { header, currency, urls })) {
      const earlier = 'code' in line ? undefined : earlierLineOf(line.product.sku, line.line);
      if (earlier === undefined || 'code' in line) yield line;
      else {
        const sku = quoteValue(line.product.sku);
        yield toRejection(line.line, `Line ${earlier} has the SKU ${sku} too. Each variant needs its own.`);
      }
    }
    product = undefined;
    size = 0;
  }

  for await (const record of readCsv(readLines(body))) {
    if (!header) {
      header = readHeader('code' in record ? [] : record.fields);
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
    if (fields.every((field) => field === '')) continue;
    const row = readRow(header, line, fields);
    const handle = row.cells.handle ?? row.cells.title ?? '';
    const slug = toSlug(handle);
    if (slug === '') {
      yield toRejection(line, `${header.label('handle')} is required.`);
      continue;
    }
    if (handle !== product?.handle) {
      yield* finish();
      product = { handle, slug, rows: [] };
    }
    size += row.size;
    if (product.rows.length === maxRows || size > maxCharacters) {
      yield toRejection(line, 'A product can have 2,000 rows and 4 million characters at most.');
    } else product.rows.push(row);
  }
  yield* finish();
}
