import * as z from 'zod';
import type { Account, Accounts, Call } from './account.ts';
import { namedAccount } from './connect.ts';
import { closeDispute, openDispute } from './disputes.ts';
import { cancelIntent, captureIntent, confirmByHand, createIntent, updateIntent } from './intents.ts';
import { createRefund, failRefund } from './refunds.ts';
import type { Dispute, Intent } from './store.ts';
import { badRequest, missing, Params, readControlBody } from './wire.ts';

// The actions of a merchant in Stripe's dashboard. Each action uses the API endpoint's code and emits the same events.

const amount = z.number().int().min(1).optional();
const payment_intent = z.string();

/** An action on the account that owns the intent or refund in the body. */
function action<T extends { payment_intent?: string; refund?: string }>(
  schema: z.ZodType<T>,
  run: (account: Account, body: T) => unknown,
) {
  return (accounts: Accounts, body: unknown) => {
    const valid = readControlBody(schema, body);
    return run(accounts.ownerOf(valid.payment_intent ?? valid.refund ?? ''), valid);
  };
}

type CallParams = Record<string, number | string | Record<string, string> | undefined>;

/** Builds a request of the merchant to an endpoint. Omits undefined values. */
function buildCall(account: Account, id: string, params: CallParams): Call {
  const form = Object.entries(params).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, typeof value === 'object' ? value : `${value}`]],
  );
  return { account, id, byBuyer: false, maskedKey: '', params: new Params(Object.fromEntries(form)) };
}

function findIntent(account: Account, id: string): Intent {
  const intent = account.store.get('payment_intent', id);
  if (intent === undefined) throw missing('payment_intent', id, 'payment_intent', 404);
  return intent;
}

function findDispute(account: Account, intent: string): Dispute {
  const found = account.store.all('dispute').find((dispute) => dispute.payment_intent === intent);
  if (found === undefined) throw badRequest(`PaymentIntent ${intent} has no dispute.`, { param: 'payment_intent' });
  return found;
}

const newPayment = z.strictObject({
  account: z.string().optional(),
  amount: z.number().int().min(1),
  currency: z.string(),
  metadata: z.record(z.string(), z.string()).optional(),
  payment_method: z.string().optional(),
});

/** The actions by name. Each returns the changed object. */
export const dashboard = {
  create: (accounts: Accounts, body: unknown) => {
    const { account, ...payment } = readControlBody(newPayment, body);
    const owner = namedAccount(accounts, account);
    const intent = createIntent(buildCall(owner, '', { ...payment, payment_method: undefined }));
    return payment.payment_method === undefined ? intent : confirmByHand(owner, intent, payment.payment_method);
  },
  pay: action(z.strictObject({ payment_intent, payment_method: z.string().default('pm_card_visa') }), (account, body) =>
    confirmByHand(account, findIntent(account, body.payment_intent), body.payment_method),
  ),
  capture: action(z.strictObject({ payment_intent, amount }), (account, { payment_intent: id, amount }) =>
    captureIntent(buildCall(account, id, { amount_to_capture: amount })),
  ),
  cancel: action(
    z.strictObject({ payment_intent, cancellation_reason: z.string().optional() }),
    (account, { payment_intent: id, ...reason }) => cancelIntent(buildCall(account, id, reason)),
  ),
  change: action(
    z.strictObject({ payment_intent, amount, currency: z.string().optional() }),
    (account, { payment_intent: id, ...change }) => updateIntent(buildCall(account, id, change)),
  ),
  refund: action(
    z.strictObject({ payment_intent, amount, failsAfterSeconds: z.number().min(0).optional() }),
    (account, { failsAfterSeconds, ...params }) => {
      const refund = createRefund(buildCall(account, '', params));
      if (failsAfterSeconds !== undefined) account.schedule('refund_fails', refund.id, failsAfterSeconds * 1000);
      return refund;
    },
  ),
  fail_refund: action(z.strictObject({ refund: z.string() }), (account, { refund: id }) => {
    const found = account.store.get('refund', id);
    if (found === undefined) throw missing('refund', id, 'refund', 404);
    failRefund(account, id);
    return found;
  }),
  dispute: action(
    z.strictObject({
      payment_intent,
      reason: z.enum(['fraudulent', 'product_not_received']).optional(),
      inquiry: z.boolean().optional(),
    }),
    (account, { payment_intent: id, reason, inquiry }) => {
      const { latest_charge, status } = findIntent(account, id);
      if (status !== 'succeeded' || latest_charge === null)
        throw badRequest('Only a captured payment can be disputed.');
      openDispute(account, latest_charge, inquiry === true ? 'inquiry' : (reason ?? 'fraudulent'));
      return findDispute(account, id);
    },
  ),
  close_dispute: action(
    z.strictObject({ payment_intent, status: z.enum(['won', 'lost']) }),
    (account, { payment_intent: id, status }) => closeDispute(account, findDispute(account, id).id, status),
  ),
};
