import type { Budget } from '../base/budget.ts';
import type { Context } from '../context.ts';
import { StripeCallError } from '../stripe/client.ts';
import { pace } from '../stripe/pace.ts';
import { listRefunds, makeRefund, type RefundTask } from '../stripe/refunds.ts';
import { type PaymentTask, syncPayment } from './charges.ts';
import { makeIntents, type Rejection, type UsedKey, usedKey } from './intents.ts';
import { noteFailedRow } from './stripe/events.ts';
import { type ApplyResult, applyStripeUpdate, isOutage } from './stripe/updates.ts';

type Task<T> = T & { tenant: string };
/** The ids that one tenant's rows add to the input of `payments.note_checked`. */
type Results = Record<'payments' | 'listed' | 'refunds' | 'done', string[]> & { again: UsedKey[] };
type Failed = { tenant: string; key: string; subject: string; error: unknown };
type OpenWork = {
  intents: Task<PaymentTask>[];
  refunds: Task<RefundTask>[];
};

const needsIntent = ({ status, capture, intentId, setupId }: PaymentTask): boolean =>
  status === 'pending' && !capture && intentId === null && setupId === null;

/**
 * Whether a payment ended before its PaymentIntent was recorded. If Stripe has made one, the same idempotency key
 * returns it. If not, the call makes one that is cancelled at once and that nobody can pay.
 */
const mayHaveUnknownIntent = ({ status, mode, intentOpen, intentId }: PaymentTask): boolean =>
  (status === 'cancelled' || status === 'failed') && mode !== 'card' && intentOpen && intentId === null;

/** How many payments, and how many refunds, a cron run takes. */
const batchSize = 100;
/** A cron run takes only rows that have not been looked up at Stripe for this long. */
const idleSeconds = 300;
/** After this many consecutive calls without a response from Stripe, the run stops. The next run continues. */
const outageThreshold = 3;

/** A payment or refund to process. `subject`: the payment. `isOver`: the buyer can change nothing about it any more. */
type Row = { tenant: string; key: string; subject: string; isOver: boolean };

/** The progress and results of one run of `processTasks`. */
class Run {
  readonly context: Context;
  readonly changed: { tenant: string; skus: string[] }[] = [];
  readonly failures: unknown[] = [];
  /** Rows that failed in our own database. Such a failure concerns one row, and a retry would fail too. */
  readonly failedRows: Failed[] = [];
  /** Rows that are over, of a tenant that gives no access to its account: they wait until somebody replays them. */
  readonly rowsWithoutAccess: Failed[] = [];
  applied = 0;
  looked = 0;
  #consecutiveOutages = 0;
  readonly #results = new Map<string, Results>();
  readonly #subjects = new Map<string, string>();

  constructor(context: Context) {
    this.context = context;
  }

  get isStripeUnavailable(): boolean {
    return this.#consecutiveOutages >= outageThreshold;
  }

  resultsFor(tenant: string): Results {
    const results = this.#results.get(tenant) ?? { payments: [], listed: [], refunds: [], again: [], done: [] };
    this.#results.set(tenant, results);
    return results;
  }

  countApplied(outcome: ApplyResult): void {
    if (outcome.outcome === 'applied') this.applied++;
    if (outcome.tenant !== undefined && outcome.skus?.length)
      this.changed.push({ tenant: outcome.tenant, skus: outcome.skus });
  }

  /**
   * Processes one row. A failure is recorded and does not stop the other rows.
   * @throws ApiError unavailable if the database is unavailable
   */
  async processRow({ isOver, ...row }: Row, task: () => Promise<void>): Promise<void> {
    this.looked++;
    this.#subjects.set(row.key, row.subject);
    try {
      await task();
      this.#consecutiveOutages = 0;
      this.resultsFor(row.tenant).done.push(row.key);
    } catch (error) {
      if (isOutage(error)) throw error;
      if (error instanceof StripeCallError) {
        this.#consecutiveOutages = error.unavailable ? this.#consecutiveOutages + 1 : 0;
        if (error.noAccess && isOver) this.rowsWithoutAccess.push({ ...row, error });
        else this.failures.push(error);
      } else this.failedRows.push({ ...row, error });
    }
  }

