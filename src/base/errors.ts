/** Every code that an answer can carry, with its HTTP status. Closed: clients switch on these. */
export const statusOf = {
  malformed_json: 400,
  invalid_cursor: 400,
  idempotency_key_required: 400,
  invalid_signature: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  sku_taken: 409,
  insufficient_inventory: 409,
  price_changed: 409,
  order_not_cancellable: 409,
  order_not_payable: 409,
  campaign_full: 409,
  campaign_not_open: 409,
  idempotency_in_progress: 409,
  conflict: 409,
  version_mismatch: 412,
  body_too_large: 413,
  unsupported_media_type: 415,
  validation_failed: 422,
  idempotency_key_reused: 422,
  unknown_sku: 422,
  currency_mismatch: 422,
  refund_exceeds_payment: 422,
  rate_limited: 429,
  internal: 500,
  unavailable: 503,
} as const;

export type Code = keyof typeof statusOf;

/** One fault of a request: `pointer` is a JSON pointer (RFC 6901) into the body, or the name of a parameter or header. */
export type Fault = { pointer: string; detail: string };

/** The detail of a fault whose place is a name that the client has made up: that name stays out of the log. */
export const unknownField = 'Unknown field';
/** How the detail of a fault begins whose place is a parameter that the client has made up. */
export const unknownParameter = 'Unknown parameter.';

/** The JSON pointer (RFC 6901) to a place in a body. */
export const pointerTo = (path: readonly PropertyKey[]): string =>
  path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');

/** The client has closed its connection before its whole request had arrived: nobody waits for an answer. */
export class ClientGone extends Error {
  constructor() {
    super('the client has closed its connection');
    this.name = 'ClientGone';
  }
}

/** A refusal that the client is told by its code. It knows nothing of HTTP beyond that. */
export class ApiError extends Error {
  readonly code: Code;
  readonly detail: string | undefined;
  readonly faults: Fault[] | undefined;
  /** Further members of the problem document, as the contract has them for this code (`orderId`, `shortages`). */
  readonly members: Record<string, unknown>;
  /** Headers that belong to this refusal (`Retry-After`). */
  readonly headers: Record<string, string>;
  /** The first answer to this idempotency key, given again. */
  readonly replayed: boolean;
  /** Whose request it was, where the database knew that before it refused; for the log. */
  readonly tenant: string | undefined;

  constructor(
    code: Code,
    detail?: string,
    more: {
      faults?: Fault[];
      members?: Record<string, unknown>;
      headers?: Record<string, string>;
      replayed?: boolean;
      tenant?: string | undefined;
    } = {},
  ) {
    // Where a refusal was thrown is never looked at, and to find it out costs as much as the rest of a small refusal.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(detail ?? code);
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'ApiError';
    this.code = code;
    this.detail = detail;
    this.faults = more.faults;
    this.members = more.members ?? {};
    this.headers = more.headers ?? {};
    this.replayed = more.replayed ?? false;
    this.tenant = more.tenant;
  }
}

export const isCode = (code: unknown): code is Code => typeof code === 'string' && code in statusOf;
