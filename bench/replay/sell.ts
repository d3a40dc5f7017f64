import { createHash } from 'node:crypto';
import { type ApiResult, type Client, Stopped } from './client.ts';
import { type EarlierRuns, reasonOfOpening, reasonOfRow } from './database.ts';
import { ReplayError } from './file.ts';
import { optionName } from './groups.ts';
import { markOf, type Plan, readOrders } from './plan.ts';
import type { PlannedOrder, PlannedProduct } from './planned.ts';
import { createPriceRule, hasPricesOf } from './prices.ts';
import { grouped, type Progress } from './progress.ts';

export type Run = {
  plan: Plan;
  earlier: EarlierRuns;
  client: Client;
  concurrency: number;
  progress: Progress;
  signal: AbortSignal;
};

/** The results of one step. `existing`: already done by an earlier run. `failures`: descriptions of the first few. */
type Outcome = { done: number; existing: number; failed: number; failures: string[] };

const maxFailures = 10;
const importRetryMs = 330_000;

/**
 * Sends all tasks concurrently. A failed task does not stop the others. When stopped, it waits for the requests in
 * flight, so that their results are known.
 */
async function sendAll<T>(
  run: Run,
  step: { unit: string; total: number; tasks: AsyncIterable<T> | Iterable<T>; skip: (task: T) => boolean },
  send: (task: T) => Promise<{ name: string; result: ApiResult }>,
): Promise<void> {
  const outcome: Outcome = { done: 0, existing: 0, failed: 0, failures: [] };
  const end = new AbortController();
  const signal = AbortSignal.any([run.signal, end.signal]);
  // A generator serves one call of next() at a time, so all workers can share it.
  const tasks = (async function* () {
    yield* step.tasks;
  })();
  let sent = 0;
  const work = async (): Promise<void> => {
    for (;;) {
      if (signal.aborted) return;
      const { done, value: task } = await tasks.next();
      if (done) return;
      if (step.skip(task)) {
        outcome.existing++;
        continue;
      }
      const { name, result } = await send(task);
      sent++;
      if (result.status >= 300) {
        outcome.failed++;
        if (outcome.failures.length < maxFailures) outcome.failures.push(`${name}: ${result.code}, ${result.detail}`);
      } else if (result.replayed) outcome.existing++;
      else outcome.done++;
      const handled = outcome.done + outcome.existing + outcome.failed;
      run.progress.showCount({ handled, sent, total: step.total, unit: step.unit, failed: outcome.failed });
    }
  };
  const workers = Array.from({ length: run.concurrency }, () =>
    work().catch((error: unknown) => {
      end.abort();
      throw error;
    }),
  );
  const ended = await Promise.allSettled(workers);
  await tasks.return(undefined);
  const errors = ended.flatMap((worker) => (worker.status === 'rejected' ? [worker.reason as unknown] : []));
  const failure = errors.find((error) => !(error instanceof Stopped));
  if (failure) throw failure;
  reportOutcome(run, outcome, step.unit);
  if (run.signal.aborted) throw new Stopped();
}

function reportOutcome(run: Run, outcome: Outcome, unit: string): void {
  const { done, existing, failed, failures } = outcome;
  const rate = (done + failed) / (run.progress.elapsed / 1000);
  const parts = [`${grouped(done)} ${unit}`];
  if (existing > 0) parts.push(`${grouped(existing)} already there`);
  if (failed > 0) parts.push(`${grouped(failed)} failed`);
  if (done > 0) parts.push(`${rate.toFixed(0)} ${unit}/s`);
  run.progress.end(parts.join(', '), failed === 0);
  for (const failure of failures) run.progress.say(`      ${failure}`);
}

function importLine({ sku, name, pence, opening, group }: PlannedProduct): string {
  const variant = group && { group: group.slug, groupName: group.name, options: { [optionName]: group.variant } };
  return `${JSON.stringify({ sku, name, price: pence / 100, currency: 'GBP', inventory: opening, ...variant })}\n`;
}

/**
 * Imports every SKU with its opening stock and its product group. An import overwrites the stock, so it runs only while a SKU is missing:
 * then no order of this file exists yet. Lines and Idempotency-Key are the same in every run, so a run waits for an
 * import that a killed run has started.
 * @throws ReplayError if a SKU cannot be ordered or imported
 */