  /** Throws the first failure, if there is one, so that the queue redelivers the message. */
  throwFirstFailure(): void {
    if (this.failures.length > 0) throw this.failures[0];
    if (this.failedRows.length > 0) throw this.failedRows[0]?.error;
  }

  /**
   * Records the results of each tenant in one call. If that fails, records each row alone, so that a bad row stops no
   * other.
   */
  async recordResults(): Promise<void> {
    for (const [tenant, results] of this.#results) {
      try {
        await this.#record(tenant, results);
      } catch (error) {
        if (isOutage(error)) throw error;
        await this.#recordEach(tenant, results);
      }
    }
  }

  #record(tenant: string, results: Partial<Results>): Promise<unknown> {
    return this.context.db.run('payments.note_checked', this.context.call, { tenant, ...results });
  }

  async #recordEach(tenant: string, { payments, listed, refunds, again, done }: Results): Promise<void> {
    const keys = new Set([...payments, ...listed, ...refunds, ...again.map(({ id }) => id), ...done]);
    for (const key of keys) {
      const only = (ids: string[]): string[] => (ids.includes(key) ? [key] : []);
      const results = { payments: only(payments), listed: only(listed), refunds: only(refunds), done: only(done) };
      try {
        await this.#record(tenant, { ...results, again: again.filter(({ id }) => id === key) });
      } catch (error) {
        if (isOutage(error)) throw error;
        this.failedRows.push({ tenant, key, subject: this.#subjects.get(key) ?? key, error });
      }
    }
  }
}

/** Gets the PaymentIntent of a payment that has ended from Stripe. @throws StripeCallError */
async function findIntentAtStripe(context: Context, task: Task<PaymentTask>): Promise<Task<PaymentTask>> {
  const [made] = await makeIntents(context, task.tenant, [task]);
  return made?.intentId === undefined ? task : { ...task, intentId: made.intentId };
}

async function processPayment(run: Run, found: Task<PaymentTask>): Promise<void> {
  const { context } = run;
  let task = found;
  try {
    if (needsIntent(task)) await makeIntents(context, task.tenant, [task]);
    else if (mayHaveUnknownIntent(task)) task = await findIntentAtStripe(context, task);
    let isRecorded = false;
    for await (const update of syncPayment(context, task)) {
      const outcome = await applyStripeUpdate(context, { paymentId: task.id, ...update });
      run.countApplied(outcome);
      // Applying an update, or setting it aside, also records the lookup.
      isRecorded = outcome.outcome === 'applied' || outcome.outcome === 'set_aside';
    }
    if (!isRecorded) run.resultsFor(task.tenant).payments.push(task.id);
    if (task.refundsUnseen && task.intentId !== null) {
      for (const update of await listRefunds(context.settings, task.account, task.intentId))
        run.countApplied(await applyStripeUpdate(context, update));
      run.resultsFor(task.tenant).listed.push(task.id);
    }
  } catch (error) {
    if (!(error instanceof StripeCallError)) throw error;
    run.resultsFor(task.tenant).payments.push(task.id);
    if (task.capture && (error.keyUsed || error.permanent)) await recordStripeError(context, task, error);
    if (!(task.capture && error.permanent)) throw error;
  }
}

async function processRefund(run: Run, task: Task<RefundTask>): Promise<void> {
  const { context } = run;
  run.resultsFor(task.tenant).refunds.push(task.id);
  try {
    run.countApplied(await applyStripeUpdate(context, await makeRefund(context, task)));
  } catch (error) {
    if (!(error instanceof StripeCallError)) throw error;
    if (error.keyUsed) run.resultsFor(task.tenant).again.push(usedKey(task));
    if (!error.permanent) throw error;
    const refund = { id: task.id, stripeId: null, status: 'failed', amount: task.amount, failure: error.code };
    const input = { account: task.account, intentId: task.intentId, refund };
    run.countApplied(await context.db.run<ApplyResult>('payments.apply_stripe', context.call, input));
  }
}

