import type { Budget } from '../base/budget.ts';
import type { Context } from '../context.ts';
import { listRefunds, makeRefund, type RefundTask, StripeCallError } from '../stripe/client.ts';
import { pace } from '../stripe/pace.ts';
import { type PaymentTask, syncPayment } from './charges.ts';
import { type Applied, applyStripeUpdate, isOutage, makeIntents, type UsedKey, usedKey } from './payments.ts';
import { noteFailedRow } from './stripe-events.ts';

type Task<T> = T & { tenant: string };
type Checked = Record<'payments' | 'listed' | 'refunds' | 'done', string[]> & { again: UsedKey[] };
type Work = {
  intents: Task<PaymentTask>[];
  refunds: Task<RefundTask>[];
};

const needsIntent = ({ status, capture, intentId, setupId }: PaymentTask): boolean =>
  status === 'pending' && !capture && intentId === null && setupId === null;

/**
 * Whether a payment has ended before we knew of its intent. Stripe may have made one, and answers with it when the same
 * idempotency key is used again; otherwise it makes one that nobody can pay.
 */
const mayHaveUnknownIntent = ({ status, mode, intentOpen, intentId }: PaymentTask): boolean =>
  (status === 'cancelled' || status === 'failed') && mode !== 'card' && intentOpen && intentId === null;

/** How many rows of each kind the cron takes at a time, and how long nobody must have asked about them. */
const most = 100;
const idleSeconds = 300;
/**
 * So many calls in a row that Stripe does not answer are an outage: the others of the turn are left for the next one.
 */
const outageThreshold = 3;

/** What one run of `work` has done so far. */
class Turn {
  readonly context: Context;
  readonly changed: { tenant: string; skus: string[] }[] = [];
  readonly failures: unknown[] = [];
  /** Rows that failed in our own database: nobody else's fault, and another try would fail alike. */
  readonly bad: { tenant: string; key: string; subject: string; error: unknown }[] = [];
  applied = 0;
  looked = 0;
  #away = 0;
  readonly #checked = new Map<string, Checked>();
  readonly #subjects = new Map<string, string>();

  constructor(context: Context) {
    this.context = context;
  }

  get isAway(): boolean {
    return this.#away >= outageThreshold;
  }

  noteOf(tenant: string): Checked {
    const note = this.#checked.get(tenant) ?? { payments: [], listed: [], refunds: [], again: [], done: [] };
    this.#checked.set(tenant, note);
    return note;
  }

  keep(outcome: Applied): void {
    if (outcome.outcome === 'applied') this.applied++;
    if (outcome.tenant !== undefined && outcome.skus?.length)
      this.changed.push({ tenant: outcome.tenant, skus: outcome.skus });
  }

  /** Runs one row's work; what fails there is its own failure. @throws ApiError unavailable: the database is away */
  async run(row: { tenant: string; key: string; subject: string }, task: () => Promise<void>): Promise<void> {
    this.looked++;
    this.#subjects.set(row.key, row.subject);
    try {
      await task();
      this.#away = 0;
      this.noteOf(row.tenant).done.push(row.key);
    } catch (error) {
      if (isOutage(error)) throw error;
      if (error instanceof StripeCallError) {
        this.#away = error.unavailable ? this.#away + 1 : 0;
        this.failures.push(error);
      } else this.bad.push({ ...row, error });
    }
  }

  /** For a queue, which brings a message again whose work has failed. */
  throwFirst(): void {
    if (this.failures.length > 0) throw this.failures[0];
    if (this.bad.length > 0) throw this.bad[0]?.error;
  }

  /** Notes the rows of each tenant in one call; if that fails, each row alone, so that a bad row stops no other. */
  async noteChecked(): Promise<void> {
    for (const [tenant, note] of this.#checked) {
      try {
        await this.#note(tenant, note);
      } catch (error) {
        if (isOutage(error)) throw error;
        await this.#noteEach(tenant, note);
      }
    }
  }

  #note(tenant: string, note: Partial<Checked>): Promise<unknown> {
    return this.context.db.run('payments.note_checked', this.context.call, { tenant, ...note });
  }

  async #noteEach(tenant: string, { payments, listed, refunds, again, done }: Checked): Promise<void> {
    const keys = new Set([...payments, ...listed, ...refunds, ...again.map(({ id }) => id), ...done]);
    for (const key of keys) {
      const only = (ids: string[]): string[] => (ids.includes(key) ? [key] : []);
      const note = { payments: only(payments), listed: only(listed), refunds: only(refunds), done: only(done) };
      try {
        await this.#note(tenant, { ...note, again: again.filter(({ id }) => id === key) });
      } catch (error) {
        if (isOutage(error)) throw error;
        this.bad.push({ tenant, key, subject: this.#subjects.get(key) ?? key, error });
      }
    }
  }
}

/** The task of a payment that has ended, with the intent that Stripe is asked for again. @throws StripeCallError */
async function withIntent(context: Context, task: Task<PaymentTask>): Promise<Task<PaymentTask>> {
  const [made] = await makeIntents(context, task.tenant, [task]);
  return made?.intentId === undefined ? task : { ...task, intentId: made.intentId };
}

