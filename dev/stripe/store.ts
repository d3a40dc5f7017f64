import { randomBytes } from 'node:crypto';
import type Stripe from 'stripe';

// The SDK's types describe complete objects. Fields that Stripe can expand hold only an id here.
export type Customer = Stripe.Customer;
export type Method = Stripe.PaymentMethod & { customer: string | null };
export type Intent = Stripe.PaymentIntent & {
  customer: string | null;
  latest_charge: string | null;
  payment_method: string | null;
};
export type Charge = Stripe.Charge & { customer: string | null; payment_intent: string };
export type Refund = Stripe.Refund & { charge: string; payment_intent: string };
export type SetupIntent = Stripe.SetupIntent & { customer: string | null; payment_method: string | null };
export type Dispute = Stripe.Dispute & { charge: string; payment_intent: string };

export type TaxLine = Stripe.Tax.CalculationLineItem;
export type TaxCalculation = Omit<Stripe.Tax.Calculation, 'id' | 'line_items'> & { id: string; lines: TaxLine[] };

/**
 * A connected account. `access` is false after its owner has revoked the platform's access. Stripe shows the rest.
 */
export type ConnectedAccount = { id: string; access: boolean; shown: Stripe.Account };

/** A single-use link to the emulator's onboarding page. `id` is the secret part of its URL. */
export type OnboardingLink = {
  id: string;
  account: string;
  expiresAt: number;
  refreshUrl: string;
  returnUrl: string;
  /** It was opened, so that it cannot be opened again. */
  opened: boolean;
  /** The form of its page was sent. */
  used: boolean;
};

export type StoredEvent = {
  id: string;
  object: 'event';
  /** The connected account that it happened on. Events of the platform's own account do not have it. */
  account?: string;
  api_version: string;
  created: number;
  data: { object: unknown; previous_attributes?: Record<string, unknown> };
  livemode: false;
  pending_webhooks: number;
  request: { id: string | null; idempotency_key: string | null };
  type: string;
};

/** What the API does not show about a payment method: its test method, and whether it was set up or used. */
export type MethodFacts = { id: string; name: string; setUp: boolean; spent: boolean };

/**
 * One delivery of one event of `account` (none: the platform's own). `dueAt` and `firstAt` are milliseconds of the
 * webhooks' clock.
 */
export type Delivery = {
  id: string;
  account?: string;
  event: string;
  attempt: number;
  dueAt: number;
  firstAt: number;
};

export type JobKind =
  | 'attempt_fails'
  | 'attempt_succeeds'
  | 'debit_settles'
  | 'dispute_opens'
  | 'hold_expires'
  | 'refund_fails'
  | 'refund_settles';

/** A scheduled job. `dueAt` is the time of the emulator's clock, in milliseconds. */
export type Job = { id: string; kind: JobKind; target: string; dueAt: number; loseEvents?: true };

/** How far the emulator's clock is ahead of real time. One row. */
export type Clock = { id: 'clock'; aheadMs: number };

/** An idempotency key with its saved response. `answer` is null while the first request runs. */
export type KeyRecord = {
  id: string;
  method: string;
  path: string;
  params: string;
  createdAt: number;
  answer: { status: number; body: string; requestId: string } | null;
};

export type Tables = {
  customer: Customer;
  payment_method: Method;
  payment_intent: Intent;
  charge: Charge;
  refund: Refund;
  setup_intent: SetupIntent;
  dispute: Dispute;
  event: StoredEvent;
  facts: MethodFacts;
  delivery: Delivery;
  job: Job;
  key: KeyRecord;
  clock: Clock;
  account: ConnectedAccount;
  link: OnboardingLink;
  tax_calculation: TaxCalculation;
};
export type Kind = keyof Tables;
type Maps = { [K in Kind]: Map<string, Tables[K]> };

const PREFIXES: Record<string, Kind> = {
  cus: 'customer',
  pm: 'payment_method',
  pi: 'payment_intent',
  ch: 'charge',
  py: 'charge',
  re: 'refund',
  seti: 'setup_intent',
  dp: 'dispute',
  evt: 'event',
};

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** Random letters and digits, as in Stripe's ids. */
export function randomCharacters(count: number): string {
  return [...randomBytes(count)].map((byte) => ALPHABET[byte % ALPHABET.length]).join('');
}

export function newId(prefix: string): string {
  return `${prefix}_${randomCharacters(24)}`;
}

function emptyMaps(): Maps {
  return {
    customer: new Map(),
    payment_method: new Map(),
    payment_intent: new Map(),
    charge: new Map(),
    refund: new Map(),
    setup_intent: new Map(),
    dispute: new Map(),
    event: new Map(),
    facts: new Map(),
    delivery: new Map(),
    job: new Map(),
    key: new Map(),
    clock: new Map(),
    account: new Map(),
    link: new Map(),
    tax_calculation: new Map(),
  };
}

/** The objects of one Stripe account. They are invisible to every other account. */
export class Store {
  readonly #maps = emptyMaps();
  readonly #changed = new Map<string, [Kind, string]>();
  readonly #commit: () => void;

  constructor(commit: () => void) {
    this.#commit = commit;
  }

  get<K extends Kind>(kind: K, id: string): Tables[K] | undefined {
    return this.#maps[kind].get(id);
  }

  /** Every object of a kind, oldest first. */
  all<K extends Kind>(kind: K): Tables[K][] {
    return [...this.#maps[kind].values()];
  }

  /** The oldest object of a kind. */
  oldest<K extends Kind>(kind: K): Tables[K] | undefined {
    return this.#maps[kind].values().next().value;
  }

  /** Finds a Stripe object of any kind by its id. */
  find(id: string): unknown {
    const kind = PREFIXES[id.slice(0, id.indexOf('_'))];
    return kind === undefined ? undefined : this.#maps[kind].get(id);
  }

  /** Adds the object, or marks it as changed. */
  put<K extends Kind>(kind: K, value: Tables[K]): Tables[K] {
    this.#maps[kind].set(value.id, value);
    this.#changed.set(`${kind} ${value.id}`, [kind, value.id]);
    return value;
  }

  drop(kind: Kind, id: string): void {
    this.#maps[kind].delete(id);
    this.#changed.set(`${kind} ${id}`, [kind, id]);
  }

  /** Commits the changes of every account, as `State` does. */
  commit(): void {
    this.#commit();
  }

  /** Returns the changes since the last call. An object without a value was dropped. */
  takeChanges(): { kind: Kind; id: string; value: unknown }[] {
    const changes = [...this.#changed.values()].map(([kind, id]) => ({ kind, id, value: this.#maps[kind].get(id) }));
    this.#changed.clear();
    return changes;
  }

  /** Adds or drops an object that the journal has already. */
  restore(kind: Kind, value: unknown): void {
    const map: Map<string, unknown> = this.#maps[kind];
    if (typeof value === 'string') map.delete(value);
    else if (typeof value === 'object' && value !== null && 'id' in value) map.set(String(value.id), value);
  }

  /** Every object with its kind. */
  *entries(): Generator<[Kind, Tables[Kind]]> {
    for (const kind of Object.keys(this.#maps) as Kind[]) {
      for (const value of this.#maps[kind].values()) yield [kind, value];
    }
  }
}