/**
 * Processes rows at Stripe, five at a time: creates missing PaymentIntents, looks up pending ones, cancels those of
 * ended orders, and makes refunds. Every step can be repeated: Stripe's response is applied like a webhook, and a
 * webhook for the same change has no further effect. A failing row does not stop the others. Ends early when Stripe is
 * unavailable or the budget is used up. `paced`: stays below STRIPE_REQUESTS_PER_SECOND, for callers with many rows.
 */
async function processTasks(
  context: Context,
  { intents, refunds }: OpenWork,
  paced: boolean,
  budget?: Budget,
): Promise<Run> {
  const run = new Run(context);
  const tasks = [
    ...intents.map((task) => ({
      ...{ task, subject: task.id, isOver: task.status !== 'pending' },
      run: () => processPayment(run, task),
    })),
    ...refunds.map((task) => ({
      ...{ task, subject: task.paymentId, isOver: true },
      run: () => processRefund(run, task),
    })),
  ];
  const worker = async () => {
    for (let next = tasks.shift(); next && !run.isStripeUnavailable; next = tasks.shift()) {
      if (budget && !budget.spend(2)) return;
      if (paced) await pace(context.settings);
      const { tenant, id } = next.task;
      await run.processRow({ tenant, key: id, subject: next.subject, isOver: next.isOver }, next.run);
    }
  };
  try {
    await Promise.all(Array.from({ length: 5 }, worker));
  } finally {
    await run.recordResults();
  }
  for (const { error, ...row } of run.rowsWithoutAccess)
    await noteFailedRow(context, { job: 'reconcile-payments', ...row, untilReplayed: true }, error);
  return run;
}

/**
 * For the consumer: makes at once the changes at Stripe that these payments need.
 * @throws the first temporary failure, so that the queue redelivers them
 */
export async function settlePayments(context: Context, tenant: string, paymentIds: string[]) {
  const input = { tenant, paymentIds, limit: 1_000 };
  const found = await context.db.run<OpenWork>('payments.open_work', context.call, input);
  // A pending payment waits for its buyer. Only the cron looks it up.
  const intents = found.intents.filter((task) => task.status !== 'pending');
  const run = await processTasks(context, { intents, refunds: found.refunds }, false);
  run.throwFirstFailure();
  return run.changed;
}

/**
 * Records that the idempotency key is used up, or that Stripe will never accept this charge, so the place is lost. It
 * is not lost if another request has made its charge (`payments.is_rejection_current`).
 */
function recordStripeError(context: Context, task: Task<PaymentTask>, { permanent, code }: StripeCallError) {
  const { id, tenant, intentId, setupId } = task;
  const refused: Rejection[] = permanent ? [{ id, reason: code, intentId, setupId }] : [];
  const again = permanent ? [] : [usedKey(task)];
  return context.db.run('payments.record_intents', context.call, { tenant, intents: [], refused, again });
}

/**
 * Captures or charges the payments of places in successful campaigns, at the rate that Stripe allows. Each is captured
 * once: the idempotency key is made from the row, and a payment that is no longer pending is skipped.
 * @throws the first temporary failure, so that the queue redelivers the messages
 */
export async function capturePayments(context: Context, tenant: string, paymentIds: string[]) {
  const input = { tenant, paymentIds, limit: 1_000 };
  const found = await context.db.run<OpenWork>('payments.open_work', context.call, input);
  const waiting = found.intents.filter((task) => task.status === 'pending' && task.capture);
  (await processTasks(context, { intents: waiting, refunds: [] }, true)).throwFirstFailure();
}

/**
 * Cron job, since a message can be lost. First processes payments whose hold is over but cannot end until Stripe says
 * whether they were paid, then payments that were not looked up for five minutes, each tenant in turn. A row that fails
 * in our database is set aside. A row that fails at Stripe is left for the next run.
 */
export async function reconcilePayments(context: Context, budget: Budget) {
  const found = await context.db.run<OpenWork>('payments.open_work', context.call, { idleSeconds, limit: batchSize });
  const run = await processTasks(context, found, true, budget);
  for (const { error, ...row } of run.failedRows)
    await noteFailedRow(context, { job: 'reconcile-payments', ...row }, error);
  const { looked, applied, failures, failedRows, rowsWithoutAccess, changed } = run;
  return { looked, applied, failed: failures.length, setAside: failedRows.length + rowsWithoutAccess.length, changed };
}
