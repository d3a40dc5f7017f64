import type { Account, Call, Route } from './account.ts';
import { findTestCard, findTestMethod, type TestMethod } from './cards.ts';
import { listPage } from './lists.ts';
import { type Method, type MethodFacts, newId, randomCharacters } from './store.ts';
import { badRequest, invalid, missing, type Params, StripeFailure } from './wire.ts';

const NO_ADDRESS = { city: null, country: null, line1: null, line2: null, postal_code: null, state: null };
export const NO_BILLING = { address: NO_ADDRESS, email: null, name: null, phone: null, tax_id: null };

/** Creates a payment method from a test method. Stripe does the same whenever a request names `pm_card_…`. */
function createTestMethod(account: Account, test: TestMethod): Method {
  const method: Method = {
    id: newId('pm'),
    object: 'payment_method',
    allow_redisplay: 'unspecified',
    billing_details: NO_BILLING,
    created: account.seconds(),
    customer: null,
    customer_account: null,
    livemode: false,
    metadata: {},
    type: test.type,
  };
  if (test.type === 'card') {
    method.card = {
      brand: test.brand,
      checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: 'pass' },
      country: test.country,
      display_brand: test.brand,
      exp_month: 12,
      exp_year: new Date(account.now()).getUTCFullYear() + 2,
      fingerprint: randomCharacters(16),
      funding: test.funding,
      generated_from: null,
      last4: test.number === '' ? '0000' : test.number.slice(-4),
      networks: { available: [test.brand], preferred: null },
      regulated_status: 'unregulated',
      three_d_secure_usage: { supported: true },
      wallet: null,
    };
  }
  account.store.put('facts', { id: method.id, name: test.name, setUp: false, spent: false });
  return account.store.put('payment_method', method);
}

/** Loads the payment method that a parameter or the path names. A test name (`pm_card_…`) creates a new one. */
export function loadMethod(account: Account, id: string, status: 400 | 404 = 400): Method {
  const test = findTestMethod(id);
  if (test !== undefined) return createTestMethod(account, test);
  const method = account.store.get('payment_method', id);
  if (method === undefined) throw missing('PaymentMethod', id, 'payment_method', status);
  return method;
}

/** Returns the test method behind a payment method, and how the payment method was used. */
export function factsOf(account: Account, method: Method): { facts: MethodFacts; test: TestMethod } {
  const facts = account.store.get('facts', method.id);
  const test = facts === undefined ? undefined : findTestMethod(facts.name);
  if (facts === undefined || test === undefined) throw new Error(`payment method ${method.id} has no test method`);
  return { facts, test };
}

function passesLuhn(number: string): boolean {
  let sum = 0;
  for (const [index, digit] of [...number].reverse().entries()) {
    const value = Number(digit) * (index % 2 === 1 ? 2 : 1);
    sum += value > 9 ? value - 9 : value;
  }
  return number.length >= 12 && sum % 10 === 0;
}

/** Reads a test card from a number or token. Only a buyer's browser may send numbers, as with Stripe by default. */
function readCard(card: Params | undefined, byBuyer: boolean): TestMethod {
  card?.allowOnly(['number', 'exp_month', 'exp_year', 'cvc', 'token']);
  const token = card?.optional('token');
  if (token !== undefined) {
    const test = findTestCard(token);
    if (test === undefined) throw missing('token', token, 'card[token]');
    return test;
  }
  const number = card?.required('number').replaceAll(' ', '') ?? '';
  const cardError = (code: string, message: string, details: Record<string, string>) =>
    new StripeFailure(402, { type: 'card_error', code, message, ...details });
  if (!byBuyer) {
    const message =
      'Sending credit card numbers directly to the Stripe API is generally unsafe. Use test tokens instead.';
    throw new StripeFailure(402, { type: 'invalid_request_error', message });
  }
  if (!passesLuhn(number)) throw cardError('incorrect_number', 'Your card number is incorrect.', { param: 'number' });
  const test = findTestCard(number);
  if (test !== undefined) return test;
  const message = 'Your card was declined. Your request was in test mode, but used a non test (live) card.';
  throw cardError('card_declined', message, { decline_code: 'test_mode_live_card' });
}

