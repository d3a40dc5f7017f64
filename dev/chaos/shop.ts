import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, RequestOptions } from './client.ts';
import { type ClientResponse, type Journal, textOf } from './journal.ts';
import type { ChaosPlatform } from './platform.ts';
import { type Random, seededRandom } from './random.ts';

export type Sku = { sku: string; price: number; hot: boolean };

/** The shared state of all stories. */
export type Shop = {
  seed: number;
  platform: Pick<ChaosPlatform, 'stripe' | 'query' | 'worker'>;
  client: Client;
  journal: Journal;
  /** The products on sale, by tenant. */
  skus: Record<string, Sku[]>;
  /** The shipping option that a tenant offers, by tenant. */
  shippingOptions: Record<string, string>;
  /** True once stories may not start new steps. */
  readonly closing: boolean;
};

/** One client that plays through a sequence of requests. */
export type Story = {
  shop: Shop;
  name: string;
  tenant: string;
  random: Random;
  request: (
    operation: string,
    method: string,
    path: string,
    options?: Partial<RequestOptions>,
  ) => Promise<ClientResponse | undefined>;
  /** A unique key, reason or name of this kind. */
  unique: (kind: string) => string;
  /** Waits for a random time between these milliseconds. */
  pause: (min: number, max: number) => Promise<void>;
};

export function createStory(shop: Shop, index: number | string, tenant: string): Story {
  const random = seededRandom(shop.seed, 'story', index);
  const name = `s${index}`;
  let count = 0;
  return {
    shop,
    name,
    tenant,
    random,
    request: (operation, method, path, options = {}) =>
      shop.client.request({ story: name, operation, method, path, tenant, random, ...options }),
    unique: (kind) => `${name}-${kind}-${++count}`,
    pause: (min, max) => sleep(random.int(min, max)),
  };
}

/** Repeats a step until it returns true, up to this number of attempts. Resolves with whether it did. */
export async function retryUntil(story: Story, attempts: number, step: () => Promise<boolean>): Promise<boolean> {
  for (let attempt = 0; attempt < attempts && !story.shop.closing; attempt++) {
    if (await step()) return true;
    await sleep(150 + 50 * attempt);
  }
  return false;
}

const cards = {
  pm_card_visa: 60,
  pm_card_visa_chargeDeclined: 8,
  pm_card_visa_chargeDeclinedInsufficientFunds: 6,
  pm_card_authenticationRequired: 14,
  pm_card_pendingRefund: 8,
  pm_card_refundFail: 2,
  pm_usBankAccount_success: 5,
  pm_usBankAccount_insufficientFunds: 3,
  pm_usBankAccount_processing: 4,
} as const;

async function post(url: string, form: Record<string, string>): Promise<{ status: number; body: unknown }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: 'Bearer sk_test_dev', 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(form).toString(),
    signal: AbortSignal.timeout(5_000),
  });
  return { status: response.status, body: await response.json() };
}

/**
 * Confirms an intent at Stripe as the buyer's browser does, with 3-D Secure if Stripe asks for it. Resolves with the
 * intent's status in the response; empty if there was none.
 */
export async function confirmAtStripe(story: Story, secret: string, card: string = story.random.pickWeighted(cards)) {
  const { shop, random } = story;
  const id = intentOf(secret);
  const kind = id.startsWith('seti_') ? 'setup_intents' : 'payment_intents';
  const url = shop.platform.stripe.url;
  const authenticates = random.chance(0.75);
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      const { status, body } = await post(`${url}/v1/${kind}/${id}/confirm`, {
        payment_method: card,
        return_url: 'https://shop.test',
      });
      if (status >= 500 || status === 429) continue;
      const intentStatus = textOf(body, 'status');
      const result = status === 200 ? intentStatus : 'declined or closed';
      shop.journal.addIncident('buyer', `confirms ${id} with ${card}: ${result}`, { subject: id });
      shop.journal.count('buyers at Stripe', result);
      if (intentStatus === 'requires_action') {
        const outcome = authenticates ? 'succeed' : 'fail';
        const path = `${url}/_emulator/${kind}/${id}/authenticate`;
        const response = await fetch(path, { method: 'POST', body: JSON.stringify({ outcome }) });
        await response.arrayBuffer();
        shop.journal.addIncident('buyer', `3-D Secure of ${id}: ${outcome}`, { subject: id });
        shop.journal.count('buyers at Stripe', `3-D Secure: ${outcome}`);
      }
      return intentStatus;
    } catch {
      // A lost or late response: the buyer presses the button again.
    }
  }
  return '';
}

/** Calls a control endpoint of the Stripe emulator. False if it rejects the action, as Stripe would. */
async function controlEmulator(story: Story, path: string, body: Record<string, unknown>): Promise<boolean> {
  const url = `${story.shop.platform.stripe.url}/_emulator/${path}`;
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
  await response.arrayBuffer();
  return response.ok;
}

const intentOf = (secret: string): string => secret.split('_secret_')[0] ?? '';

/** Acts on this payment in Stripe's dashboard, as the merchant could. */
export async function actInStripeDashboard(
  story: Story,
  secret: string,
  action: string,
  parameters: Record<string, unknown>,
) {
  const id = intentOf(secret);
  if (!(await controlEmulator(story, `dashboard/${action}`, { payment_intent: id, ...parameters }))) return;
  story.shop.journal.addIncident('dashboard', `${action} ${id} ${JSON.stringify(parameters)}`, { subject: id });
  story.shop.journal.count('dashboard actions of stories', action);
}

/** Settles or fails a bank debit during the load, or leaves it undecided until after the load. */
export async function decideDebit(story: Story, secret: string): Promise<void> {
  const { shop, random } = story;
  const when = random.pickWeighted({ soon: 50, inDays: 50 });
  const outcome = random.chance(0.6) ? 'succeed' : 'fail';
  if (when === 'inDays') return;
  await story.pause(300, 4_000);
  const id = intentOf(secret);
  // It may have been cancelled at Stripe meanwhile.
  if (!(await controlEmulator(story, `payment_intents/${id}/settle`, { outcome }))) return;
  shop.journal.addIncident('bank', `debit of ${id}: ${outcome}`, { subject: id });
  shop.journal.count('buyers at Stripe', `debit: ${outcome}`);
}
