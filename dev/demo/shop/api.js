// Everything that the page sends: to the API with a publishable key, which everybody may see, and to Stripe.

/** A real shop writes its own values here. */
const { api, key, stripeUrl } = await (await fetch('config.json')).json();

export const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** The cart's id and token. Whoever has the token may read, change and order the cart, so it stays in this browser. */
export const savedCart = () => JSON.parse(localStorage.getItem('cart') ?? '{}');
export const saveCart = ({ id, token }) => localStorage.setItem('cart', JSON.stringify({ id, token }));
export const forgetCart = () => localStorage.removeItem('cart');

/** The errors after which the same request may succeed. With the same Idempotency-Key it never orders or pays twice. */
const temporary = ['unreachable', 'rate_limited', 'unavailable', 'idempotency_in_progress'];

/** Calls the API. Throws its problem document: `code`, `detail` and perhaps `errors` or `messages`. */
export async function call(method, path, body) {
  const { token } = savedCart();
  const headers = {
    Authorization: `Bearer ${key}`,
    ...(token && { 'Cart-Token': token }),
    ...(body && { 'Content-Type': 'application/json' }),
    ...(method === 'POST' && { 'Idempotency-Key': crypto.randomUUID() }),
  };
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(api + path, { method, headers, body: body && JSON.stringify(body) }).catch(() => null);
    if (response?.ok) return response.json();
    const problem = (await response?.json().catch(() => null)) ?? { code: 'unreachable' };
    if (!temporary.includes(problem.code) || attempt === 4) throw problem;
    await sleep(Number(response?.headers.get('Retry-After') ?? attempt));
  }
}

/**
 * Confirms the payment at the local Stripe emulator, which has no form for cards. A real shop uses Stripe.js with the
 * same values: `Stripe(publishableKey, { stripeAccount })` and `confirmPayment` with the payment's `clientSecret`.
 */
export async function confirmPayment({ clientSecret, stripeAccount }, card) {
  const { stripe } = await call('GET', '/v1/storefront');
  const response = await fetch(`${stripeUrl}/v1/payment_intents/${clientSecret.split('_secret_')[0]}/confirm`, {
    method: 'POST',
    body: new URLSearchParams({
      key: stripe.publishableKey,
      ...(stripeAccount && { _stripe_account: stripeAccount }),
      client_secret: clientSecret,
      payment_method: card,
      return_url: location.href,
    }),
  }).catch(() => null);
  const { error } = (await response?.json()) ?? { error: { message: 'Stripe cannot be reached.' } };
  const isPaid = ['succeeded', 'processing'].includes(error?.payment_intent?.status); // by an earlier confirmation
  if (error && !isPaid) throw { detail: `${error.message} Try again with another card, or change the cart.` };
}
