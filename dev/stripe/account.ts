import { type JobKind, newId, type Store, type StoredEvent } from './store.ts';
import type { Webhooks } from './webhooks.ts';
import type { Params } from './wire.ts';

/** The Stripe API version that the emulator implements. It matches the version of the SDK. */
export const API_VERSION = '2026-10-28.endive';

/** What a fault changes besides the response. Jobs that the request schedules inherit `loseEvents`. */
export type FaultEffects = {
  /** Events are recorded and never delivered. */
  loseEvents?: true;
  /** A payment attempt stays `processing` and gets `outcome` after `ms` milliseconds. */
  decides?: { outcome: 'decline' | 'succeed'; ms: number };
};

/** The single Stripe account of the emulator. Every endpoint reads and changes it. */
export class Account {
  readonly store: Store;
  readonly webhooks: Webhooks;
  readonly #realNow: () => number;
  /** How long it takes until a pending refund settles, a refund fails or a dispute opens. Milliseconds. */
  readonly asyncMs: number;
  /** How long a bank debit stays `processing`. Milliseconds. */
  readonly debitMs: number;
  /** The emulator's base URL, for links to its 3-D Secure page. */
  url = '';
  /** The request that causes the next events. Both fields are null while a job runs. */
  cause: { id: string | null; idempotency_key: string | null } = { id: null, idempotency_key: null };
  /** Number of requests since the start, by endpoint (`POST /v1/payment_intents/:id/cancel`). */
  readonly requests = new Map<string, number>();
  /** The effects of a fault on the current request or job. */
  effects: FaultEffects = {};

  constructor(store: Store, webhooks: Webhooks, now: () => number, times: { asyncMs: number; debitMs: number }) {
    this.store = store;
    this.webhooks = webhooks;
    this.#realNow = now;
    this.asyncMs = times.asyncMs;
    this.debitMs = times.debitMs;
  }

  /** The time of the emulator's clock, in milliseconds. */
  now(): number {
    return this.#realNow() + (this.store.get('clock', 'clock')?.aheadMs ?? 0);
  }

  /** Moves the clock forward to `time`. It never moves back. */
  moveTo(time: number): void {
    const aheadMs = Math.max(time - this.#realNow(), this.store.get('clock', 'clock')?.aheadMs ?? 0);
    this.store.put('clock', { id: 'clock', aheadMs });
  }

  /** The time in Unix seconds, as in Stripe's `created`. */
  seconds(): number {
    return Math.floor(this.now() / 1000);
  }

  /** Records an event with a copy of the object and plans its webhook. */
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
    this.webhooks.plan(event, this.effects.loseEvents);
  }

  schedule(kind: JobKind, target: string, afterMs: number): void {
    const { loseEvents } = this.effects;
    const lost = loseEvents === undefined ? {} : { loseEvents };
    this.store.put('job', { id: newId('job'), kind, target, dueAt: this.now() + afterMs, ...lost });
  }
}

/** One request to an endpoint. */
export type Call = {
  account: Account;
  params: Params;
  /** The id in the path, or `''` if the path has none. */
  id: string;
  /** The request was made with the publishable key, as a buyer's browser does. */
  byBuyer: boolean;
};

export type Route = {
  method: 'GET' | 'POST';
  /** The path as in Stripe's reference: `/v1/payment_intents/:id/confirm`. */
  path: string;
  /** A publishable key may call it. */
  publishable?: true;
  handle: (call: Call) => unknown;
};
