import { type JobKind, newId, type Store, type StoredEvent } from './store.ts';
import type { Webhooks } from './webhooks.ts';
import type { Params } from './wire.ts';

/** The version of the API whose shapes the emulator speaks; that of the SDK in use. */
export const API_VERSION = '2026-10-28.endive';

/** How a request or job differs from an ordinary one. A job that a request schedules shares the loss of its events. */
export type Fate = {
  /** Its events are recorded and never delivered. */
  loseEvents?: true;
  /** An attempt to pay stays `processing` and is decided so many milliseconds later. */
  decides?: { outcome: 'decline' | 'succeed'; ms: number };
};

/** The one account that the emulator keeps: what every endpoint works on. */
export class Account {
  readonly store: Store;
  readonly webhooks: Webhooks;
  readonly #base: () => number;
  /** How long pending refunds, late failures of refunds and disputes take. Milliseconds. */
  readonly asyncMs: number;
  /** How long a bank debit takes. Milliseconds. */
  readonly debitMs: number;
  /** The emulator's own address, for the pages that stand for a bank's. */
  url = '';
  /** The request that is being answered; null while a job runs. */
  cause: { id: string | null; idempotency_key: string | null } = { id: null, idempotency_key: null };
  /** How many requests each endpoint has had since the start: `GET /v1/events`, `POST /v1/payment_intents/:id/cancel`. */
  readonly requests = new Map<string, number>();
  /** What a fault does with the request or job at hand beyond its answer. */
  fate: Fate = {};

  constructor(store: Store, webhooks: Webhooks, now: () => number, times: { asyncMs: number; debitMs: number }) {
    this.store = store;
    this.webhooks = webhooks;
    this.#base = now;
    this.asyncMs = times.asyncMs;
    this.debitMs = times.debitMs;
  }

  /** The emulator's clock, in milliseconds. */
  now(): number {
    return this.#base() + (this.store.get('clock', 'clock')?.aheadMs ?? 0);
  }

  /** Moves the clock forward to this time, or leaves it if it is there already. */
  moveTo(time: number): void {
    const aheadMs = Math.max(time - this.#base(), this.store.get('clock', 'clock')?.aheadMs ?? 0);
    this.store.put('clock', { id: 'clock', aheadMs });
  }

  /** Unix seconds, as Stripe's `created`. */
  seconds(): number {
    return Math.floor(this.now() / 1000);
  }

  /** Records the event with the object as it is now, and plans its delivery. */
  emit(type: string, object: object, previous?: Record<string, unknown>): void {
    const event: StoredEvent = {
      id: newId('evt'),
      object: 'event',
      api_version: API_VERSION,
      created: this.seconds(),
      data: { object: structuredClone(object), ...(previous === undefined ? {} : { previous_attributes: previous }) },
      livemode: false,
      pending_webhooks: 0,
      request: { ...this.cause },
      type,
    };
    this.store.put('event', event);
    this.webhooks.plan(event, this.fate.loseEvents);
  }

  schedule(kind: JobKind, target: string, afterMs: number): void {
    const { loseEvents } = this.fate;
    const lost = loseEvents === undefined ? {} : { loseEvents };
    this.store.put('job', { id: newId('job'), kind, target, dueAt: this.now() + afterMs, ...lost });
  }
}

/** One call of an endpoint. */
export type Call = {
  account: Account;
  params: Params;
  /** The id in the path, or `''`. */
  id: string;
  /** Made with the publishable key, by the buyer's browser. */
  byBuyer: boolean;
};

export type Route = {
  method: 'GET' | 'POST';
  /** As in Stripe's reference: `/v1/payment_intents/:id/confirm`. */
  path: string;
  /** A publishable key may call it. */
  publishable?: true;
  answer: (call: Call) => unknown;
};
