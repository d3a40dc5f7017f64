import { createHmac } from 'node:crypto';
import type { State } from './state.ts';
import { type Delivery, newId, type Store, type StoredEvent } from './store.ts';

/** Webhook faults. `duplicate`, `reorder` and `lose` are probabilities per event (0 to 1). */
export type WebhookFaults = {
  /** The delay of every delivery. */
  delayMs: number;
  /** Delivered twice: in half of the cases at the same time, otherwise one of them later. */
  duplicate: number;
  /** Delayed by up to `reorderMs`, so that later events arrive first. */
  reorder: number;
  reorderMs: number;
  /** Never delivered, as if all of Stripe's retries had failed. */
  lose: number;
  seed: number;
};

export type WebhookOptions = {
  url: string | null;
  /** They sign the events of the platform's own account. */
  secrets: string[];
  /** They sign the events of connected accounts, which Stripe sends to an endpoint of their own. */
  connectSecrets: string[];
  retryBaseMs: number;
  timeoutMs: number;
  faults: WebhookFaults;
  log: (line: string) => void;
};

const GIVE_UP_AFTER_MS = 3 * 24 * 3600_000;
const MAX_PAUSE_MS = 3600_000;
const MAX_IN_FLIGHT = 20;

/** A small seeded random generator of numbers in [0, 1). */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The `Stripe-Signature` header, with one `v1` per secret. `seconds` is Unix time. */
export function signWebhook(body: string, secrets: readonly string[], seconds: number): string {
  const sign = (secret: string) => createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex');
  return [`t=${seconds}`, ...secrets.map((secret) => `v1=${sign(secret)}`)].join(',');
}

/**
 * Sends each event to one URL until it returns 2xx, with growing pauses, for three days. Events of connected accounts
 * have secrets of their own, as with Stripe's endpoint for them. There is no guaranteed order, as with Stripe. Pending deliveries are in the store, so a restart continues them.
 */
export class Webhooks {
  readonly #state: State;
  /** The deliveries of every account are in the store of the platform's own account. */
  readonly #store: Store;
  readonly #sending = new Set<string>();
  readonly #abort = new AbortController();
  readonly #settings: WebhookOptions;
  readonly #counts = { delivered: 0, attempts: 0, duplicated: 0, reordered: 0, gaveUp: 0 };
  readonly #lost: string[] = [];
  #random: () => number;
  #timer: NodeJS.Timeout | undefined;

  constructor(state: State, options: WebhookOptions) {
    this.#state = state;
    this.#store = state.storeOf(null);
    this.#settings = options;
    this.#random = mulberry32(options.faults.seed);
    if (options.faults.lose + options.faults.duplicate + options.faults.reorder > 0) this.#logFaults();
  }

  /** Real time, plus the time by which the emulator's clock is ahead. A stopped test clock does not stop deliveries. */
  #now(): number {
    return Date.now() + (this.#store.get('clock', 'clock')?.aheadMs ?? 0);
  }

