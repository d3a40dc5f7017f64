import { createHash } from 'node:crypto';
import * as z from 'zod';
import { chunksOf } from '../../base/body.ts';
import { ApiError } from '../../base/errors.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import type { Call, WriteResult } from '../../db/client.ts';
import { importFormat, readImport } from './lines.ts';
import type { ImportedProduct, ImportLine } from './product-line.ts';
import { type LineCode, lineCodes } from './split-lines.ts';

const maxRejected = 10_000;

export const importReport = z
  .object({
    created: z.number().int(),
    updated: z.number().int(),
    rejected: z
      .array(
        z.object({
          line: z.number().int().meta({ description: 'The line where it starts. The first line is 1' }),
          code: z.enum(lineCodes),
          detail: z.string(),
        }),
      )
      .meta({ description: 'The rejected lines in the order of the body, at most 10,000' }),
    stoppedAt: z.number().int().optional().meta({
      description:
        'The line after which reading stopped, because 10,000 lines had been rejected. Imported products stay',
    }),
    repeated: z
      .number()
      .int()
      .optional()
      .meta({
        description:
          'Updated lines whose `inventory` was not set again, because an interrupted import, or one with the same ' +
          'Idempotency-Key, had set the same count in the last 24 hours',
      }),
    rejectedCount: z.number().int().optional().meta({
      description: 'The number of rejected lines, if it exceeds the length of `rejected`',
    }),
  })
  .meta({ id: 'ImportReport' });

export type ImportReport = z.infer<typeof importReport>;

/** Called after each batch with the tenant's SKUs that have changed. */
type OnChanged = (context: Context, tenant: string, skus: string[]) => Promise<void>;

type Batch = Map<string, { line: number; size: number; product: ImportedProduct; retried?: true }>;
type Outcome = {
  sku: string;
  outcome: 'created' | 'updated' | 'invalid' | 'again';
  code?: LineCode;
  detail?: string;
  repeated?: boolean;
};
type Stored = { report: ImportReport; digest: string };

const maxBatchRows = 250;
// In characters: 250 long descriptions would make one batch's request too large.
const maxBatchCharacters = 1_000_000;
// Each image is an event.
const maxBatchImages = 500;
// A product in a collection is a row, and a new collection is another: 25,000 of them take longer than a call may.
const maxBatchCollections = 2_000;
/**
 * After each batch an import pauses for four times the batch's duration, at most this long, so that it never keeps the
 * database busy.
 */
const maxPauseMs = 1_000;

const operation = { scope: 'catalog:write', operation: 'products.import' };
// How long the key stays taken if the import's Worker stops without releasing it.
const keyLeaseSeconds = 300;

/**
 * Reads a body and passes each chunk to `update`. `rest` reads the remaining chunks, so that the hash covers the whole
 * body.
 */
function hashBody(request: globalThis.Request, update: (chunk: Uint8Array) => void) {
  const chunks = chunksOf(request);
  async function next(): Promise<IteratorResult<Uint8Array, void>> {
    const read = await chunks.next();
    if (!read.done) update(read.value);
    return read;
  }
  return {
    // It has no `return`, so a reader that stops early leaves the remaining chunks for `rest`.
    [Symbol.asyncIterator]: () => ({ next }),
    async rest() {
      while (!(await next()).done);
    },
  };
}

async function importLines(
  context: Context,
  call: Call,
  key: string | undefined,
  lines: AsyncIterable<ImportLine>,
  onChanged: OnChanged,
) {
  const report: ImportReport = { created: 0, updated: 0, rejected: [] };
  const run = newId(context.now());
  let rejectedCount = 0;
  let batch: Batch = new Map();
  let size = 0;
  let images = 0;
  let collections = 0;
  let pauseMs = 0;

  function add(line: number, lineSize: number, product: ImportedProduct, retried?: true): void {
    batch.set(product.sku, { line, size: lineSize, product, ...(retried ? { retried } : {}) });
    size += lineSize;
    images += product.images?.length ?? 0;
    collections += product.collections?.length ?? 0;
  }

  function reject(line: number, code: LineCode, detail: string): void {
    rejectedCount++;
    if (report.rejected.length < maxRejected) report.rejected.push({ line, code, detail });
  }

  async function send(last = false): Promise<void> {
    if (batch.size === 0) return;
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    const started = Date.now();
    const rows = [...batch.values()].map(({ product, retried }) => ({
      ...product,
      id: newId(context.now()),
      ...(retried ? { retried } : {}),
    }));
    const { tenant, answer } = await context.db.run<WriteResult<{ results: Outcome[] }>>(
      'catalog.import_products',
      call,
      {
        ...{ rows, run, key, last, retries: true },
      },
    );
    pauseMs = Math.min(4 * (Date.now() - started), maxPauseMs);
    const updated: string[] = [];
    const sent = batch;
    batch = new Map();
    size = 0;
    images = 0;
    collections = 0;
    for (const { sku, outcome, code, detail, repeated } of answer.results) {
      const row = sent.get(sku);
      if (repeated && outcome !== 'again') report.repeated = (report.repeated ?? 0) + 1;
      if (outcome === 'invalid') reject(row?.line ?? 0, code ?? 'validation_failed', detail ?? '');
      // Another line of the batch had these options or this slug before it. Now it may have given them up.
      else if (outcome === 'again') row && add(row.line, row.size, row.product, true);
      else report[outcome]++;
      // A new product cannot be in any cache.
      if (outcome === 'updated') updated.push(sku);
    }
    if (updated.length > 0) await onChanged(context, tenant, updated);
  }

  for await (const read of lines) {
    if ('code' in read) {
      reject(read.line, read.code, read.detail);
      // A body with so many invalid lines is not a product file, and rejecting a line costs more than reading it.
      if (rejectedCount >= maxRejected) {
        report.stoppedAt = read.line;
        break;
      }
      continue;
    }
    const isFull = () =>
      batch.size >= maxBatchRows ||
      size > maxBatchCharacters ||
      images > maxBatchImages ||
      collections > maxBatchCollections;
    while (isFull() || batch.has(read.product.sku)) await send();
    add(read.line, read.size, read.product);
  }
  // An import that stopped early is repeated with a corrected file. Its counts are not set again then.
  while (batch.size > 0) await send(report.stoppedAt === undefined);
  report.rejected.sort((a, b) => a.line - b.line);
  return rejectedCount > maxRejected ? { ...report, rejectedCount } : report;
}

