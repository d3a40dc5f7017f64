import type { Context } from '../context.ts';
import {
  closeIntent,
  type IntentTask,
  listRefunds,
  lookUpIntent,
  makeRefund,
  type RefundTask,
  StripeRefusal,
} from '../stripe.ts';
import { pace } from '../stripe-pace.ts';
import { type ChargeTask, closeSetup, lookUpSetup, takeMoney } from '../stripe-places.ts';
import { readToldOnce } from '../stripe-webhook.ts';
import { type Applied, applyNews, makeIntents, type SpentKey, spentKey } from './payments.ts';

type Task<T> = T & { tenant: string };
export type PaymentTask = IntentTask &
  ChargeTask & { status: string; capture: boolean; intentOpen: boolean; refundsUnseen: boolean };
type Checked = Record<'payments' | 'listed' | 'refunds', string[]> & { again: SpentKey[] };
type Work = {
  intents: Task<PaymentTask>[];
  refunds: Task<RefundTask>[];
};

/** How many rows of each kind the cron takes at a time, and how long nobody must have asked about them. */
const most = 50;
const idleSeconds = 300;

/** What Stripe says of a payment, once it has done there what its row asks for. @throws StripeRefusal */
function askStripe({ settings }: Context, task: PaymentTask) {
  const pending = task.status === 'pending';
  if (!pending && !task.intentOpen) return undefined;
  if (pending && task.capture) return takeMoney(settings, task);
  if (task.intentId !== null)
    return pending ? lookUpIntent(settings, task.intentId) : closeIntent(settings, task.intentId);
  if (task.setupId !== null) return pending ? lookUpSetup(settings, task.setupId) : closeSetup(settings, task.setupId);
  return undefined;
}

/**
 * Does at Stripe what the rows say: makes intents that are missing, looks up those that are pending, closes those whose
 * order has ended, makes the refunds that were promised. Each can be repeated at any time: Stripe's answer is applied
 * like a webhook, and a webhook that comes as well changes nothing. Ends early when Stripe is away.
 * @returns how many rows changed, what failed, and the stock that changed by tenant
 */
async function work(context: Context, { intents, refunds }: Work) {
  const changed: { tenant: string; skus: string[] }[] = [];
  const failures: unknown[] = [];
  let applied = 0;
  let away = false;
  const checked = new Map<string, Checked>();
  const noteOf = (tenant: string) => {
    const note = checked.get(tenant) ?? { payments: [], listed: [], refunds: [], again: [] };
    checked.set(tenant, note);
    return note;
  };
  const keep = (outcome: Applied) => {
    if (outcome.outcome === 'applied') applied++;
    if (outcome.tenant !== undefined && outcome.skus?.length)
      changed.push({ tenant: outcome.tenant, skus: outcome.skus });
  };
  for (const task of intents) {
    if (away) break;
    try {
      const asking = askStripe(context, task);
      let noted = false;
      if (asking !== undefined) {
        const outcome = await applyNews(context, { paymentId: task.id, ...(await asking) });
        keep(outcome);
        noted = outcome.outcome === 'applied'; // that notes by itself that Stripe was asked
      } else if (task.status === 'pending') await makeIntents(context, task.tenant, [task]);
      if (task.refundsUnseen && task.intentId !== null) {
        for (const news of await listRefunds(context.settings, task.intentId)) keep(await applyNews(context, news));
        noteOf(task.tenant).listed.push(task.id);
      }
      if (noted) continue;
    } catch (error) {
      if (!(error instanceof StripeRefusal)) throw error;
      if (task.capture && (error.spent || error.permanent)) await noteRefusal(context, task, error);
      if (!(task.capture && error.permanent)) failures.push(error);
      away = error.away;
    }
    noteOf(task.tenant).payments.push(task.id);
  }
  for (const task of refunds) {
    if (away) break;
    noteOf(task.tenant).refunds.push(task.id);
    try {
      keep(await applyNews(context, await makeRefund(context.settings, task)));
    } catch (error) {
      if (!(error instanceof StripeRefusal)) throw error;
      if (error.spent) noteOf(task.tenant).again.push(spentKey(task));
      if (error.permanent) {
        const refund = { id: task.id, stripeId: null, status: 'failed', amount: task.amount, failure: error.code };
        keep(await context.db.run<Applied>('payments.apply_stripe', context.call, { intentId: task.intentId, refund }));
      } else failures.push(error);
      away = error.away;
    }
  }
  for (const [tenant, note] of checked)
    await context.db.run('payments.note_checked', context.call, { tenant, ...note });
  return { applied, changed, failures };
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
  const { changed, failures } = await work(context, { intents, refunds: found.refunds });
  if (failures.length > 0) throw failures[0];
  return changed;
}

/** Stripe would repeat this failure for the same idempotency key, or will never take this money: the place is lost. */
const noteRefusal = (context: Context, task: Task<PaymentTask>, { permanent, code }: StripeRefusal) =>
  context.db.run('payments.record_intents', context.call, {
    tenant: task.tenant,
    intents: [],
    refused: permanent ? [{ id: task.id, reason: code }] : [],
    again: permanent ? [] : [spentKey(task)],
  });

/**
 * Takes the money of places in campaigns that have succeeded, several at a time, at the pace that Stripe allows. Each is
 * taken once: the idempotency key comes from its row, and a payment that is not pending any more is left alone.
 * @throws the first failure that passes, so that the queue brings these again
 */
export async function capturePayments(context: Context, tenant: string, paymentIds: string[]) {
  const input = { tenant, paymentIds, limit: 1_000 };
  const found = await context.db.run<Work>('payments.open_work', context.call, input);
  const waiting = found.intents.filter((task) => task.status === 'pending' && task.capture);
  const failures: unknown[] = [];
  const worker = async () => {
    for (let task = waiting.shift(); task; task = waiting.shift()) {
      await pace(context.settings);
      const { failures: its } = await work(context, { intents: [task], refunds: [] });
      failures.push(...its);
    }
  };
  await Promise.all(Array.from({ length: 5 }, worker));
  if (failures.length > 0) throw failures[0];
}

/**
 * The cron's part, since a webhook and a message can be lost: whatever has been open for five minutes without anyone
 * asking Stripe. What fails is left for the next turn.
 */
export async function reconcilePayments(context: Context) {
  const found = await context.db.run<Work>('payments.open_work', context.call, { idleSeconds, limit: most });
  const { applied, changed, failures } = await work(context, found);
  return { looked: found.intents.length + found.refunds.length, applied, failed: failures.length, changed };
}

/** Stripe gives a webhook up after three days. */
const missedMs = 4 * 24 * 3600 * 1000;

/**
 * The cron's part, once an hour, for what no row asks about: a refund that a bank sends back after it had succeeded, a
 * dispute. What a webhook has told already changes nothing.
 */
export async function reconcileTold(context: Context) {
  const changed: { tenant: string; skus: string[] }[] = [];
  let applied = 0;
  const told = await readToldOnce(context.settings, new Date(context.now().getTime() - missedMs));
  for (const news of told) {
    const { outcome, tenant, skus } = await applyNews(context, news);
    if (outcome === 'applied') applied++;
    if (tenant !== undefined && skus?.length) changed.push({ tenant, skus });
  }
  return { told: told.length, applied, changed };
}
