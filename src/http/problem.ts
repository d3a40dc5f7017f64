import { ApiError, type Code, statusOf, unknownField, unknownParameter } from '../base/errors.ts';

const wording: Record<Code, { title: string; detail: string }> = {
  malformed_json: { title: 'Malformed JSON', detail: 'The body is not valid JSON.' },
  invalid_cursor: { title: 'Invalid cursor', detail: 'Use the cursor as `nextCursor` gave it, with the same filters.' },
  idempotency_key_required: {
    title: 'Idempotency-Key required',
    detail: 'Send an `Idempotency-Key` header of 1 to 255 characters, a new one for each new operation.',
  },
  invalid_signature: { title: 'Invalid signature', detail: 'The signature does not match the body, or is too old.' },
  unauthenticated: {
    title: 'Not authenticated',
    detail: 'Send `Authorization: Bearer <key>` with a key that is known, not revoked and not expired.',
  },
  forbidden: { title: 'Forbidden', detail: 'This key may not do this.' },
  not_found: { title: 'Not found', detail: 'There is nothing here, or it is not yours.' },
  method_not_allowed: {
    title: 'Method not allowed',
    detail: 'There is no operation with this method at this path. `Allow` lists the methods that it has.',
  },
  sku_taken: { title: 'SKU taken', detail: 'A product with this SKU exists already.' },
  insufficient_inventory: { title: 'Not enough stock', detail: 'There is not enough stock. Nothing is held.' },
  price_changed: { title: 'Price changed', detail: 'A stated price differs from the catalog. Nothing was ordered.' },
  order_not_cancellable: { title: 'Order not cancellable', detail: 'The order can no longer be cancelled.' },
  order_not_payable: { title: 'Order not payable', detail: 'The order cannot be paid in the state that it is in.' },
  campaign_full: { title: 'Campaign full', detail: 'Every place of the campaign is taken.' },
  campaign_not_open: { title: 'Campaign not open', detail: 'The campaign has not started, is over or is settled.' },
  idempotency_in_progress: {
    title: 'Still in progress',
    detail: 'A request with this Idempotency-Key is still running. Repeat it in a moment.',
  },
  conflict: { title: 'Conflict', detail: 'The request conflicts with the present state.' },
  version_mismatch: {
    title: 'Version mismatch',
    detail: 'It was changed since you read it. Read it again and send its new ETag in `If-Match`.',
  },
  body_too_large: { title: 'Body too large', detail: 'A body may have 1 MB at most.' },
  unsupported_media_type: { title: 'Unsupported media type', detail: 'Send `Content-Type: application/json`.' },
  validation_failed: { title: 'Validation failed', detail: 'See `errors` for what does not fit. Nothing was changed.' },
  idempotency_key_reused: {
    title: 'Idempotency-Key reused',
    detail: 'This Idempotency-Key was used for another request. Use a new one.',
  },
  unknown_sku: { title: 'Unknown SKU', detail: 'A line names a SKU that is not for sale. Nothing was ordered.' },
  currency_mismatch: { title: 'Currency mismatch', detail: 'The currencies differ.' },
  refund_exceeds_payment: { title: 'Refund too large', detail: 'The refund exceeds what is left of the payment.' },
  rate_limited: { title: 'Too many requests', detail: 'Wait for as long as `Retry-After` says.' },
  internal: { title: 'Internal error', detail: 'Something went wrong on our side. Quote the requestId to support.' },
  unavailable: {
    title: 'Unavailable',
    detail: 'Something that we depend on is away. Repeat with the same Idempotency-Key: nothing happens twice.',
  },
};

/**
 * The error that a client is told. A value that PostgreSQL cannot store (SQLSTATE class 22) is the client's fault, though a
 * schema should have rejected it. Anything else that is not an ApiError becomes an opaque 500.
 */
export function errorOf(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
  return /^22[0-9A-Z]{3}$/.test(code)
    ? new ApiError('validation_failed', 'A value is not one that can be stored. Nothing was changed.')
    : new ApiError('internal');
}

export type Problem = {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance: string;
  code: Code;
  requestId: string;
  errors?: { pointer: string; detail: string }[];
};

/** The RFC 9457 document of a refusal. `type` is a reference into the API's own documentation. */
export function problemOf(error: ApiError, instance: string, requestId: string): Problem & Record<string, unknown> {
  return {
    type: `/docs#${error.code}`,
    title: wording[error.code].title,
    status: statusOf[error.code],
    detail: error.detail ?? wording[error.code].detail,
    instance,
    code: error.code,
    requestId,
    ...(error.faults ? { errors: error.faults } : {}),
    ...error.members,
  };
}

export const titleOf = (code: Code): string => wording[code].title;

/**
 * Why a request was refused, for the log: our own words, and where a value does not fit. Never a value or the name of an
 * unknown field.
 */
export function reasonOf({ code, detail, faults }: ApiError): string {
  const places = faults?.map(({ pointer, detail: wrong }) => {
    if (wrong === unknownField) return 'an unknown field';
    return wrong.startsWith(unknownParameter) ? 'an unknown parameter' : pointer || 'body';
  });
  if (places === undefined) return detail ?? wording[code].detail;
  const more = places.length > 5 ? ` and ${places.length - 5} more` : '';
  return `${detail ?? 'Does not fit'}: ${places.slice(0, 5).join(', ')}${more}`;
}