/** `format`: a file of Shopify, whose prices are in `currency`. */
export type ImportQuery = { format?: 'shopify' | undefined; currency?: string | undefined };

/**
 * Imports products from an NDJSON or CSV stream of any length, in the body's order, up to 250 lines a transaction. It
 * pauses between transactions so that other tenants are served. Only the invalid line is rejected; after 10,000 of them
 * reading stops, and the report says where. Products that were imported before a failure or a disconnect stay. The
 * import can be repeated: a count that it has set is not set again for 24 hours.
 * The idempotency key is claimed before the body is read and compared with the body's digest at the end.
 * @throws ApiError unsupported_media_type, validation_failed (the first line of a CSV; a Shopify file without currency),
 * idempotency_key_reused
 */
export async function importProducts(
  context: Context,
  request: globalThis.Request,
  query: ImportQuery,
  onChanged: OnChanged,
) {
  const format = importFormat(request.headers, query.format);
  if (query.currency !== undefined && format !== 'shopify') {
    const detail = 'Only a Shopify file has one currency. Name the currency in each line.';
    throw new ApiError('validation_failed', undefined, { faults: [{ pointer: 'currency', detail }] });
  }
  const hash = createHash('sha256').update(`${format}${query.currency ?? ''}\n`);
  const body = hashBody(request, (chunk) => hash.update(chunk));
  const { idempotencyKey, requestHash: _, ...call } = context.call;
  // An empty import only authenticates the key.
  const begin = () =>
    context.db.run<WriteResult<{ currency: string | null }>>('catalog.import_products', call, { rows: [] });
  const read = async (currency: string | null | undefined) => {
    if (format === 'shopify' && !currency) {
      const detail = "Name the currency of the file's prices in ?currency=, or set the tenant's currency.";
      throw new ApiError('validation_failed', undefined, { faults: [{ pointer: 'currency', detail }] });
    }
    const urls = { allowLoopback: context.settings.ALLOW_LOOPBACK_URLS };
    const lines = readImport(format, body, urls, currency ?? '');
    const report = await importLines(context, call, idempotencyKey, lines, onChanged);
    await body.rest();
    return report;
  };

  if (idempotencyKey === undefined) {
    // Before any of the body is read.
    const { tenant, answer } = await begin();
    return { report: await read(query.currency ?? answer.currency), tenant, replayed: false };
  }

  const begun = await context.db.run<WriteResult<Stored | null>>('platform.begin_operation', context.call, {
    ...operation,
    seconds: keyLeaseSeconds,
  });
  if (begun.answer) {
    await body.rest();
    if (hash.digest('hex') !== begun.answer.digest) throw new ApiError('idempotency_key_reused');
    return { report: begun.answer.report, tenant: begun.tenant, replayed: true };
  }
  const end = (answer: Stored | null) =>
    context.db.run('platform.end_operation', context.call, { ...operation, answer });
  try {
    const isCurrencyMissing = format === 'shopify' && query.currency === undefined;
    const report = await read(isCurrencyMissing ? (await begin()).answer.currency : query.currency);
    await end({ report, digest: hash.digest('hex') });
    return { report, tenant: begun.tenant, replayed: false };
  } catch (error) {
    // Releases the key at once. If even this fails, the key is free after its lease.
    await end(null).catch(() => {});
    throw error;
  }
}