export async function importProducts(run: Run): Promise<void> {
  const { plan, earlier, progress } = run;
  progress.begin('Catalog');
  const unusable = [...earlier.products].filter(([, { problem }]) => problem !== undefined);
  if (unusable.length > 0) {
    const examples = unusable.slice(0, 5).map(([sku, { problem }]) => `${sku} ${problem}`);
    throw new ReplayError(
      `${grouped(unusable.length)} SKUs of this file are already in the catalog and cannot be ordered in GBP: ` +
        `${examples.join(', ')}. Nothing was ordered. Use the API key of another tenant (--key).`,
    );
  }
  const toImport = [...plan.products.values()].filter(({ sku }) => earlier.products.get(sku)?.imported !== false);
  const missing = toImport.filter(({ sku }) => !earlier.products.has(sku)).length;
  if (missing > 0) {
    const digest = createHash('sha256');
    for (const product of toImport) digest.update(importLine(product));
    const result = await run.client.send({
      path: '/v1/products/import',
      body: { ndjson: () => toImport.map(importLine) },
      idempotencyKey: `${markOf(plan)}-catalog-${digest.digest('hex').slice(0, 16)}`,
      // The API considers an import as running for five minutes, even if its Worker died.
      retryForMs: importRetryMs,
      onRetry: (reason) => progress.show(() => `waiting: ${reason}`),
    });
    const report = result.body as { rejected?: { line: number; code: string; detail: string }[] };
    const [first] = report.rejected ?? [];
    if (result.status !== 200) throw new ReplayError(`the import failed: ${result.code}, ${result.detail}`);
    if (first) {
      const sku = toImport[first.line - 1]?.sku;
      throw new ReplayError(
        `the import rejected ${report.rejected?.length} SKUs. The first is ${sku}: ${first.detail}`,
      );
    }
  }
  progress.end(`${grouped(missing)} SKUs imported, ${grouped(plan.products.size - missing)} already there`);

  const existing = [...plan.products.values()].filter(
    ({ sku, opening }) => earlier.products.get(sku)?.imported === false && opening > 0,
  );
  if (existing.length > 0) await addOpeningStock(run, existing);
}

/** Adds the opening stock of SKUs that were in the catalog before the replay, by adjustments. */
async function addOpeningStock(run: Run, products: PlannedProduct[]): Promise<void> {
  const reason = reasonOfOpening(run.plan);
  run.progress.begin('Stock');
  const skip = ({ sku }: PlannedProduct) => run.earlier.adjustments.has(`${reason} of ${sku}`);
  const step = { unit: 'opening stocks', total: products.length, tasks: products, skip };
  await sendAll(run, step, async ({ sku, opening }) => ({
    name: sku,
    result: await adjust(run, sku, opening, reason, `${markOf(run.plan)}-opening-${digestOf(sku)}`),
  }));
}

/** A header does not allow all characters of a SKU, so the Idempotency-Key has a digest of it. */
const digestOf = (sku: string): string => createHash('sha256').update(sku).digest('hex').slice(0, 32);

const adjust = (run: Run, sku: string, delta: number, reason: string, idempotencyKey: string): Promise<ApiResult> =>
  run.client.send({
    path: `/v1/inventory/${encodeURIComponent(sku)}/adjustments`,
    body: { json: { delta, reason } },
    idempotencyKey,
  });

/**
 * Places each invoice as one order, unless an earlier run has. If the price list and the catalog give all prices of an
 * invoice, the order states them and leaves the pricing to the platform, which rejects any other price. All other orders
 * are quoted. @throws ReplayError, Stopped
 */
export async function placeOrders(run: Run): Promise<void> {
  const { plan, earlier } = run;
  const priceOf = createPriceRule(plan);
  let calculated = 0;
  const tasks = async function* () {
    for await (const order of readOrders(plan)) {
      const quoted = !hasPricesOf(priceOf, order) || order.lines.some(({ sku }) => earlier.repriced.has(sku));
      if (!quoted) calculated++;
      yield { ...order, quoted };
    }
  };
  run.progress.begin('Orders');
  const step = {
    unit: 'orders',
    total: plan.orders,
    tasks: tasks(),
    skip: ({ invoice }: PlannedOrder) => earlier.invoices.has(invoice),
  };
  await sendAll(run, step, async ({ invoice, customer, lines, quoted }) => ({
    name: invoice,
    result: await run.client.send({
      path: '/v1/orders',
      body: {
        json: {
          customerId: customer,
          items: lines.map(({ sku, units, pence }) => ({ sku, quantity: units, price: pence / 100 })),
          currency: 'GBP',
          ...(quoted ? { pricing: 'quoted' } : {}),
          organizationId: markOf(plan),
          purchaseOrderNumber: invoice,
        },
      },
      idempotencyKey: `${markOf(plan)}-${invoice}`,
    }),
  }));
  run.progress.say(
    `      ${grouped(calculated)} at the prices of the price list and the catalog, as the platform calculates them, ` +
      `${grouped(plan.orders - calculated)} at quoted prices`,
  );
}

/** Returns each line of a cancellation to stock, unless an earlier run has. @throws ReplayError, Stopped */
export async function returnCancelled(run: Run): Promise<void> {
  const { plan, earlier } = run;
  run.progress.begin('Cancellations');
  const step = {
    unit: 'adjustments',
    total: plan.cancellations.length,
    tasks: plan.cancellations,
    skip: (cancelled: Plan['cancellations'][number]) => earlier.adjustments.has(reasonOfRow(plan, cancelled)),
  };
  await sendAll(run, step, async (cancelled) => ({
    name: `${cancelled.invoice} ${cancelled.sku}`,
    result: await adjust(
      run,
      cancelled.sku,
      cancelled.units,
      reasonOfRow(plan, cancelled),
      `${markOf(plan)}-${cancelled.invoice}-row-${cancelled.row}`,
    ),
  }));
}
