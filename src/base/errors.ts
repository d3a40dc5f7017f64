/** Every error code of the API with its HTTP status. The list is closed, because clients switch on the codes. */
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
  variant_taken: 409,
  slug_taken: 409,
  email_taken: 409,
  insufficient_inventory: 409,
  price_changed: 409,
  order_not_cancellable: 409,
  order_not_payable: 409,
  campaign_full: 409,
  campaign_not_open: 409,
  team_full: 409,
  team_not_open: 409,
  limit_per_customer: 409,
  customer_not_eligible: 409,
  cart_not_open: 409,
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
  cart_incomplete: 422,
  discount_invalid: 422,
  rate_limited: 429,
  internal: 500,
  unavailable: 503,
} as const;

export type Code = keyof typeof statusOf;

/** One invalid part of a request. `pointer`: a JSON pointer (RFC 6901) into the body, or a parameter or header name. */
export type Fault = { pointer: string; detail: string };

/** The detail of a fault about an unknown field. The field's name comes from the client and is kept out of the log. */
export const unknownField = 'Unknown field';
/** The beginning of the detail of a fault about an unknown parameter, whose name is kept out of the log too. */
export const unknownParameter = 'Unknown parameter.';

/** Turns a path into a body into a JSON pointer (RFC 6901). */
export const pointerTo = (path: readonly PropertyKey[]): string =>
  path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');

/** The client closed its connection before its whole request had arrived, so nobody reads the response. */
export class ClientGone extends Error {
  constructor() {
    super('the client has closed its connection');
    this.name = 'ClientGone';
  }
}

/** An error that is returned to the client under its code. src/http turns it into a problem document. */
export class ApiError extends Error {
  readonly code: Code;
  readonly detail: string | undefined;
  readonly faults: Fault[] | undefined;
  /** Extra fields of the problem document that the API documents for this code (`orderId`, `shortages`). */
  readonly members: Record<string, unknown>;
  /** Response headers for this error (`Retry-After`). */
  readonly headers: Record<string, string>;
  /** Whether this repeats the first response to the same idempotency key. */
  readonly replayed: boolean;
  /** The caller's tenant, for the log, if the database had authenticated the caller before the error. */
  readonly tenant: string | undefined;

  constructor(
    code: Code,
    detail?: string,
    options: {
      faults?: Fault[];
      members?: Record<string, unknown>;
      headers?: Record<string, string>;
      replayed?: boolean;
      tenant?: string | undefined;
    } = {},
  ) {
    // Nothing reads the stack trace of an ApiError, and capturing it costs as much as the rest of a small error.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(detail ?? code);
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'ApiError';
    this.code = code;
    this.detail = detail;
    this.faults = options.faults;
    this.members = options.members ?? {};
    this.headers = options.headers ?? {};
    this.replayed = options.replayed ?? false;
    this.tenant = options.tenant;
  }
}

export const isCode = (code: unknown): code is Code => typeof code === 'string' && code in statusOf;
