import type { Account, Call } from './account.ts';
import { attemptPayment, type ConfirmOptions, unexpectedState } from './attempt.ts';
import { checkOwner, readMethod } from './methods.ts';
import type { Intent, Method } from './store.ts';
import { badRequest, invalid, type Params } from './wire.ts';

/** Reads the options of a confirmation. `off_session` may also be an object or a word, as in older versions. */
export function readConfirm(params: Params): ConfirmOptions {
  const offSession = params.form.off_session;
  return {
    offSession: offSession !== undefined && offSession !== 'false' && offSession !== '',
    failOnAction: params.flag('error_on_requires_action') ?? false,
    returnUrl: params.optional('return_url') ?? null,
    useSdk: params.flag('use_stripe_sdk') ?? false,
  };
}

/** Throws Stripe's error if a server confirms without a `return_url` although the buyer may be redirected. */
export function checkReturnUrl(call: Call, allowRedirects: string | undefined, options: ConfirmOptions): void {
  if (call.byBuyer || allowRedirects !== 'always' || options.returnUrl !== null) return;
  throw invalid(
    'This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of these ' +
      'payment methods might redirect your customer off of your page, you must provide a `return_url`. If you don’t want ' +
      'to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to `true` and ' +
      '`automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and Payment Intents.',
    'return_url',
  );
}

/** Throws Stripe's error if the intent does not accept the payment method. */
export function checkMethod(account: Account, intent: Intent, method: Method): void {
  if (!intent.payment_method_types.includes(method.type)) {
    const types = intent.payment_method_types.join(', ');
    throw badRequest(
      `The PaymentMethod provided (${method.type}) is not allowed for this PaymentIntent. Please attach a PaymentMethod of ` +
        `one of the following types: ${types}.`,
      { code: 'payment_intent_invalid_parameter', param: 'payment_method' },
    );
  }
  checkOwner(account, method, intent.customer);
}

/** Confirms the intent with `chosenMethod`, the method in the request, or the method that the intent already has. */
export function confirmIntent(call: Call, intent: Intent, options: ConfirmOptions, chosenMethod?: Method): Intent {
  const { account } = call;
  if (intent.status === 'succeeded' || intent.status === 'requires_capture') {
    throw unexpectedState(
      intent,
      'You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.',
    );
  }
  if (intent.status === 'canceled' || intent.status === 'processing') {
    throw unexpectedState(
      intent,
      `You cannot confirm this PaymentIntent because it has a status of ${intent.status}. Only a PaymentIntent with one ` +
        'of the following statuses may be confirmed: requires_confirmation, requires_action.',
    );
  }
  const method = chosenMethod ?? readMethod(call) ?? account.store.get('payment_method', intent.payment_method ?? '');
  if (method === undefined) {
    throw unexpectedState(
      intent,
      "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the " +
        'PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment ' +
        'method or ConfirmationToken.',
    );
  }
  checkMethod(account, intent, method);
  if (intent.setup_future_usage !== null && intent.customer !== null && method.type === 'card') {
    if (options.offSession) throw badRequest('You cannot use `setup_future_usage` with `off_session` set to true.');
  }
  intent.payment_method = method.id;
  intent.status = 'requires_confirmation';
  intent.next_action = null;
  account.store.put('payment_intent', intent);
  attemptPayment(account, intent, method, options);
  return intent;
}
