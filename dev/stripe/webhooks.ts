import { createHmac } from 'node:crypto';
import { type Delivery, newId, type Store, type StoredEvent } from './store.ts';

/** How deliveries go wrong: chances of 0..1 for each event, drawn from a seeded generator. */
export type WebhookFaults = {
  /** Every delivery waits this long first. */
  delayMs: number;
  /** Delivered twice: half of the time at the same instant, else some time later. */
  duplicate: number;
  /** Held back for up to `reorderMs`, so that later events overtake it. */
  reorder: number;
  reorderMs: number;
  /** Never delivered, as if every retry of Stripe's had failed. */
  lose: number;
  seed: number;
};

export type WebhookOptions = {
  url: string | null;
  secrets: string[];
  retryBaseMs: number;
  timeoutMs: number;
  faults: WebhookFaults;
  log: (line: string) => void;
};

const GIVE_UP_MS = 3 * 24 * 3600_000;
const LONGEST_PAUSE_MS = 3600_000;
const IN_FLIGHT = 20;

/** A small seeded generator of numbers in [0, 1). */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The `Stripe-Signature` header: one `v1` for each secret, as while a secret is being rolled. `seconds` is Unix time. */
export function signWebhook(body: string, secrets: readonly string[], seconds: number): string {
  const sign = (secret: string) => createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex');
  return [`t=${seconds}`, ...secrets.map((secret) => `v1=${sign(secret)}`)].join(',');
}

/**
 * Sends each event to one endpoint until it answers 2xx, at growing pauses, for three days; in no order, as Stripe.
 * What is still to be sent is in the store, so a restart goes on with it.
 */
export class Webhooks {
  readonly #store: Store;
  readonly #sending = new Set<string>();
  readonly #abort = new AbortController();
  readonly #settings: WebhookOptions;
  readonly #counts = { delivered: 0, attempts: 0, duplicated: 0, reordered: 0, gaveUp: 0 };
  readonly #lost: string[] = [];
  #random: () => number;
  #timer: NodeJS.Timeout | undefined;

  constructor(store: Store, options: WebhookOptions) {
    this.#store = store;
    this.#settings = options;
    this.#random = mulberry32(options.faults.seed);
    if (options.faults.lose + options.faults.duplicate + options.faults.reorder > 0) this.#announce();
  }

  /** Deliveries follow the machine's clock, so that a frozen one does not stop them, and the emulator's jumps. */
  #now(): number {
    return Date.now() + (this.#store.get('clock', 'clock')?.aheadMs ?? 0);
  }

  #announce(): void {
    const { seed, lose, duplicate, reorder, delayMs } = this.#settings.faults;
    this.#settings.log(
      `webhook faults: seed ${seed}, lose ${lose}, duplicate ${duplicate}, reorder ${reorder}, delay ${delayMs} ms`,
    );
  }

  /** Changes the endpoint or the faults; a seed (the same one too) starts the draws anew. */
  configure(change: Partial<WebhookFaults> & { url?: string | null }): void {
    const { url, ...faults } = change;
    if (url !== undefined) this.#settings.url = url;
    Object.assign(this.#settings.faults, faults);
    if (faults.seed !== undefined) this.#random = mulberry32(faults.seed);
    this.#announce();
    this.wake();
  }

  /** The settings, the counts since the start, the events that were lost and the number that is still to be sent. */
  report() {
    const { url, faults } = this.#settings;
    return { url, faults, ...this.#counts, lost: this.#lost, pending: this.#store.all('delivery').length };
  }

  /** Plans the deliveries of a new event, or loses it. They go out at the next `wake`, once the change is committed. */
  plan(event: StoredEvent, lost = false): void {
    if (this.#settings.url === null) return;
    event.pending_webhooks = 1;
    const { faults } = this.#settings;
    // Four draws for every event, whatever comes of them: the n-th event meets the same fate under the same seed.
    const [lose, duplicate, reorder, spread] = [this.#random(), this.#random(), this.#random(), this.#random()];
    if (lost || lose < faults.lose) {
      this.#lost.push(event.id);
      return;
    }
    const now = this.#now();
    const late = faults.reorderMs * (0.5 + spread / 2);
    const held = reorder < faults.reorder;
    if (held) this.#counts.reordered += 1;
    const dueAt = now + faults.delayMs + (held ? late : 0);
    this.#add(event, now, dueAt);
    if (duplicate >= faults.duplicate) return;
    this.#counts.duplicated += 1;
    this.#add(event, now, duplicate < faults.duplicate / 2 ? dueAt : dueAt + late);
  }

  #add(event: StoredEvent, firstAt: number, dueAt: number): void {
    this.#store.put('delivery', { id: newId('whd'), event: event.id, attempt: 0, dueAt, firstAt });
  }

  /** Sends what is due and sets the clock for the rest. */
  wake(): void {
    clearTimeout(this.#timer);
    if (this.#settings.url === null || this.#abort.signal.aborted) return;
    // Every delivery that ends wakes the next ones.
    if (this.#sending.size >= IN_FLIGHT) return;
    const now = this.#now();
    let next = Number.POSITIVE_INFINITY;
    for (const delivery of this.#store.all('delivery')) {
      if (this.#sending.has(delivery.id)) continue;
      if (delivery.dueAt > now) next = Math.min(next, delivery.dueAt);
      else if (this.#sending.size < IN_FLIGHT) void this.#send(delivery, this.#settings.url);
    }
    if (next < Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.wake(), next - now);
  }

  async #send(delivery: Delivery, url: string): Promise<void> {
    this.#sending.add(delivery.id);
    const event = this.#store.get('event', delivery.event);
    const arrived = event === undefined || (await this.#post(event, url));
    this.#sending.delete(delivery.id);
    if (this.#abort.signal.aborted) return;
    if (arrived) {
      this.#counts.delivered += 1;
      this.#store.drop('delivery', delivery.id);
    } else if (this.#now() - delivery.firstAt > GIVE_UP_MS) {
      this.#counts.gaveUp += 1;
      this.#store.drop('delivery', delivery.id);
    } else {
      const pause = Math.min(this.#settings.retryBaseMs * 2 ** delivery.attempt, LONGEST_PAUSE_MS);
      const again = { ...delivery, attempt: delivery.attempt + 1, dueAt: this.#now() + pause };
      this.#store.put('delivery', again);
    }
    this.#store.commit();
    this.wake();
  }

  async #post(event: StoredEvent, url: string): Promise<boolean> {
    this.#counts.attempts += 1;
    // Indented as Stripe sends it, so a receiver that verifies a re-serialized body is found out.
    const body = JSON.stringify(event, null, 2);
    try {
      const response = await fetch(url, {
        method: 'POST',
        body,
        redirect: 'manual',
        headers: {
          'Content-Type': 'application/json; charset=utf-8',
          'User-Agent': 'Stripe/1.0 (+https://stripe.com/docs/webhooks) emulator',
          'Stripe-Signature': signWebhook(body, this.#settings.secrets, Math.floor(Date.now() / 1000)),
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
