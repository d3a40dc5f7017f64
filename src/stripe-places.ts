import Stripe from 'stripe';
import {
  asked,
  connect,
  type IntentTask,
  idOf,
  intentNews,
  lookUpIntent,
  methodsOf,
  minorOf,
  type News,
  StripeRefusal,
  type StripeSettings,
  setupNews,
} from './stripe.ts';

/** What is taken for a place once its campaign has succeeded. */
export type ChargeTask = IntentTask & {
  intentId: string | null;
  setupId: string | null;
  customerId: string | null;
  methodId: string | null;
};

const metadataOf = (task: IntentTask) => ({ paymentId: task.id, orderId: task.orderId, tenant: task.tenant });

/**
 * Has a card saved for a place: a customer of its own, and the SetupIntent that the buyer confirms. Both are the same
 * however often they are asked for, since their idempotency keys are made from our row.
 * @throws StripeRefusal
 */
export async function createSetup(settings: StripeSettings, task: IntentTask) {
  const stripe = connect(settings);
  const customer = await asked(
    stripe.customers.create(
      { metadata: { tenant: task.tenant, userId: task.userId ?? '' } },
      { idempotencyKey: `customer-${task.id}-${task.attempt}` },
    ),
  );
  const setup = await asked(
    stripe.setupIntents.create(
      {
        customer: customer.id,
        usage: 'off_session',
        automatic_payment_methods: { enabled: true },
        ...methodsOf(task),
        metadata: metadataOf(task),
      },
      { idempotencyKey: `setup-${task.id}-${task.attempt}` },
    ),
  );
  return { setup, customerId: customer.id };
}

/** What has become of a card that was to be saved. @throws StripeRefusal */
export const lookUpSetup = async (settings: StripeSettings, setupId: string): Promise<News> =>
  setupNews(await asked(connect(settings).setupIntents.retrieve(setupId)));

/** Closes a SetupIntent that nobody shall confirm any more; a card that was saved by it is forgotten. @throws StripeRefusal */
export async function closeSetup(settings: StripeSettings, setupId: string): Promise<News> {
  const stripe = connect(settings);
  const setup = await asked(stripe.setupIntents.retrieve(setupId));
  const methodId = idOf(setup.payment_method);
  if (setup.status === 'succeeded') {
    if (methodId !== undefined) {
      // Detached already, by an earlier try, is as good.
      await asked(stripe.paymentMethods.detach(methodId)).catch((error: unknown) => {
        if (!(error instanceof StripeRefusal && error.permanent)) throw error;
      });
    }
    return setupNews(setup);
  }
  if (setup.status === 'canceled') return setupNews(setup);
  return setupNews(await asked(stripe.setupIntents.cancel(setupId)));
}

/**
 * Takes the money of a place, once: captures its hold, or charges its saved card without the buyer. A hold that has
 * lapsed is told as it is; a declined card is told as final.
 * @throws StripeRefusal
 */
export async function takeMoney(settings: StripeSettings, task: ChargeTask): Promise<News> {
  if (task.mode !== 'card') return captureHold(settings, task);
  const stripe = connect(settings);
  if (task.attempt > 1 && task.customerId !== null) {
    // The customer is this payment's own: an earlier try that we heard nothing of stands there.
    const { data } = await asked(stripe.paymentIntents.list({ customer: task.customerId, limit: 10 }));
    const earlier = data.find((intent) => intent.status === 'succeeded' || intent.status === 'processing');
    if (earlier) return intentNews(earlier);
  }
  try {
    return intentNews(
      await stripe.paymentIntents.create(
        {
          amount: minorOf(task),
          currency: task.currency.toLowerCase(),
          ...(task.customerId === null ? {} : { customer: task.customerId }),
          ...(task.methodId === null ? {} : { payment_method: task.methodId }),
          automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
          confirm: true,
          off_session: true,
          metadata: metadataOf(task),
        },
        { idempotencyKey: `charge-${task.id}-${task.attempt}` },
      ),
    );
  } catch (error) {
    if (error instanceof Stripe.errors.StripeCardError && error.payment_intent) {
      const news = intentNews(error.payment_intent);
      const failure = error.decline_code ?? error.code ?? 'card_declined';
      return { ...news, ...(news.intent ? { intent: { ...news.intent, failure, final: true } } : {}) };
    }
    return asked(Promise.reject(error));
  }
}

async function captureHold(settings: StripeSettings, task: ChargeTask): Promise<News> {
  if (task.intentId === null) throw new Error(`the payment ${task.id} is to be captured and has no intent`);
  const key = { idempotencyKey: `capture-${task.id}-${task.attempt}` };
  try {
    return intentNews(await asked(connect(settings).paymentIntents.capture(task.intentId, {}, key)));
  } catch (error) {
    if (!(error instanceof StripeRefusal && error.permanent)) throw error;
    return lookUpIntent(settings, task.intentId);
  }
}
