import { createHmac } from 'node:crypto';
import type { Recipe } from './job.ts';

export type Request = { method: 'GET' | 'POST'; path: string; headers: Record<string, string>; body?: string };

/** One client's way through a recipe. `next` gets the body of the last answer. Undefined: there is nothing more to send. */
export type Script = { steps: number; next: (step: number, answer: string) => Request | undefined };

/** Small and seeded (mulberry32): the same seed orders the same carts. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Stripe's signature over a body, good for 300 s. */
export function signed(payload: string, secret: string, seconds: number): Record<string, string> {
  const mac = createHmac('sha256', secret).update(`${seconds}.${payload}`).digest('hex');
  return { 'content-type': 'application/json', 'stripe-signature': `t=${seconds},v1=${mac}` };
}

/** Stripe's event that a payment of so many cents was made. */
export function succeeded(paymentId: string, intentId: string, amount: number, eventId: string): string {
  return JSON.stringify({
    id: eventId,
    object: 'event',
    api_version: '2026-01-28.clover',
    type: 'payment_intent.succeeded',
    data: {
      object: {
        id: intentId,
        object: 'payment_intent',
        amount,
        amount_received: amount,
        currency: 'usd',
        status: 'succeeded',
        client_secret: null,
        last_payment_error: null,
        metadata: { paymentId },
      },
    },
  });
}

const json = { 'content-type': 'application/json' };

/** Makes the script that every client follows; what they share (counters, the next SKU) is in it. */
export function scriptOf(recipe: Recipe, seed: number): () => Script {
  const random = randomFrom(seed);
  let count = 0;
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const once = (): string => `bench-${seed}-${count++}`;
  const cart = (skus: readonly string[], lines: number): { sku: string; quantity: number }[] => {
    if (lines === 1) return [{ sku: pick(skus), quantity: 1 }];
    const chosen = new Set<string>();
    while (chosen.size < lines) chosen.add(pick(skus));
    return [...chosen].map((sku) => ({ sku, quantity: 1 + Math.floor(random() * 3) }));
  };
  const order = (skus: readonly string[], lines: number, more: Record<string, string> = {}): Request => ({
    method: 'POST',
    path: '/v1/orders',
    headers: { ...json, ...more, 'idempotency-key': once() },
    body: JSON.stringify({ customerId: `customer-${Math.floor(random() * 1_000)}`, items: cart(skus, lines) }),
  });
  const alone = (next: () => Request | undefined) => (): Script => ({ steps: 1, next });
  switch (recipe.kind) {
    case 'same':
      return alone(() => ({ method: recipe.method, path: recipe.path, headers: {} }));
    case 'refused': {
      const { method, path, headers, body, newKeys } = recipe;
      const key = (): Record<string, string> =>
        newKeys ? { authorization: `Bearer sk_bench_${seed}_${count++}` } : {};
      return alone(() => ({
        method,
        path,
        headers: { ...headers, ...key() },
        ...(body === undefined ? {} : { body }),
      }));
    }
    case 'paths':
      return alone(() => ({ method: 'GET', path: recipe.paths[count++ % recipe.paths.length] ?? '/', headers: {} }));
    case 'order': {
      const more: Record<string, string> = recipe.async ? { prefer: 'respond-async' } : {};
      return alone(() => order(recipe.skus, recipe.lines, more));
    }
    case 'join':
      return alone(() => ({
        method: 'POST',
        path: `/v1/campaigns/${pick(recipe.campaigns)}/join`,
        headers: { ...json, 'idempotency-key': once() },
        body: JSON.stringify({ userId: `user-${seed}-${count}` }),
      }));
    case 'webhook':
      return alone(() => {
        const paid = recipe.payments[count];
        if (!paid) return undefined;
        const body = succeeded(paid.paymentId, paid.intentId, recipe.amount, `evt_${once()}`);
        const headers = signed(body, recipe.secret, Math.floor(Date.now() / 1000));
        return { method: 'POST', path: '/webhooks/stripe', headers, body };
      });
    case 'checkout':
      return () => ({
        steps: 3,
        next(step, answer) {
          if (step === 0) return order(recipe.skus, 1);
          if (step === 1) {
            const { id: orderId } = JSON.parse(answer) as { id: string };
            const headers = { ...json, 'idempotency-key': once() };
            return { method: 'POST', path: '/v1/payments', headers, body: JSON.stringify({ orderId }) };
          }
          const paid = JSON.parse(answer) as { id: string; stripePaymentIntentId: string; amount: number };
          const amount = Math.round(paid.amount * 100);
          const body = succeeded(paid.id, paid.stripePaymentIntentId, amount, `evt_${once()}`);
          const headers = signed(body, recipe.secret, Math.floor(Date.now() / 1000));
          return { method: 'POST', path: '/webhooks/stripe', headers, body };
        },
      });
  }
}
