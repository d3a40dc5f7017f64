// Stripe's test payment methods and their outcomes. Source: docs.stripe.com/testing (payment methods, 2026-08).

export type Decline = { code: string; decline_code: string | null; message: string; param?: string };

export type TestMethod = {
  name: string;
  type: 'card' | 'sepa_debit' | 'us_bank_account';
  brand: string;
  funding: 'credit' | 'debit' | 'prepaid';
  country: string;
  /** The card number, or `''` if the documentation gives none. */
  number: string;
  /** The decline of every charge, or null if charges succeed. */
  declines: Decline | null;
  /** Whether a customer can save it. Declined cards cannot be saved, except `pm_card_chargeCustomerFail`. */
  attachable: boolean;
  authentication: 'always' | 'none' | 'on_session' | 'unless_set_up';
  /** The decline after the buyer has authenticated, or null. */
  declinesAfterAuthentication: Decline | null;
  dispute: 'fraudulent' | 'inquiry' | 'product_not_received' | null;
  refunds: 'fail' | 'pending' | 'succeed';
  /** A bank debit that stays `processing` until `/_emulator/payment_intents/{id}/settle` decides it. */
  neverSettles: boolean;
};

const declined = (decline_code: string, message = 'Your card was declined.'): Decline => ({
  code: 'card_declined',
  decline_code,
  message,
});

const GENERIC = declined('generic_decline');
const INSUFFICIENT = declined('insufficient_funds', 'Your card has insufficient funds.');
const TOO_OFTEN = 'Your card was declined for making repeated attempts too frequently or exceeding its amount limit.';

/** The decline of an off-session charge for which the issuer requires authentication. */
export const AUTHENTICATION_REQUIRED: Decline = {
  code: 'authentication_required',
  decline_code: 'authentication_required',
  message: 'Your card was declined. This transaction requires authentication.',
};

const METHODS = new Map<string, TestMethod>();
const NUMBERS = new Map<string, TestMethod>();

function add(names: string, number: string, outcome: Partial<TestMethod> = {}): void {
  for (const name of names.split(' ')) {
    const method: TestMethod = {
      name,
      type: 'card',
      brand: 'visa',
      funding: 'credit',
      country: 'US',
      number,
      declines: null,
      attachable: !outcome.declines,
      authentication: 'none',
      declinesAfterAuthentication: null,
      dispute: null,
      refunds: 'succeed',
      neverSettles: false,
      ...outcome,
    };
    METHODS.set(name, method);
    if (number !== '' && !NUMBERS.has(number)) NUMBERS.set(number, method);
  }
}

/** Adds the documented `pm_card_visa_chargeDeclined…` and the older `pm_card_chargeDeclined…`. */
function addDecline(suffix: string, number: string, declines: Decline): void {
  const full = `chargeDeclined${suffix}`;
  add(`pm_card_${full} pm_card_visa_${full}`, number, { declines });
}

add('pm_card_visa pm_card_us', '4242424242424242');
add('pm_card_visa_debit', '4000056655665556', { funding: 'debit' });
add('pm_card_mastercard', '5555555555554444', { brand: 'mastercard' });
add('pm_card_mastercard_debit', '5200828282828210', { brand: 'mastercard', funding: 'debit' });
add('pm_card_mastercard_prepaid', '5105105105105100', { brand: 'mastercard', funding: 'prepaid' });
add('pm_card_amex', '378282246310005', { brand: 'amex' });
add('pm_card_amex_threeDSecureNotSupported', '378282246310005', { brand: 'amex' });
add('pm_card_discover', '6011111111111117', { brand: 'discover' });
add('pm_card_diners', '3056930009020004', { brand: 'diners' });
add('pm_card_jcb', '3566002020360505', { brand: 'jcb', country: 'JP' });
add('pm_card_unionpay', '6200000000000005', { brand: 'unionpay', country: 'CN' });
add('pm_card_bypassPending', '4000000000000077');
add('pm_card_bypassPendingInternational', '4000003720000278', { country: 'IE' });

const COUNTRIES = `ar br ca cl co cr ec mx pa py pe uy ae at be bg by hr cy cz dk ee fi fr de gi gr hu ie it lv li lt lu
  mt nl no pl pt ro si sk es se ch gb au cn hk in jp my nz sg tw`;
for (const country of COUNTRIES.split(/\s+/)) add(`pm_card_${country}`, '', { country: country.toUpperCase() });

addDecline('', '4000000000000002', GENERIC);
addDecline('InsufficientFunds', '4000000000009995', INSUFFICIENT);
addDecline('LostCard', '4000000000009987', declined('lost_card'));
addDecline('StolenCard', '4000000000009979', declined('stolen_card'));
addDecline('Fraudulent', '4100000000000019', declined('fraudulent'));
addDecline('VelocityLimitExceeded', '4000000000006975', declined('card_velocity_exceeded', TOO_OFTEN));
addDecline('ExpiredCard', '4000000000000069', {
  code: 'expired_card',
  decline_code: null,
  message: 'Your card has expired.',
  param: 'exp_month',
});
addDecline('IncorrectCvc', '4000000000000127', {
  code: 'incorrect_cvc',
  decline_code: null,
  message: "Your card's security code is incorrect.",
  param: 'cvc',
});
addDecline('ProcessingError', '4000000000000119', {
  code: 'processing_error',
  decline_code: null,
  message: 'An error occurred while processing your card. Try again in a little bit.',
});
add('pm_card_radarBlock', '', { declines: declined('fraudulent') });
add('pm_card_chargeCustomerFail', '4000000000000341', { declines: GENERIC, attachable: true });

