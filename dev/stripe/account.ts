import type { State } from './state.ts';
import { type ConnectedAccount, type JobKind, newId, type Store, type StoredEvent } from './store.ts';
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

/** The id of the platform's own account. */
export const PLATFORM_ID = 'acct_platform';
/** The id of the platform's Connect application. */
export const APPLICATION_ID = 'ca_emulator';

/** A Stripe account, with the objects that belong to it. Every endpoint reads and changes one account. */
export class Account {
  readonly accounts: Accounts;
  /** Null for the platform's own account. */
  readonly connectedId: string | null;
  readonly store: Store;

  constructor(accounts: Accounts, connectedId: string | null, store: Store) {
    this.accounts = accounts;
    this.connectedId = connectedId;
    this.store = store;
  }

  /** How long it takes until a pending refund settles, a refund fails or a dispute opens. Milliseconds. */
  get asyncMs(): number {
    return this.accounts.asyncMs;
  }

  /** How long a bank debit stays `processing`. Milliseconds. */
  get debitMs(): number {
    return this.accounts.debitMs;
  }

  /** The emulator's base URL, for links to its pages. */
  get url(): string {
    return this.accounts.url;
  }

  /** The effects of a fault on the current request or job. */
  get effects(): FaultEffects {
    return this.accounts.effects;
  }

  /** The time of the emulator's clock, in milliseconds. */
  now(): number {
    return this.accounts.now();
  }

  /** The time in Unix seconds, as in Stripe's `created`. */
  seconds(): number {
    return this.accounts.seconds();
  }

  /** The `application` of a new object: the platform's, if it makes the object on a connected account. */
  get application(): string | null {
    return this.connectedId === null ? null : APPLICATION_ID;
  }

  /** Whether the platform may use the account and receives its events. */
  get hasAccess(): boolean {
    return this.connectedId === null || this.accounts.connected(this.connectedId)?.access === true;
  }

  get chargesEnabled(): boolean {
    return this.connectedId === null || this.accounts.connected(this.connectedId)?.shown.charges_enabled === true;
  }

  /** Records an event with a copy of the object and plans its webhook, unless the platform has no access. */
  emit(type: string, object: object, previous?: Record<string, unknown>): void {
    const event: StoredEvent = {
      id: newId('evt'),
      object: 'event',
      ...(this.connectedId === null ? {} : { account: this.connectedId }),
      api_version: API_VERSION,
      created: this.seconds(),
      data: { object: structuredClone(object), ...(previous === undefined ? {} : { previous_attributes: previous }) },
      livemode: false,
      pending_webhooks: 0,
      request: { ...this.accounts.cause },
      type,
    };
    this.store.put('event', event);
    if (this.hasAccess) this.accounts.webhooks.plan(event, this.effects.loseEvents);
  }

  schedule(kind: JobKind, target: string, afterMs: number): void {
    const { loseEvents } = this.effects;
    const lost = loseEvents === undefined ? {} : { loseEvents };
    this.store.put('job', { id: newId('job'), kind, target, dueAt: this.now() + afterMs, ...lost });
  }
}

/** The platform's own account, the accounts that are connected to it, and what all of them share. */
export class Accounts {
  readonly state: State;
  readonly webhooks: Webhooks;
  readonly #realNow: () => number;
  readonly asyncMs: number;
  readonly debitMs: number;
  readonly platform: Account;
  readonly #connected = new Map<string, Account>();
  url = '';
  /** The request that causes the next events. Both fields are null while a job runs. */
  cause: { id: string | null; idempotency_key: string | null } = { id: null, idempotency_key: null };
  /** Number of requests since the start, by endpoint (`POST /v1/payment_intents/:id/cancel`). */
  readonly requests = new Map<string, number>();
  effects: FaultEffects = {};

  constructor(state: State, webhooks: Webhooks, now: () => number, times: { asyncMs: number; debitMs: number }) {
    this.state = state;
    this.webhooks = webhooks;
    this.#realNow = now;
    this.asyncMs = times.asyncMs;
    this.debitMs = times.debitMs;
    this.platform = new Account(this, null, state.storeOf(null));
    for (const { id } of this.platform.store.all('account')) this.#open(id);
  }

  /** The time of the emulator's clock, in milliseconds. */
  now(): number {
    return this.#realNow() + (this.platform.store.get('clock', 'clock')?.aheadMs ?? 0);
  }

  seconds(): number {
    return Math.floor(this.now() / 1000);
  }

  /** Moves the clock forward to `time`. It never moves back. */
  moveTo(time: number): void {
    const aheadMs = Math.max(time - this.#realNow(), this.platform.store.get('clock', 'clock')?.aheadMs ?? 0);
    this.platform.store.put('clock', { id: 'clock', aheadMs });
  }

  /** The platform's own account first. */
  all(): Account[] {
    return [this.platform, ...this.#connected.values()];
  }

  /** What is known about a connected account, with or without access. */
  connected(id: string): ConnectedAccount | undefined {
    return this.platform.store.get('account', id);
  }

  /** Finds an account by its id, with or without access. */
  find(id: string): Account | undefined {
    return id === PLATFORM_ID ? this.platform : this.#connected.get(id);
  }

  /** Adds a connected account. */
  add(account: ConnectedAccount): Account {
    this.platform.store.put('account', account);
    return this.#open(account.id);
  }

  #open(id: string): Account {
    const account = new Account(this, id, this.state.storeOf(id));
    this.#connected.set(id, account);
    return account;
  }

  /** The account that an object with this id belongs to, or the platform's own if there is no such object. */
  ownerOf(objectId: string): Account {
    return this.all().find((account) => account.store.find(objectId) !== undefined) ?? this.platform;
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
  /** The API key as errors show it. */
  maskedKey: string;
};

export type Route = {
  method: 'GET' | 'POST';
  /** The path as in Stripe's reference: `/v1/payment_intents/:id/confirm`. */
  path: string;
  /** A publishable key may call it. */
  publishable?: true;
  /** It cannot be called on behalf of a connected account. */
  platformOnly?: true;
  handle: (call: Call) => unknown;
};
