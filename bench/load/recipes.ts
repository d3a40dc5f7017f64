import { createHmac } from 'node:crypto';
import type { Recipe } from './job.ts';

export type Request = { method: 'GET' | 'POST'; path: string; headers: Record<string, string>; body?: string };

/**
 * The requests of one client, `steps` in a row. `next` gets the body of the last response; undefined: no more requests.
 */
export type Script = {
  steps: number;
  /** Count every request. Otherwise the steps are counted as one. */
  countsSteps?: true;
  next: (step: number, lastBody: string) => Request | undefined;
};

/** A seeded random generator (mulberry32): the same seed makes the same carts. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Headers with Stripe's signature of a webhook body, which is valid for 300 s. */
export function signWebhook(payload: string, secret: string, seconds: number): Record<string, string> {
  const mac = createHmac('sha256', secret).update(`${seconds}.${payload}`).digest('hex');
  return { 'content-type': 'application/json', 'stripe-signature': `t=${seconds},v1=${mac}` };
}

/** Stripe's event for a succeeded payment of `amount` cents, as JSON. */
export function paymentSucceeded(paymentId: string, intentId: string, amount: number, eventId: string): string {
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

/** Makes the scripts of all clients, which share the counters and the random generator. */
export function scriptOf(recipe: Recipe, seed: number): () => Script {
  const random = randomFrom(seed);
  let count = 0;
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const uniqueKey = (): string => `bench-${seed}-${count++}`;
  const cart = (skus: readonly string[], lines: number): { sku: string; quantity: number }[] => {
    if (lines === 1) return [{ sku: pick(skus), quantity: 1 }];
    const chosen = new Set<string>();
    while (chosen.size < lines) chosen.add(pick(skus));
    return [...chosen].map((sku) => ({ sku, quantity: 1 + Math.floor(random() * 3) }));
  };
  const order = (
    skus: readonly string[],
    lines: number,
    extraHeaders: Record<string, string> = {},
    extraFields: object = {},
  ): Request => {
    const customerId = `customer-${Math.floor(random() * 1_000)}`;
    return {
      method: 'POST',
      path: '/v1/orders',
      headers: { ...json, ...extraHeaders, 'idempotency-key': uniqueKey() },
      body: JSON.stringify({ customerId, items: cart(skus, lines), ...extraFields }),
    };
  };
  const takePlace = (path: string): Request => ({
    ...{ method: 'POST', path, headers: { ...json, 'idempotency-key': uniqueKey() } },
    body: JSON.stringify({ userId: `user-${seed}-${count}`, merge: true }),
  });
  const oneStep = (next: () => Request | undefined) => (): Script => ({ steps: 1, next });
  switch (recipe.kind) {
    case 'same':
      return oneStep(() => ({ method: recipe.method, path: recipe.path, headers: {} }));
    case 'rejected': {
      const { method, path, headers, body, newKeys } = recipe;
      const key = (): Record<string, string> =>
        newKeys ? { authorization: `Bearer sk_bench_${seed}_${count++}` } : {};
      return oneStep(() => ({
        method,
        path,
        headers: { ...headers, ...key() },
        ...(body === undefined ? {} : { body }),
      }));
    }
    case 'paths':
      return oneStep(() => ({ method: 'GET', path: recipe.paths[count++ % recipe.paths.length] ?? '/', headers: {} }));
    case 'order': {
      const extraHeaders: Record<string, string> = recipe.async ? { prefer: 'respond-async' } : {};
      return oneStep(() => order(recipe.skus, recipe.lines, extraHeaders, recipe.fields));
    }
    case 'cart-reads':
      return oneStep(() => {
        const read = recipe.carts[count++ % recipe.carts.length];
        return { method: 'GET', path: `/v1/carts/${read?.id}`, headers: { 'cart-token': read?.token ?? '' } };
      });
    case 'carts':
      return oneStep(() => {
        const open = recipe.carts[count];
        return (
          open && {
            method: 'POST',
            path: `/v1/carts/${open.id}/checkout`,
            headers: { ...json, 'cart-token': open.token, 'idempotency-key': uniqueKey() },
            body: JSON.stringify({ expectedTotal: recipe.total }),
          }
        );
      });
    case 'join':
      return oneStep(() => ({
        method: 'POST',
        path: `/v1/campaigns/${pick(recipe.campaigns)}/join`,
        headers: { ...json, 'idempotency-key': uniqueKey() },
        body: JSON.stringify({ userId: `user-${seed}-${count}` }),
      }));
    case 'team-open':
      return oneStep(() => takePlace(`/v1/campaigns/${recipe.campaign}/teams`));
    case 'team-join':
      return oneStep(() => {
        const isTaken = count >= recipe.teams.length * recipe.places;
        return isTaken ? undefined : takePlace(`/v1/teams/${recipe.teams[count % recipe.teams.length]}/join`);
      });
    case 'team-fill':
      return () => ({
        steps: 3,
        countsSteps: true,
        next(step, lastBody) {
          if (step === 0) return takePlace(`/v1/campaigns/${recipe.campaign}/teams`);
          const { team } = JSON.parse(lastBody) as { team: { id: string; code: string } };
          return takePlace(step === 1 ? `/v1/teams/${team.id}/join` : `/v1/teams/by-code/${team.code}/join`);
        },
      });
    case 'webhook':
      return oneStep(() => {
        const paid = recipe.payments[count];
        if (!paid) return undefined;
        const body = paymentSucceeded(paid.paymentId, paid.intentId, recipe.amount, `evt_${uniqueKey()}`);
        const headers = signWebhook(body, recipe.secret, Math.floor(Date.now() / 1000));
        return { method: 'POST', path: '/webhooks/stripe', headers, body };
      });
    case 'checkout':
      return () => ({
        steps: 2,
        next(step, lastBody) {
          if (step === 0) return order(recipe.skus, 1, {}, { expand: ['payment'] });
          const { payment: paid } = JSON.parse(lastBody) as {
            payment: { id: string; stripePaymentIntentId: string; amount: number };
          };
          const amount = Math.round(paid.amount * 100);
          const body = paymentSucceeded(paid.id, paid.stripePaymentIntentId, amount, `evt_${uniqueKey()}`);
          const headers = signWebhook(body, recipe.secret, Math.floor(Date.now() / 1000));
          return { method: 'POST', path: '/webhooks/stripe', headers, body };
        },
      });
  }
}
