import { setTimeout as sleep } from 'node:timers/promises';
import type { Ask, Client } from './client.ts';
import { type Heard, type Journal, textOf } from './journal.ts';
import type { ChaosPlatform } from './platform.ts';
import { type Draw, drawOf } from './random.ts';

export type Sku = { sku: string; price: number; hot: boolean };

/** What all stories share. */
export type Shop = {
  seed: number;
  platform: Pick<ChaosPlatform, 'stripe' | 'query' | 'worker'>;
  client: Client;
  journal: Journal;
  /** What is sold, by tenant. */
  skus: Record<string, Sku[]>;
  /** True once nobody begins anything new. */
  readonly closing: boolean;
};

/** One person with a plan. */
export type Story = {
  shop: Shop;
  name: string;
  tenant: string;
  draw: Draw;
  ask: (operation: string, method: string, path: string, more?: Partial<Ask>) => Promise<Heard | undefined>;
  /** A key, a reason or a name that nobody else has. */
  unique: (what: string) => string;
  pause: (least: number, most: number) => Promise<void>;
};

export function storyOf(shop: Shop, index: number | string, tenant: string): Story {
  const draw = drawOf(shop.seed, 'story', index);
  const name = `s${index}`;
  let count = 0;
  return {
    shop,
    name,
    tenant,
    draw,
    ask: (operation, method, path, more = {}) =>
      shop.client.ask({ story: name, operation, method, path, tenant, draw, ...more }),
    unique: (what) => `${name}-${what}-${++count}`,
    pause: (least, most) => sleep(draw.int(least, most)),
  };
}

/** Asks again and again until an answer fits or the tries are used up. */
export async function comesTrue(story: Story, tries: number, fits: () => Promise<boolean>): Promise<boolean> {
  for (let tried = 0; tried < tries && !story.shop.closing; tried++) {
    if (await fits()) return true;
    await sleep(150 + 50 * tried);
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
 * What the buyer's browser does with a client secret; a decline and a closed intent are the buyer's to see. Answers the
 * intent's status as the browser saw it.
 */
export async function confirmAtStripe(story: Story, secret: string, card: string = story.draw.weigh(cards)) {
  const { shop, draw } = story;
  const id = intentOf(secret);
  const kind = id.startsWith('seti_') ? 'setup_intents' : 'payment_intents';
  const url = shop.platform.stripe.url;
  const agrees = draw.chance(0.75);
  for (let tried = 0; tried < 3; tried++) {
    try {
      const { status, body } = await post(`${url}/v1/${kind}/${id}/confirm`, {
        payment_method: card,
        return_url: 'https://shop.test',
      });
      if (status >= 500 || status === 429) continue;
      const state = textOf(body, 'status');
      const said = status === 200 ? state : 'declined or closed';
      shop.journal.note('buyer', `confirms ${id} with ${card}: ${said}`, { subject: id });
      shop.journal.count('buyers at Stripe', said);
      if (state === 'requires_action') {
        const outcome = agrees ? 'succeed' : 'fail';
        const path = `${url}/_emulator/${kind}/${id}/authenticate`;
        const answer = await fetch(path, { method: 'POST', body: JSON.stringify({ outcome }) });
        await answer.arrayBuffer();
        shop.journal.note('buyer', `3-D Secure of ${id}: ${outcome}`, { subject: id });
        shop.journal.count('buyers at Stripe', `3-D Secure: ${outcome}`);
      }
      return state;
    } catch {
      // Dropped or late, as for any browser: the buyer presses the button again.
    }
  }
  return '';
}

/** Uses a switch of the emulator's on the intent of a secret; false where Stripe would refuse. */
async function atEmulator(story: Story, path: string, body: Record<string, unknown>): Promise<boolean> {
  const url = `${story.shop.platform.stripe.url}/_emulator/${path}`;
  const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
  await answer.arrayBuffer();
  return answer.ok;
}

const intentOf = (secret: string): string => secret.split('_secret_')[0] ?? '';

/** What somebody does with this payment in Stripe's dashboard. */
export async function inDashboard(story: Story, secret: string, action: string, more: Record<string, unknown>) {
  const id = intentOf(secret);
  if (!(await atEmulator(story, `dashboard/${action}`, { payment_intent: id, ...more }))) return;
  story.shop.journal.note('dashboard', `${action} ${id} ${JSON.stringify(more)}`, { subject: id });
  story.shop.journal.count('in the dashboard, by stories', action);
}

/** The bank decides a debit while people still shop, or leaves it for days: until the peace after the load. */
export async function bankDecides(story: Story, secret: string): Promise<void> {
  const { shop, draw } = story;
  const when = draw.weigh({ soon: 50, inDays: 50 });
  const outcome = draw.chance(0.6) ? 'succeed' : 'fail';
  if (when === 'inDays') return;
  await story.pause(300, 4_000);
  const id = intentOf(secret);
  // Somebody may have cancelled it at Stripe meanwhile.
  if (!(await atEmulator(story, `payment_intents/${id}/settle`, { outcome }))) return;
  shop.journal.note('bank', `debit of ${id}: ${outcome}`, { subject: id });
  shop.journal.count('buyers at Stripe', `debit: ${outcome}`);
}
