import { createHash } from 'node:crypto';
import * as z from 'zod';
import { chunksOf } from '../../base/body.ts';
import { ApiError } from '../../base/errors.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import type { Call, Written } from '../../db/client.ts';
import { type ImportedProduct, type ImportLine, importFormat, readImport } from './lines.ts';
import { type LineCode, lineCodes } from './split-lines.ts';

const maxRejected = 10_000;

export const importReport = z
  .object({
    created: z.number().int(),
    updated: z.number().int(),
    rejected: z
      .array(
        z.object({
          line: z.number().int().meta({ description: 'Where it starts in the body; the first line is 1' }),
          code: z.enum(lineCodes),
          detail: z.string(),
        }),
      )
      .meta({ description: 'The lines that were left out, in the order of the body: the first 10,000 at most' }),
    stoppedAt: z.number().int().optional().meta({
      description:
        'The line after which reading stopped, since 10,000 lines were left out by then. What was imported stays',
    }),
    repeated: z
      .number()
      .int()
      .optional()
      .meta({
        description:
          'Of the updated: lines whose `inventory` was left alone, since an import that broke off, or one with the same ' +
          'Idempotency-Key, had set the same count in the last 24 hours',
      }),
    rejectedCount: z.number().int().optional().meta({
      description: 'How many lines were left out, if there were more than `rejected` lists',
    }),
  })
  .meta({ id: 'ImportReport' });

export type ImportReport = z.infer<typeof importReport>;

/** Is told which SKUs of a tenant have changed, after each batch. */
type Changed = (tenant: string, skus: string[]) => Promise<void>;

type Batch = Map<string, { line: number; product: ImportedProduct }>;
type Outcome = { sku: string; outcome: 'created' | 'updated' | 'invalid'; detail?: string; repeated?: boolean };
type Stored = { report: ImportReport; digest: string };

const batchRows = 250;
// Characters of lines: 250 long descriptions would make too large a request of one batch.
const batchSize = 1_000_000;
/**
 * An import pauses after each batch for four times as long as that took, at most so long: it never keeps the database
 * busy.
 */
const longestPauseMs = 1_000;

const operation = { scope: 'catalog:write', operation: 'products.import' };
// How long a key stays taken if its import dies without a word.
const believedSeconds = 300;

/**
 * A body whose chunks are hashed as they are read. `rest` reads what is left of it, so that the hash is that of the
 * whole.
 */
function digested(request: globalThis.Request, update: (chunk: Uint8Array) => void) {
  const chunks = chunksOf(request);
  async function next(): Promise<IteratorResult<Uint8Array, void>> {
    const read = await chunks.next();
    if (!read.done) update(read.value);
    return read;
  }
  return {
    // Without `return`: who stops early leaves the rest to be read.
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
  changed: Changed,
) {
  const report: ImportReport = { created: 0, updated: 0, rejected: [] };
  const run = newId(context.now());
  let rejectedCount = 0;
  let batch: Batch = new Map();
  let size = 0;
  let pauseMs = 0;

  function reject(line: number, code: LineCode, detail: string): void {
    rejectedCount++;
    if (report.rejected.length < maxRejected) report.rejected.push({ line, code, detail });
  }

  async function send(last = false): Promise<void> {
    if (batch.size === 0) return;
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    const started = Date.now();
    const rows = [...batch.values()].map(({ product }) => ({ ...product, id: newId(context.now()) }));
    const { tenant, answer } = await context.db.run<Written<{ results: Outcome[] }>>('catalog.import_products', call, {
      ...{ rows, run, key, last },
    });
    pauseMs = Math.min(4 * (Date.now() - started), longestPauseMs);
    const updated: string[] = [];
    for (const { sku, outcome, detail, repeated } of answer.results) {
      if (repeated) report.repeated = (report.repeated ?? 0) + 1;
      if (outcome === 'invalid') reject(batch.get(sku)?.line ?? 0, 'validation_failed', detail ?? '');
      else report[outcome]++;
      // What is new cannot have been kept anywhere.
      if (outcome === 'updated') updated.push(sku);
    }
    batch = new Map();
    size = 0;
    if (updated.length > 0) await changed(tenant, updated);
  }

  for await (const read of lines) {
    if ('code' in read) {
      reject(read.line, read.code, read.detail);
      // So many bad lines are no file of products: each of them costs more than to read it.
      if (rejectedCount >= maxRejected) {
        report.stoppedAt = read.line;
        break;
      }
      continue;
    }
    if (batch.size === batchRows || size > batchSize || batch.has(read.product.sku)) await send();
    batch.set(read.product.sku, { line: read.line, product: read.product });
    size += read.size;
  }
  // An import that stopped early is repeated with a better file: its counts are not set again then.
  await send(report.stoppedAt === undefined);
  report.rejected.sort((a, b) => a.line - b.line);
  return rejectedCount > maxRejected ? { ...report, rejectedCount } : report;
}

/**
 * Imports products from a stream of NDJSON or CSV of any length, up to 250 lines a transaction, in the body's order,
 * with pauses between the transactions so that other tenants are served. A bad line costs that line only; after 10,000
 * of them reading stops, and the report says where. What was imported before a failure or the client's leaving stays.
 * The import can be repeated: a count that it has set is not set again for 24 hours. The idempotency key is taken
 * before the body is read, and compared with the body's digest after it.
 * @throws ApiError unsupported_media_type, validation_failed (the first line of a CSV), idempotency_key_reused
 */
export async function importProducts(context: Context, request: globalThis.Request, changed: Changed) {
  const format = importFormat(request.headers);
  const hash = createHash('sha256').update(`${format}\n`);
  const body = digested(request, (chunk) => hash.update(chunk));
  const { idempotencyKey, requestHash: _, ...call } = context.call;

  if (idempotencyKey === undefined) {
    // An import of no row tells whose key it is, before a byte of the body is read.
    const { tenant } = await context.db.run<Written<unknown>>('catalog.import_products', call, { rows: [] });
    const report = await importLines(context, call, idempotencyKey, readImport(format, body), changed);
    await body.rest();
    return { report, tenant, replayed: false };
  }

  const begun = await context.db.run<Written<Stored | null>>('platform.begin_operation', context.call, {
    ...operation,
    seconds: believedSeconds,
  });
  if (begun.answer) {
    await body.rest();
    if (hash.digest('hex') !== begun.answer.digest) throw new ApiError('idempotency_key_reused');
    return { report: begun.answer.report, tenant: begun.tenant, replayed: true };
  }
  const end = (answer: Stored | null) =>
    context.db.run('platform.end_operation', context.call, { ...operation, answer });
  try {
    const report = await importLines(context, call, idempotencyKey, readImport(format, body), changed);
    await body.rest();
    await end({ report, digest: hash.digest('hex') });
    return { report, tenant: begun.tenant, replayed: false };
  } catch (error) {
    // The key may be tried again at once; if even this fails, once it is no longer believed to run.
    await end(null).catch(() => {});
    throw error;
  }
}
