import { createHash } from 'node:crypto';
import { type Answer, type Client, Stopped } from './client.ts';
import { type Found, reasonOfOpening, reasonOfRow } from './database.ts';
import { ReplayError } from './file.ts';
import { markOf, type Plan, type PlannedOrder, type PlannedProduct, readOrders } from './plan.ts';
import { grouped, type Progress } from './progress.ts';

export type Run = {
  plan: Plan;
  found: Found;
  client: Client;
  concurrency: number;
  progress: Progress;
  signal: AbortSignal;
};

/** What became of the requests of one step. `failures`: the first few, in words. */
type Outcome = { done: number; there: number; failed: number; failures: string[] };

const mostFailures = 10;
const importPatienceMs = 330_000;

/**
 * Does all tasks, so many at once; one that is refused does not keep the others. Stopping waits for those that are on
 * their way: what they did is known then.
 */
async function doAll<T>(
  run: Run,
  step: { unit: string; total: number; tasks: AsyncIterable<T> | Iterable<T>; skip: (task: T) => boolean },
  send: (task: T) => Promise<{ name: string; answer: Answer }>,
): Promise<void> {
  const outcome: Outcome = { done: 0, there: 0, failed: 0, failures: [] };
  const end = new AbortController();
  const signal = AbortSignal.any([run.signal, end.signal]);
  // A generator answers its calls one after the other, so all workers may share it.
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
        outcome.there++;
        continue;
      }
      const { name, answer } = await send(task);
      sent++;
      if (answer.status >= 300) {
        outcome.failed++;
        if (outcome.failures.length < mostFailures) outcome.failures.push(`${name}: ${answer.code}, ${answer.detail}`);
      } else if (answer.replayed) outcome.there++;
      else outcome.done++;
      const handled = outcome.done + outcome.there + outcome.failed;
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
  tell(run, outcome, step.unit);
  if (run.signal.aborted) throw new Stopped();
}

function tell(run: Run, outcome: Outcome, unit: string): void {
  const { done, there, failed, failures } = outcome;
  const rate = (done + failed) / (run.progress.elapsed / 1000);
  const parts = [`${grouped(done)} ${unit}`];
  if (there > 0) parts.push(`${grouped(there)} there already`);
  if (failed > 0) parts.push(`${grouped(failed)} failed`);
  if (done > 0) parts.push(`${rate.toFixed(0)} ${unit}/s`);
  run.progress.end(parts.join(', '), failed === 0);
  for (const failure of failures) run.progress.say(`      ${failure}`);
}

const line = ({ sku, name, pence, opening }: PlannedProduct): string =>
  `${JSON.stringify({ sku, name, price: pence / 100, currency: 'GBP', inventory: opening })}\n`;

/**
 * Brings every SKU into the catalog with its opening stock. An import sets a stock absolutely, so it is made only while
 * a SKU is missing: then no order of this file was placed yet, and its own SKUs may be set once more. Its lines are the
 * same in every run, and so is its key: an import that a killed run has left behind is waited for.
 * @throws ReplayError a SKU cannot be ordered, or is not taken
 */
