import type { Account, Call, Route } from './account.ts';
import { loadCharge } from './charges.ts';
import { formatAmount } from './currencies.ts';
import { listPage } from './lists.ts';
import { factsOf } from './methods.ts';
import { type Charge, newId, type Refund } from './store.ts';
import { badRequest, invalid, missing } from './wire.ts';

const REASONS = ['duplicate', 'fraudulent', 'requested_by_customer'] as const;

/** Stripe lists the part of an authorization that was not captured as a refund without a balance transaction. */
export function releaseRest(account: Account, charge: Charge): void {
  const rest = charge.amount - charge.amount_captured;
  if (rest > 0) makeRefund(account, charge, rest, { balance_transaction: null });
}

function makeRefund(account: Account, charge: Charge, amount: number, overrides: Partial<Refund>): Refund {
  const refund: Refund = {
    id: newId('re'),
    object: 'refund',
    amount,
    balance_transaction: newId('txn'),
    charge: charge.id,
    created: account.seconds(),
    currency: charge.currency,
    customer: charge.customer,
    customer_account: null,
    destination_details: {
      type: 'card',
      card: { reference_status: 'pending', reference_type: 'acquirer_reference_number', type: 'refund' },
    },
    metadata: {},
    payment_intent: charge.payment_intent,
    payment_method: charge.payment_method,
    reason: null,
    receipt_number: null,
    source_transfer_reversal: null,
    status: 'succeeded',
    transfer_reversal: null,
    ...overrides,
  };
  charge.amount_refunded += amount;
  charge.refunded = charge.amount_refunded === charge.amount;
  account.store.put('charge', charge);
  account.store.put('refund', refund);
  account.emit('refund.created', refund);
  return refund;
}

/** Loads the charge that `charge` or `payment_intent` names. Throws if it has no captured money to refund. */
function loadRefundableCharge({ account, params }: Call): Charge {
  const intentId = params.optional('payment_intent');
  const chargeId = params.optional('charge');
  if (intentId === undefined && chargeId === undefined) {
    const message = 'One of the following params should be provided for this request: payment_intent or charge.';
    throw invalid(message, 'payment_intent', 'parameter_missing');
  }
  const intent = intentId === undefined ? undefined : account.store.get('payment_intent', intentId);
  if (intentId !== undefined && intent === undefined) throw missing('payment_intent', intentId, 'payment_intent');
  const chargeOfIntent = intent?.latest_charge ?? undefined;
  const charge = chargeId ?? chargeOfIntent;
  const found = charge === undefined ? undefined : loadCharge(account, charge, 'charge');
  const canceled = account.store.get('payment_intent', found?.payment_intent ?? '')?.status === 'canceled';
  if (found === undefined || found.status !== 'succeeded' || canceled) {
    const named = intentId ?? found?.payment_intent;
    throw badRequest(`This PaymentIntent (${named}) does not have a successful charge to refund.`);
  }
  if (intent !== undefined && found.payment_intent !== intent.id) {
    throw badRequest(`Charge ${found.id} does not belong to PaymentIntent ${intent.id}.`, { param: 'charge' });
  }
  if (!found.captured) {
    throw badRequest(
      `This uncaptured Charge was created by a PaymentIntent (${found.payment_intent}). You must cancel the PaymentIntent to ` +
        'reverse the authorization instead of refunding the Charge directly.',
    );
  }
  return found;
}

export function createRefund(call: Call): Refund {
  const { account, params } = call;
  params.allowOnly(['amount', 'charge', 'metadata', 'payment_intent', 'reason']);
  const requested = params.integer('amount', 1);
  const reason = params.choice('reason', REASONS) ?? null;
  const metadata = params.metadata();
  const charge = loadRefundableCharge(call);
  const disputes = account.store.all('dispute').filter((dispute) => dispute.charge === charge.id);
  if (disputes.some((dispute) => !dispute.is_charge_refundable)) {
    throw badRequest(`Charge ${charge.id} has been charged back; cannot issue a refund.`, { code: 'charge_disputed' });
  }
  const refundable = charge.amount - charge.amount_refunded;
  if (refundable === 0) {
    throw badRequest(`Charge ${charge.id} has already been refunded.`, { code: 'charge_already_refunded' });
  }
  const amount = requested ?? refundable;
  if (amount > refundable) {
    const [requestedText, refundableText] = [
      formatAmount(amount, charge.currency),
      formatAmount(refundable, charge.currency),
    ];
    throw badRequest(
      `Refund amount (${requestedText}) is greater than unrefunded amount on charge (${refundableText})`,
      {
        param: 'amount',
      },
    );
  }
  const method = account.store.get('payment_method', charge.payment_method ?? '');
  const outcome = method === undefined ? 'succeed' : factsOf(account, method).test.refunds;
  const pending =
    outcome === 'pending'
      ? { status: 'pending', pending_reason: 'processing' as const, balance_transaction: null }
      : {};
  const refund = makeRefund(account, charge, amount, { reason, metadata, ...pending });
  account.emit('charge.refunded', charge);
  if (outcome === 'pending') account.schedule('refund_settles', refund.id, account.asyncMs);
  if (outcome === 'fail') account.schedule('refund_fails', refund.id, account.asyncMs);
  return refund;
}

/** Completes a pending refund. */
export function settleRefund(account: Account, id: string): void {
  const refund = account.store.get('refund', id);
  if (refund?.status !== 'pending') return;
  refund.status = 'succeeded';
  refund.balance_transaction = newId('txn');
  delete refund.pending_reason;
  account.store.put('refund', refund);
  account.emit('refund.updated', refund, { status: 'pending' });
  account.emit('charge.refund.updated', refund, { status: 'pending' });
}

/** Fails a pending or successful refund. The money returns to the merchant and can be refunded again. */
export function failRefund(account: Account, id: string): void {
  const refund = account.store.get('refund', id);
  if (refund?.status !== 'succeeded' && refund?.status !== 'pending') return;
  if (refund.status === 'succeeded' && refund.balance_transaction === null) return; // no money has moved
  const before = { status: refund.status };
  delete refund.pending_reason;
  const charge = loadCharge(account, refund.charge, 'charge');
  refund.status = 'failed';
  refund.failure_reason = 'expired_or_canceled_card';
  charge.amount_refunded -= refund.amount;
  charge.refunded = false;
  account.store.put('charge', charge);
  account.store.put('refund', refund);
  account.emit('refund.failed', refund, before);
  account.emit('refund.updated', refund, before);
  account.emit('charge.refund.updated', refund, before);
}

function loadRefund(account: Account, id: string): Refund {
  const refund = account.store.get('refund', id);
  if (refund === undefined) throw missing('refund', id, 'refund', 404);
  return refund;
}

export const refundRoutes: Route[] = [
  { method: 'POST', path: '/v1/refunds', handle: createRefund },
  { method: 'GET', path: '/v1/refunds/:id', handle: ({ account, id }) => loadRefund(account, id) },
  {
    method: 'POST',
    path: '/v1/refunds/:id',
    handle: ({ account, params, id }) => {
      params.allowOnly(['metadata']);
      const refund = loadRefund(account, id);
      refund.metadata = params.metadata(refund.metadata ?? {});
      account.store.put('refund', refund);
      account.emit('refund.updated', refund);
      return refund;
    },
  },
  {
    method: 'GET',
    path: '/v1/refunds',
    handle: ({ account, params }) =>
      listPage(params, '/v1/refunds', 'refund', account.store.all('refund'), {
        charge: (refund, value) => refund.charge === value,
        payment_intent: (refund, value) => refund.payment_intent === value,
      }),
  },
];