function createMethod({ account, byBuyer }: Pick<Call, 'account' | 'byBuyer'>, params: Params): Method {
  params.allowOnly(['type', 'card', 'billing_details', 'allow_redisplay', 'metadata', 'guid', 'muid', 'sid']);
  if (params.required('type') !== 'card') {
    throw invalid('The emulator creates only cards. For other types, use a test payment method.', 'type');
  }
  const test = readCard(params.child('card'), byBuyer);
  const metadata = params.metadata();
  const billing = params.child('billing_details');
  const method = createTestMethod(account, test);
  method.metadata = metadata;
  if (billing !== undefined) {
    const text = (name: string) => billing.text(name) || null;
    method.billing_details = { ...NO_BILLING, email: text('email'), name: text('name'), phone: text('phone') };
  }
  return method;
}

/** Reads `payment_method` or `payment_method_data`. Returns undefined if the request has neither. */
export function readMethod(call: Call): Method | undefined {
  const data = call.params.child('payment_method_data');
  if (data !== undefined) return createMethod(call, data);
  const id = call.params.optional('payment_method');
  return id === undefined ? undefined : loadMethod(call.account, id);
}

/** Throws if the method belongs to another customer, or was already used without a customer. */
export function checkOwner(account: Account, method: Method, customer: string | null): void {
  if (method.customer !== null && customer === null) {
    throw badRequest(
      'The provided PaymentMethod belongs to a Customer. Please include the Customer in the `customer` parameter.',
      { param: 'payment_method' },
    );
  }
  if (method.customer !== null && method.customer !== customer) {
    throw badRequest(
      `The customer does not have a payment method with the ID ${method.id}. The payment method must be attached to the customer.`,
      { code: 'resource_missing', param: 'payment_method' },
    );
  }
  if (method.customer === null && factsOf(account, method).facts.spent) {
    throw badRequest(
      'The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, or was detached ' +
        'from a Customer. It may not be used again. To use a PaymentMethod multiple times, you must attach it to a Customer first.',
      { param: 'payment_method' },
    );
  }
}

/** Attaches the method to a customer. The caller checks that the customer exists. */
export function attachMethod(account: Account, method: Method, customer: string): void {
  if (method.customer === customer) return;
  method.customer = customer;
  account.store.put('payment_method', method);
  account.emit('payment_method.attached', method);
}

/** Throws the issuer's decline if the card cannot be saved. */
export function checkAttachable(account: Account, method: Method): void {
  const { test } = factsOf(account, method);
  if (test.attachable || test.declines === null) return;
  const { code, decline_code, message } = test.declines;
  throw new StripeFailure(402, {
    type: 'card_error',
    code,
    message,
    ...(decline_code === null ? {} : { decline_code }),
  });
}

export const methodRoutes: Route[] = [
  {
    method: 'POST',
    path: '/v1/payment_methods',
    publishable: true,
    handle: (call) => createMethod(call, call.params),
  },
  { method: 'GET', path: '/v1/payment_methods/:id', handle: ({ account, id }) => loadMethod(account, id, 404) },
  {
    method: 'GET',
    path: '/v1/payment_methods',
    handle: ({ account, params }) =>
      listPage(params, '/v1/payment_methods', 'PaymentMethod', account.store.all('payment_method'), {
        customer: (method, value) => method.customer === value,
        type: (method, value) => method.type === value,
      }),
  },
  {
    method: 'POST',
    path: '/v1/payment_methods/:id/attach',
    handle: ({ account, params, id }) => {
      params.allowOnly(['customer']);
      const customer = params.required('customer');
      if (account.store.get('customer', customer) === undefined) throw missing('customer', customer, 'customer');
      const method = loadMethod(account, id, 404);
      if (method.customer !== null && method.customer !== customer) {
        throw badRequest('The payment method you provided has already been attached to a customer.');
      }
      checkOwner(account, method, customer);
      checkAttachable(account, method);
      attachMethod(account, method, customer);
      return method;
    },
  },
  {
    method: 'POST',
    path: '/v1/payment_methods/:id/detach',
    handle: ({ account, params, id }) => {
      params.allowOnly([]);
      const method = loadMethod(account, id, 404);
      if (method.customer === null) throw badRequest('The payment method you provided is not attached to a customer.');
      const { facts } = factsOf(account, method);
      account.store.put('facts', { ...facts, spent: true });
      const customer = method.customer;
      method.customer = null;
      account.store.put('payment_method', method);
      account.emit('payment_method.detached', method, { customer });
      return method;
    },
  },
];