async function workOnPayment(turn: Turn, found: Task<PaymentTask>): Promise<void> {
  const { context } = turn;
  let task = found;
  try {
    if (needsIntent(task)) await makeIntents(context, task.tenant, [task]);
    else if (mayHaveUnknownIntent(task)) task = await withIntent(context, task);
    let noted = false;
    for await (const update of syncPayment(context, task)) {
      const outcome = await applyStripeUpdate(context, { paymentId: task.id, ...update });
      turn.keep(outcome);
      // What is applied or set aside notes by itself that Stripe was asked.
      noted = outcome.outcome === 'applied' || outcome.outcome === 'set_aside';
    }
    if (!noted) turn.noteOf(task.tenant).payments.push(task.id);
    if (task.refundsUnseen && task.intentId !== null) {
      for (const update of await listRefunds(context.settings, task.intentId))
        turn.keep(await applyStripeUpdate(context, update));
      turn.noteOf(task.tenant).listed.push(task.id);
    }
  } catch (error) {
    if (!(error instanceof StripeCallError)) throw error;
    turn.noteOf(task.tenant).payments.push(task.id);
    if (task.capture && (error.keyUsed || error.permanent)) await noteRefusal(context, task, error);
    if (!(task.capture && error.permanent)) throw error;
  }
}

async function workOnRefund(turn: Turn, task: Task<RefundTask>): Promise<void> {
  const { context } = turn;
  turn.noteOf(task.tenant).refunds.push(task.id);
  try {
    turn.keep(await applyStripeUpdate(context, await makeRefund(context.settings, task)));
  } catch (error) {
    if (!(error instanceof StripeCallError)) throw error;
    if (error.keyUsed) turn.noteOf(task.tenant).again.push(usedKey(task));
    if (!error.permanent) throw error;
    const refund = { id: task.id, stripeId: null, status: 'failed', amount: task.amount, failure: error.code };
    const input = { intentId: task.intentId, refund };
    turn.keep(await context.db.run<Applied>('payments.apply_stripe', context.call, input));
  }
}

/**
 * Does at Stripe what the rows say: makes intents that are missing, looks up those that are pending, closes those whose
 * order has ended, makes the refunds that were promised; several at a time. Each can be repeated at any time: Stripe's
 * answer is applied like a webhook, and a webhook that comes as well changes nothing. What fails for one row stops no
 * other; ends early when Stripe is away or the budget is used up. `paced`: many rows may be waiting, so they keep to
 * the pace that Stripe allows.
 */
async function work(context: Context, { intents, refunds }: Work, paced: boolean, budget?: Budget): Promise<Turn> {
  const turn = new Turn(context);
  const tasks = [
    ...intents.map((task) => ({ task, subject: task.id, run: () => workOnPayment(turn, task) })),
    ...refunds.map((task) => ({ task, subject: task.paymentId, run: () => workOnRefund(turn, task) })),
  ];
  const worker = async () => {
    for (let next = tasks.shift(); next && !turn.isAway; next = tasks.shift()) {
      if (budget && !budget.spend(2)) return;
      if (paced) await pace(context.settings);
      const { tenant, id } = next.task;
      await turn.run({ tenant, key: id, subject: next.subject }, next.run);
    }
  };
  try {
    await Promise.all(Array.from({ length: 5 }, worker));
  } finally {
    await turn.noteChecked();
  }
  return turn;
}

/**
 * The consumer's part: what these payments' events ask for, at once.
 * @throws the first failure that passes, so that the queue brings them again
 */
export async function settlePayments(context: Context, tenant: string, paymentIds: string[]) {
  const input = { tenant, paymentIds, limit: 1_000 };
  const found = await context.db.run<Work>('payments.open_work', context.call, input);
  // A pending payment waits for its buyer: only the cron looks those up.
  const intents = found.intents.filter((task) => task.status !== 'pending');
  const turn = await work(context, { intents, refunds: found.refunds }, false);
  turn.throwFirst();
  return turn.changed;
}

/** Stripe would repeat this failure for the same idempotency key, or will never take this money: the place is lost. */
const noteRefusal = (context: Context, task: Task<PaymentTask>, { permanent, code }: StripeCallError) =>
  context.db.run('payments.record_intents', context.call, {
    tenant: task.tenant,
    intents: [],
    refused: permanent ? [{ id: task.id, reason: code }] : [],
    again: permanent ? [] : [usedKey(task)],
  });

/**
 * Takes the money of places in campaigns that have succeeded, several at a time, at the pace that Stripe allows. Each
 * is taken once: the idempotency key comes from its row, and a payment that is not pending any more is left alone.
 * @throws the first failure that passes, so that the queue brings these again
 */
export async function capturePayments(context: Context, tenant: string, paymentIds: string[]) {
  const input = { tenant, paymentIds, limit: 1_000 };
  const found = await context.db.run<Work>('payments.open_work', context.call, input);
  const waiting = found.intents.filter((task) => task.status === 'pending' && task.capture);
  (await work(context, { intents: waiting, refunds: [] }, true)).throwFirst();
}

/**
 * The cron's part, since a message can be lost: payments whose hold has ended and waits for Stripe's answer, and
 * whatever has been open for five minutes without anyone asking Stripe, of each tenant in turn. A row that fails in our
 * database is set aside; what fails at Stripe is left for the next turn.
 */
export async function reconcilePayments(context: Context, budget: Budget) {
  const found = await context.db.run<Work>('payments.open_work', context.call, { idleSeconds, limit: most });
  const turn = await work(context, found, true, budget);
  for (const { error, ...row } of turn.bad) await noteFailedRow(context, { job: 'reconcile-payments', ...row }, error);
  const { looked, applied, failures, bad, changed } = turn;
  return { looked, applied, failed: failures.length, setAside: bad.length, changed };
}