  #logFaults(): void {
    const { seed, lose, duplicate, reorder, delayMs } = this.#settings.faults;
    this.#settings.log(
      `webhook faults: seed ${seed}, lose ${lose}, duplicate ${duplicate}, reorder ${reorder}, delay ${delayMs} ms`,
    );
  }

  /** Changes the endpoint or the faults. A seed, even the same one, restarts the random generator. */
  configure(change: Partial<WebhookFaults> & { url?: string | null }): void {
    const { url, ...faults } = change;
    if (url !== undefined) this.#settings.url = url;
    Object.assign(this.#settings.faults, faults);
    if (faults.seed !== undefined) this.#random = mulberry32(faults.seed);
    this.#logFaults();
    this.wake();
  }

  /** The settings, the counts since the start, the ids of lost events and the number of pending deliveries. */
  report() {
    const { url, faults } = this.#settings;
    return { url, faults, ...this.#counts, lost: this.#lost, pending: this.#store.all('delivery').length };
  }

  /** Plans the deliveries of a new event, or loses it. Call `wake` to send them after the change is committed. */
  plan(event: StoredEvent, lost = false): void {
    if (this.#settings.url === null) return;
    event.pending_webhooks = 1;
    const { faults } = this.#settings;
    // Always four random numbers per event, so that with one seed the n-th event always has the same fault.
    const [lose, duplicate, reorder, spread] = [this.#random(), this.#random(), this.#random(), this.#random()];
    if (lost || lose < faults.lose) {
      this.#lost.push(event.id);
      return;
    }
    const now = this.#now();
    const extraMs = faults.reorderMs * (0.5 + spread / 2);
    const isDelayed = reorder < faults.reorder;
    if (isDelayed) this.#counts.reordered += 1;
    const dueAt = now + faults.delayMs + (isDelayed ? extraMs : 0);
    this.#add(event, now, dueAt);
    if (duplicate >= faults.duplicate) return;
    this.#counts.duplicated += 1;
    this.#add(event, now, duplicate < faults.duplicate / 2 ? dueAt : dueAt + extraMs);
  }

  #add(event: StoredEvent, firstAt: number, dueAt: number): void {
    const account = event.account === undefined ? {} : { account: event.account };
    this.#store.put('delivery', { id: newId('whd'), ...account, event: event.id, attempt: 0, dueAt, firstAt });
  }

  /** Sends the deliveries that are due and sets a timer for the next one. */
  wake(): void {
    clearTimeout(this.#timer);
    if (this.#settings.url === null || this.#abort.signal.aborted) return;
    // Every finished delivery calls `wake`.
    if (this.#sending.size >= MAX_IN_FLIGHT) return;
    const now = this.#now();
    let next = Number.POSITIVE_INFINITY;
    for (const delivery of this.#store.all('delivery')) {
      if (this.#sending.has(delivery.id)) continue;
      if (delivery.dueAt > now) next = Math.min(next, delivery.dueAt);
      else if (this.#sending.size < MAX_IN_FLIGHT) void this.#send(delivery, this.#settings.url);
    }
    if (next < Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.wake(), next - now);
  }

  async #send(delivery: Delivery, url: string): Promise<void> {
    this.#sending.add(delivery.id);
    const event = this.#state.storeOf(delivery.account ?? null).get('event', delivery.event);
    const delivered = event === undefined || (await this.#post(event, url));
    this.#sending.delete(delivery.id);
    if (this.#abort.signal.aborted) return;
    if (delivered) {
      this.#counts.delivered += 1;
      this.#store.drop('delivery', delivery.id);
    } else if (this.#now() - delivery.firstAt > GIVE_UP_AFTER_MS) {
      this.#counts.gaveUp += 1;
      this.#store.drop('delivery', delivery.id);
    } else {
      const pause = Math.min(this.#settings.retryBaseMs * 2 ** delivery.attempt, MAX_PAUSE_MS);
      const retry = { ...delivery, attempt: delivery.attempt + 1, dueAt: this.#now() + pause };
      this.#store.put('delivery', retry);
    }
    this.#store.commit();
    this.wake();
  }

  async #post(event: StoredEvent, url: string): Promise<boolean> {
    this.#counts.attempts += 1;
    // Indented as Stripe's webhooks are, so that a receiver that verifies a re-serialized body fails.
    const body = JSON.stringify(event, null, 2);
    const secrets = event.account === undefined ? this.#settings.secrets : this.#settings.connectSecrets;
    try {
      const response = await fetch(url, {
        method: 'POST',
        body,
        redirect: 'manual',
        headers: {
          'Content-Type': 'application/json; charset=utf-8',
          'User-Agent': 'Stripe/1.0 (+https://stripe.com/docs/webhooks) emulator',
          'Stripe-Signature': signWebhook(body, secrets, Math.floor(Date.now() / 1000)),
        },
        signal: AbortSignal.any([this.#abort.signal, AbortSignal.timeout(this.#settings.timeoutMs)]),
      });
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#abort.abort();
  }
}
