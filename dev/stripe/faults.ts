import type { Fate } from './account.ts';
import { StripeFailure } from './wire.ts';

/** What goes wrong with the next requests that match. */
export type RequestFault = {
  /** How many requests it hits. */
  times: number;
  method?: 'DELETE' | 'GET' | 'POST';
  /** A beginning of the path: `/v1/refunds`. */
  path?: string;
  /** `status` answers an error, `hang` never answers, `drop` closes the connection, `delay` is merely late. */
  action: 'delay' | 'drop' | 'hang' | 'status';
  /** For `status`. */
  status?: 429 | 500 | 503;
  /** Does the request take effect before it goes wrong? By default `drop` does, `hang` and `status` do not. */
  acts?: boolean;
  /** For `status`: does an idempotency key keep the error? By default from 500 on, as Stripe keeps 500s. */
  saved?: boolean;
  /** Events of this request, and of what it sets going, are never delivered. */
  loseEvents?: boolean;
  /** An attempt to pay in this request stays `processing`, and ends this way `decideMs` later. */
  decides?: 'decline' | 'succeed';
  /** By default 1000. */
  decideMs?: number;
  /** For `delay` and `hang`, milliseconds; a hang without it lasts until the client goes. */
  ms?: number;
};

/** The faults that wait for their requests, in the order in which they were asked for. */
export class RequestFaults {
  readonly #waiting: RequestFault[] = [];
  /** The ids of what requests have made whose answer was an injected error that the idempotency key keeps. */
  readonly hidden: string[] = [];

  add(fault: RequestFault): void {
    if (fault.times > 0) this.#waiting.push({ ...fault });
  }

  clear(): void {
    this.#waiting.length = 0;
  }

  list(): RequestFault[] {
    return this.#waiting;
  }

  /** The fault of this request, used up once. */
  take(method: string, path: string): RequestFault | null {
    const index = this.#waiting.findIndex(
      (fault) => (fault.method ?? method) === method && path.startsWith(fault.path ?? ''),
    );
    const fault = this.#waiting[index];
    if (fault === undefined) return null;
    fault.times -= 1;
    if (fault.times === 0) this.#waiting.splice(index, 1);
    return fault;
  }
}

/** What the fault does with the request beyond its answer. */
export function faultFate(fault: RequestFault | null): Fate {
  return {
    ...(fault?.loseEvents === true ? { loseEvents: true } : {}),
    ...(fault?.decides === undefined ? {} : { decides: { outcome: fault.decides, ms: fault.decideMs ?? 1000 } }),
  };
}

/** Whether the request takes effect under this fault. */
export function faultActs(fault: RequestFault | null): boolean {
  return fault?.acts ?? (fault === null || fault.action === 'drop' || fault.action === 'delay');
}

/** The error that the fault answers with, or null where it answers none. */
export function faultAnswer(fault: RequestFault | null): StripeFailure | null {
  if (fault?.action !== 'status') return null;
  const status = fault.status ?? 500;
  if (status === 429) {
    const message = 'Testmode request rate limit exceeded, the rate limits in testmode are lower than livemode.';
    const body = { type: 'invalid_request_error' as const, code: 'rate_limit', message };
    return new StripeFailure(429, body, { saved: fault.saved ?? false });
  }
  const saved = fault.saved ?? true;
  const message = 'An unknown error occurred. (Injected by the emulator.)';
  // A saved 500 would only be replayed, so Stripe tells its clients not to retry it by themselves.
  const headers: Record<string, string> = saved ? { 'Stripe-Should-Retry': 'false' } : {};
  return new StripeFailure(status, { type: 'api_error', message }, { saved, headers });
}
