import type { Account, Route } from './account.ts';
import type { TestMethod } from './cards.ts';
import { loadCharge } from './charges.ts';
import { listPage } from './lists.ts';
import { factsOf } from './methods.ts';
import { type Dispute, newId } from './store.ts';
import { badRequest, missing } from './wire.ts';

const WEEK = 7 * 24 * 3600;

export type DisputeKind = NonNullable<TestMethod['dispute']>;

/** Opens a dispute about the charge, of kind `chosenKind` or of the kind that its test method defines. */
export function openDispute(account: Account, chargeId: string, chosenKind?: DisputeKind): void {
  const charge = loadCharge(account, chargeId, 'charge');
  const method = account.store.get('payment_method', charge.payment_method ?? '');
  if (charge.disputed || method === undefined) return;
  const kind = chosenKind ?? factsOf(account, method).test.dispute;
  const inquiry = kind === 'inquiry';
  const dispute: Dispute = {
    id: newId('dp'),
    object: 'dispute',
    amount: charge.amount_captured,
    balance_transactions: [],
    charge: charge.id,
    created: account.seconds(),
    currency: charge.currency,
    enhanced_eligibility_types: [],
    evidence: noEvidence(),
    evidence_details: {
      due_by: account.seconds() + WEEK,
      enhanced_eligibility: {},
      has_evidence: false,
      past_due: false,
      submission_count: 0,
      submission_method: 'not_submitted',
    },
    intended_submission_method: null,
    // An inquiry withdraws no money yet, so the charge can still be refunded.
    is_charge_refundable: inquiry,
    livemode: false,
    metadata: {},
    payment_intent: charge.payment_intent,
    reason: kind === 'product_not_received' ? 'product_not_received' : 'fraudulent',
    status: inquiry ? 'warning_needs_response' : 'needs_response',
  };
  charge.disputed = true;
  account.store.put('charge', charge);
  account.store.put('dispute', dispute);
  account.emit('charge.dispute.created', dispute);
  if (!inquiry) account.emit('charge.dispute.funds_withdrawn', dispute);
}

const EVIDENCE = [
  ...(['access_activity_log', 'billing_address', 'cancellation_policy', 'cancellation_policy_disclosure'] as const),
  ...(['cancellation_rebuttal', 'customer_communication', 'customer_email_address', 'customer_name'] as const),
  ...(['customer_purchase_ip', 'customer_signature', 'duplicate_charge_documentation'] as const),
  ...(['duplicate_charge_explanation', 'duplicate_charge_id', 'product_description', 'receipt'] as const),
  ...(['refund_policy', 'refund_policy_disclosure', 'refund_refusal_explanation', 'service_date'] as const),
  ...(['service_documentation', 'shipping_address', 'shipping_carrier', 'shipping_date'] as const),
  ...(['shipping_documentation', 'shipping_tracking_number', 'uncategorized_file', 'uncategorized_text'] as const),
];

function noEvidence(): Dispute['evidence'] {
  const empty = Object.fromEntries(EVIDENCE.map((name) => [name, null])) as Record<(typeof EVIDENCE)[number], null>;
  return { ...empty, enhanced_evidence: {} };
}

/** Closes the dispute. A won dispute returns the withdrawn money. */
export function closeDispute(account: Account, id: string, status: 'lost' | 'won'): Dispute {
  const dispute = loadDispute(account, id);
  if (!dispute.status.endsWith('needs_response') && !dispute.status.endsWith('under_review')) {
    throw badRequest('This dispute is already closed', { param: 'dispute' });
  }
  const inquiry = dispute.status.startsWith('warning_');
  dispute.status = inquiry ? 'warning_closed' : status;
  dispute.is_charge_refundable ||= status === 'won';
  account.store.put('dispute', dispute);
  account.emit('charge.dispute.closed', dispute);
  if (status === 'won' && !inquiry) account.emit('charge.dispute.funds_reinstated', dispute);
  return dispute;
}

function loadDispute(account: Account, id: string): Dispute {
  const dispute = account.store.get('dispute', id);
  if (dispute === undefined) throw missing('dispute', id, 'dispute', 404);
  return dispute;
}

export const disputeRoutes: Route[] = [
  { method: 'GET', path: '/v1/disputes/:id', handle: ({ account, id }) => loadDispute(account, id) },
  {
    method: 'GET',
    path: '/v1/disputes',
    handle: ({ account, params }) =>
      listPage(params, '/v1/disputes', 'dispute', account.store.all('dispute'), {
        charge: (dispute, value) => dispute.charge === value,
        payment_intent: (dispute, value) => dispute.payment_intent === value,
      }),
  },
  {
    method: 'POST',
    path: '/v1/disputes/:id',
    handle: ({ account, params, id }) => {
      params.allowOnly(['evidence', 'metadata', 'submit']);
      const dispute = loadDispute(account, id);
      const evidence = params.child('evidence');
      evidence?.allowOnly(EVIDENCE);
      const text = evidence?.text('uncategorized_text');
      dispute.metadata = params.metadata(dispute.metadata);
      dispute.evidence.uncategorized_text = text ?? dispute.evidence.uncategorized_text;
      dispute.evidence_details.has_evidence = evidence !== undefined || dispute.evidence_details.has_evidence;
      account.store.put('dispute', dispute);
      account.emit('charge.dispute.updated', dispute);
      if (params.flag('submit') === false || evidence === undefined) return dispute;
      // docs.stripe.com/testing: these two texts decide the dispute.
      if (text === 'winning_evidence') return closeDispute(account, id, 'won');
      if (text === 'losing_evidence') return closeDispute(account, id, 'lost');
      dispute.status = dispute.status.startsWith('warning_') ? 'warning_under_review' : 'under_review';
      dispute.evidence_details.submission_count += 1;
      return dispute;
    },
  },
  {
    method: 'POST',
    path: '/v1/disputes/:id/close',
    handle: ({ account, params, id }) => {
      params.allowOnly([]);
      return closeDispute(account, id, 'lost');
    },
  },
];
