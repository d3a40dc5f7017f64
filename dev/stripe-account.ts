import { type JobKind, newId, type Store, type StoredEvent } from './stripe-store.ts';
import type { Webhooks } from './stripe-webhooks.ts';
import type { Params } from './stripe-wire.ts';

/** The version of the API whose shapes the emulator speaks; that of the SDK in use. */
export const API_VERSION = '2026-10-28.endive';

/** The one account that the emulator keeps: what every endpoint works on. */
export class Account {
  readonly store: Store;
  readonly webhooks: Webhooks;
  /** Milliseconds. */
  readonly now: () => number;
  /** How long what is asynchronous takes: debits, pending refunds, disputes. Milliseconds. */
  readonly asyncMs: number;
  /** The emulator's own address, for the pages that stand for a bank's. */
  url = '';
  /** The request that is being answered; null while a job runs. */
  cause: { id: string | null; idempotency_key: string | null } = { id: null, idempotency_key: null };

  constructor(store: Store, webhooks: Webhooks, now: () => number, asyncMs: number) {
    this.store = store;
    this.webhooks = webhooks;
    this.now = now;
    this.asyncMs = asyncMs;
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
    this.webhooks.plan(event);
  }

  schedule(kind: JobKind, target: string, afterMs: number): void {
    this.store.put('job', { id: newId('job'), kind, target, dueAt: this.now() + afterMs });
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
