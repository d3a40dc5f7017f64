import type { FaultEffects } from './account.ts';
import { StripeFailure } from './wire.ts';

/** A fault to inject into the next requests that match. */
export type RequestFault = {
  /** The number of requests that it affects. */
  times: number;
  method?: 'DELETE' | 'GET' | 'POST';
  /** A prefix of the path: `/v1/refunds`. */
  path?: string;
  /** `status` returns an error, `hang` sends no response, `drop` closes the connection, `delay` responds late. */
  action: 'delay' | 'drop' | 'hang' | 'status';
  /** The status that the action `status` returns. Default: 500. 400: the account may not charge this amount. */
  status?: 400 | 429 | 500 | 503;
  /** Whether the request takes effect. By default it does with `drop` and `delay`, and not with `hang` and `status`. */
  acts?: boolean;
  /** For `status`: whether an idempotency key keeps the error. Default: true for 500 and 503, as with Stripe. */
  saved?: boolean;
  /** Events of this request, and of the jobs that it schedules, are never delivered. */
  loseEvents?: boolean;
  /** A payment attempt in this request stays `processing` and gets this outcome after `decideMs`. */
  decides?: 'decline' | 'succeed';
  /** Milliseconds. Default: 1000. */
  decideMs?: number;
  /**
   * For `delay`, `hang` and a `status` that is not saved: milliseconds. A hang without it lasts until the client
   * disconnects.
   */
  ms?: number;
};

/** The faults that are not used up yet, in the order in which they were added. */
export class RequestFaults {
  readonly #pending: RequestFault[] = [];
  /** Ids of objects that exist although their request got an injected error, which its idempotency key keeps. */
  readonly hidden: string[] = [];

  add(fault: RequestFault): void {
    if (fault.times > 0) this.#pending.push({ ...fault });
  }

  clear(): void {
    this.#pending.length = 0;
  }

  list(): RequestFault[] {
    return this.#pending;
  }

  /** Returns the fault for this request and uses it up once. */
  take(method: string, path: string): RequestFault | null {
    const index = this.#pending.findIndex(
      (fault) => (fault.method ?? method) === method && path.startsWith(fault.path ?? ''),
    );
    const fault = this.#pending[index];
    if (fault === undefined) return null;
    fault.times -= 1;
    if (fault.times === 0) this.#pending.splice(index, 1);
    return fault;
  }
}

/** What the fault changes besides the response. */
export function faultEffects(fault: RequestFault | null): FaultEffects {
  return {
    ...(fault?.loseEvents === true ? { loseEvents: true } : {}),
    ...(fault?.decides === undefined ? {} : { decides: { outcome: fault.decides, ms: fault.decideMs ?? 1000 } }),
  };
}

/** Whether a request with this fault takes effect. */
export function takesEffect(fault: RequestFault | null): boolean {
  return fault?.acts ?? (fault === null || fault.action === 'drop' || fault.action === 'delay');
}

/** The error that the fault returns, or null if it returns none. */
export function faultError(fault: RequestFault | null): StripeFailure | null {
  if (fault?.action !== 'status') return null;
  const status = fault.status ?? 500;
  if (status === 429) {
    const message = 'Testmode request rate limit exceeded, the rate limits in testmode are lower than livemode.';
    const body = { type: 'invalid_request_error' as const, code: 'rate_limit', message };
    return new StripeFailure(429, body, { saved: fault.saved ?? false });
  }
  if (status === 400) {
    const message = 'The amount exceeds the limit of this account. (Injected by the emulator.)';
    const body = { type: 'invalid_request_error' as const, code: 'amount_too_large', param: 'amount', message };
    return new StripeFailure(400, body, { saved: fault.saved ?? false });
  }
  const saved = fault.saved ?? true;
  const message = 'An unknown error occurred. (Injected by the emulator.)';
  // A retry would only receive the saved 500 again, so Stripe tells its SDKs not to retry.
  const headers: Record<string, string> = saved ? { 'Stripe-Should-Retry': 'false' } : {};
  return new StripeFailure(status, { type: 'api_error', message }, { saved, headers });
}