add('pm_card_authenticationRequired', '4000002760003184', { authentication: 'always' });
add('pm_card_threeDSecure2Required', '4000000000003220', { authentication: 'always', country: 'IE' });
add('pm_card_threeDSecureRequired', '4000000000003063', { authentication: 'always' });
add('pm_card_threeDSecureOptional', '4000000000003055');
add('pm_card_authenticationRequiredOnSetup', '4000002500003155', { authentication: 'unless_set_up', country: 'FR' });
add('pm_card_authenticationRequiredSetupForOffSession', '4000003800000446', { authentication: 'on_session' });
add('pm_card_authenticationRequiredChargeDeclinedInsufficientFunds', '4000008260003178', {
  authentication: 'always',
  declinesAfterAuthentication: INSUFFICIENT,
});
add('pm_card_threeDSecureRequiredChargeDeclined', '4000008400001629', {
  authentication: 'always',
  declinesAfterAuthentication: GENERIC,
});
add('pm_card_threeDSecureRequiredProcessingError', '4000008400001280', { declines: GENERIC });

add('pm_card_createDispute', '4000000000000259', { dispute: 'fraudulent' });
add('pm_card_createDisputeProductNotReceived', '4000000000002685', { dispute: 'product_not_received' });
add('pm_card_createDisputeInquiry', '4000000000001976', { dispute: 'inquiry' });
add('pm_card_pendingRefund', '4000000000007726', { refunds: 'pending' });
add('pm_card_refundFail', '4000000000005126', { refunds: 'fail' });

const bank = (type: 'sepa_debit' | 'us_bank_account', outcome: Partial<TestMethod> = {}): Partial<TestMethod> => ({
  type,
  brand: type,
  funding: 'debit',
  ...outcome,
});
const debitFailed = (code: string, message: string): Decline => ({ code, decline_code: null, message });
const NO_FUNDS = debitFailed(
  'insufficient_funds',
  'The customer’s account has insufficient funds to cover this payment.',
);
const BANK_DECLINED = debitFailed('payment_intent_payment_attempt_failed', 'The payment failed.');
const failing = (declines: Decline): Partial<TestMethod> => ({ declines, attachable: true });

// docs.stripe.com/payments/sepa-debit/accept-a-payment: eight tokens for each country.
const SEPA: Record<string, Partial<TestMethod>> = {
  success: {},
  successDelayed: {},
  failed: failing(BANK_DECLINED),
  failedDelayed: failing(BANK_DECLINED),
  disputed: { dispute: 'fraudulent' },
  exceedsWeeklyVolumeLimit: failing(debitFailed('charge_exceeds_source_limit', 'The payment exceeds a weekly limit.')),
  exceedsWeeklyTransactionLimit: failing(
    debitFailed('charge_exceeds_weekly_limit', 'The payment exceeds a weekly limit.'),
  ),
  insufficientFunds: failing(NO_FUNDS),
};
const SEPA_COUNTRIES = 'at be hr ee fi fr de gi ie it li lt lu nl no pt es se ch gb';
for (const country of SEPA_COUNTRIES.split(' ')) {
  for (const [token, outcome] of Object.entries(SEPA)) {
    const names = `pm_${token}_${country} pm_sepaDebit_${token}_${country}`;
    add(names, '', bank('sepa_debit', { country: country.toUpperCase(), ...outcome }));
  }
}

// docs.stripe.com/payments/ach-direct-debit/accept-a-payment: test account numbers.
const ACH: Record<string, Partial<TestMethod>> = {
  success: {},
  accountClosed: failing(debitFailed('account_closed', 'The customer’s bank account has been closed.')),
  noAccount: failing(debitFailed('no_account', 'The bank account could not be located.')),
  insufficientFunds: failing(NO_FUNDS),
  debitNotAuthorized: failing(debitFailed('debit_not_authorized', 'Debits are not authorized for this bank account.')),
  invalidCurrency: failing(debitFailed('invalid_currency', 'The bank account does not take this currency.')),
  dispute: { dispute: 'fraudulent' },
  processing: { neverSettles: true },
};
for (const [token, outcome] of Object.entries(ACH)) {
  add(`pm_usBankAccount_${token}`, '', bank('us_bank_account', outcome));
}

/** Finds a test method by name (`pm_card_visa`). */
export function findTestMethod(name: string): TestMethod | undefined {
  return METHODS.get(name);
}

/** Finds the test method of a card number or token (`tok_visa`). */
export function findTestCard(numberOrToken: string): TestMethod | undefined {
  if (!numberOrToken.startsWith('tok_')) return NUMBERS.get(numberOrToken.replaceAll(' ', ''));
  return METHODS.get(`pm_card_${numberOrToken.slice('tok_'.length)}`);
}
