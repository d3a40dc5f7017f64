import type { Account, Route } from './account.ts';
import type { Decline } from './cards.ts';
import { listPage } from './lists.ts';
import { factsOf } from './methods.ts';
import { type Charge, type Intent, type Method, newId, randomCharacters } from './store.ts';
import { missing } from './wire.ts';

/** Stripe cancels an authorization that is not captured within seven days. */
export const AUTHORIZATION_MS = 7 * 24 * 3600_000;

function outcomeOf(decline: Decline | null): NonNullable<Charge['outcome']> {
  const approved = decline === null;
  return {
    advice_code: null,
    network_advice_code: null,
    network_decline_code: null,
    network_status: approved ? 'approved_by_network' : 'declined_by_network',
    reason: approved ? null : (decline.decline_code ?? decline.code),
    risk_level: 'normal',
    seller_message: approved ? 'Payment complete.' : 'The bank did not return any further details with this decline.',
    type: approved ? 'authorized' : 'issuer_declined',
  };
}

function detailsOf(account: Account, method: Method, uncaptured: boolean): Charge['payment_method_details'] {
  const { test, facts } = factsOf(account, method);
  if (method.card === undefined) return { type: test.type };
  const { brand, country, exp_month, exp_year, fingerprint, funding, last4 } = method.card;
  const shared = { brand, country, exp_month, exp_year, funding, last4 };
  return {
    type: 'card',
    card: {
      ...shared,
      amount_authorized: null,
      authorization_code: null,
      ...(uncaptured ? { capture_before: account.seconds() + AUTHORIZATION_MS / 1000 } : {}),
      checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: 'pass' },
      electronic_commerce_indicator: null,
      fingerprint: fingerprint ?? null,
      installments: null,
      mandate: null,
      network: brand,
      network_token: { used: facts.setUp },
      network_transaction_id: randomCharacters(15),
      regulated_status: null,
      three_d_secure: null,
      transaction_link_id: null,
      wallet: null,
    },
  };
}

/** Stores the charge of one payment attempt. `captured` is false for an authorization. */
export function makeCharge(
  account: Account,
  intent: Intent,
  method: Method,
  result: { status: 'failed' | 'pending' | 'succeeded'; captured: boolean; decline?: Decline },
): Charge {
  const decline = result.decline ?? null;
  const { test } = factsOf(account, method);
  const charge: Charge = {
    id: newId(test.type === 'card' ? 'ch' : 'py'),
    object: 'charge',
    amount: intent.amount,
    amount_captured: result.captured ? intent.amount : 0,
    amount_refunded: 0,
    application: account.application,
    application_fee: null,
    application_fee_amount: null,
    balance_transaction: null,
    billing_details: { ...method.billing_details, tax_id: null },
    calculated_statement_descriptor: 'FUSIONCOMMERCE',
    captured: result.captured,
    created: account.seconds(),
    currency: intent.currency,
    customer: intent.customer,
    description: intent.description,
    disputed: false,
    failure_balance_transaction: null,
    failure_code: decline?.code ?? null,
    failure_message: decline?.message ?? null,
    fraud_details: {},
    livemode: false,
    metadata: { ...intent.metadata },
    on_behalf_of: null,
    outcome: result.status === 'pending' ? null : outcomeOf(decline),
    paid: result.status === 'succeeded',
    payment_intent: intent.id,
    payment_method: method.id,
    payment_method_details: detailsOf(account, method, result.status === 'succeeded' && !result.captured),
    receipt_email: intent.receipt_email,
    receipt_number: null,
    receipt_url: null,
    refunded: false,
    review: null,
    shipping: intent.shipping,
    source: null,
    source_transfer: null,
    statement_descriptor: intent.statement_descriptor,
    statement_descriptor_suffix: intent.statement_descriptor_suffix,
    status: result.status,
    transfer_data: null,
    transfer_group: intent.transfer_group,
  };
  return account.store.put('charge', charge);
}

/** Loads the charge that a parameter or the path names. */
export function loadCharge(account: Account, id: string, param: string, status: 400 | 404 = 400): Charge {
  const charge = account.store.get('charge', id);
  if (charge === undefined) throw missing('charge', id, param, status);
  return charge;
}

/** Captured and refunded amount of a charge, in minor units. Pending refunds count, failed refunds do not. */
export function chargeAmounts(charge: Charge): { captured: number; refunded: number } {
  if (charge.status !== 'succeeded') return { captured: 0, refunded: 0 };
  const released = charge.captured ? charge.amount - charge.amount_captured : 0;
  return { captured: charge.amount_captured, refunded: charge.amount_refunded - released };
}

export const chargeRoutes: Route[] = [
  { method: 'GET', path: '/v1/charges/:id', handle: ({ account, id }) => loadCharge(account, id, 'id', 404) },
  {
    method: 'GET',
    path: '/v1/charges',
    handle: ({ account, params }) =>
      listPage(params, '/v1/charges', 'charge', account.store.all('charge'), {
        customer: (charge, value) => charge.customer === value,
        payment_intent: (charge, value) => charge.payment_intent === value,
        transfer_group: (charge, value) => charge.transfer_group === value,
      }),
  },
];