export async function importProducts(run: Run): Promise<void> {
  const { plan, found, progress } = run;
  progress.begin('Catalog');
  const faults = [...found.products].filter(([, { fault }]) => fault !== undefined);
  if (faults.length > 0) {
    const named = faults.slice(0, 5).map(([sku, { fault }]) => `${sku} ${fault}`);
    throw new ReplayError(
      `${grouped(faults.length)} SKUs of this file are in the catalog already, and cannot be ordered in GBP: ` +
        `${named.join(', ')}. Nothing was ordered. Sell them as another tenant (--key).`,
    );
  }
  const own = [...plan.products.values()].filter(({ sku }) => found.products.get(sku)?.ours !== false);
  const missing = own.filter(({ sku }) => !found.products.has(sku)).length;
  if (missing > 0) {
    const digest = createHash('sha256');
    for (const product of own) digest.update(line(product));
    const answer = await run.client.post({
      path: '/v1/products/import',
      body: { ndjson: () => own.map(line) },
      idempotencyKey: `${markOf(plan)}-catalog-${digest.digest('hex').slice(0, 16)}`,
      // An import whose Worker died is believed to run for five minutes.
      patienceMs: importPatienceMs,
      onWait: (why) => progress.show(() => `waiting: ${why}`),
    });
    const report = answer.body as { rejected?: { line: number; code: string; detail: string }[] };
    const [first] = report.rejected ?? [];
    if (answer.status !== 200) throw new ReplayError(`the import was refused: ${answer.code}, ${answer.detail}`);
    if (first) {
      const sku = own[first.line - 1]?.sku;
      throw new ReplayError(`the import refused ${report.rejected?.length} SKUs, ${sku} first: ${first.detail}`);
    }
  }
  progress.end(`${grouped(missing)} SKUs imported, ${grouped(plan.products.size - missing)} there already`);

  const others = [...plan.products.values()].filter(
    ({ sku, opening }) => found.products.get(sku)?.ours === false && opening > 0,
  );
  if (others.length > 0) await openOthers(run, others);
}

/** The opening stock of SKUs that others have brought into the catalog. */
async function openOthers(run: Run, others: PlannedProduct[]): Promise<void> {
  const reason = reasonOfOpening(run.plan);
  run.progress.begin('Stock');
  const skip = ({ sku }: PlannedProduct) => run.found.adjustments.has(`${reason} of ${sku}`);
  const step = { unit: 'openings', total: others.length, tasks: others, skip };
  await doAll(run, step, async ({ sku, opening }) => ({
    name: sku,
    answer: await adjust(run, sku, opening, reason, `${markOf(run.plan)}-opening-${digestOf(sku)}`),
  }));
}

/** A SKU may have letters that a header cannot. */
const digestOf = (sku: string): string => createHash('sha256').update(sku).digest('hex').slice(0, 32);

const adjust = (run: Run, sku: string, delta: number, reason: string, idempotencyKey: string): Promise<Answer> =>
  run.client.post({
    path: `/v1/inventory/${encodeURIComponent(sku)}/adjustments`,
    body: { json: { delta, reason } },
    idempotencyKey,
  });

/** Places each invoice as one order, except those that the database has. @throws ReplayError, Stopped */
export async function placeOrders(run: Run): Promise<void> {
  const { plan } = run;
  run.progress.begin('Orders');
  const step = {
    unit: 'orders',
    total: plan.orders,
    tasks: readOrders(plan),
    skip: ({ invoice }: PlannedOrder) => run.found.invoices.has(invoice),
  };
  await doAll(run, step, async ({ invoice, customer, lines }) => ({
    name: invoice,
    answer: await run.client.post({
      path: '/v1/orders',
      body: {
        json: {
          customerId: customer,
          items: lines.map(({ sku, units, pence }) => ({ sku, quantity: units, price: pence / 100 })),
          currency: 'GBP',
          pricing: 'quoted',
          organizationId: markOf(plan),
          purchaseOrderNumber: invoice,
        },
      },
      idempotencyKey: `${markOf(plan)}-${invoice}`,
    }),
  }));
}

/** Takes each line of a cancellation back into stock, except those that the database has. @throws ReplayError, Stopped */
export async function takeBack(run: Run): Promise<void> {
  const { plan, found } = run;
  run.progress.begin('Cancellations');
  const step = {
    unit: 'adjustments',
    total: plan.cancellations.length,
    tasks: plan.cancellations,
    skip: (cancelled: Plan['cancellations'][number]) => found.adjustments.has(reasonOfRow(plan, cancelled)),
  };
  await doAll(run, step, async (cancelled) => ({
    name: `${cancelled.invoice} ${cancelled.sku}`,
    answer: await adjust(
      run,
      cancelled.sku,
      cancelled.units,
      reasonOfRow(plan, cancelled),
      `${markOf(plan)}-${cancelled.invoice}-row-${cancelled.row}`,
    ),
  }));
}
