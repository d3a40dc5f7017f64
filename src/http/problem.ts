import { ApiError, type Code, statusOf, unknownField, unknownParameter } from '../base/errors.ts';

const wording: Record<Code, { title: string; detail: string }> = {
  malformed_json: { title: 'Malformed JSON', detail: 'The body is not valid JSON.' },
  invalid_cursor: {
    title: 'Invalid cursor',
    detail: 'Send the cursor exactly as `nextCursor` returned it, with the same filters.',
  },
  idempotency_key_required: {
    title: 'Idempotency-Key required',
    detail: 'Send an `Idempotency-Key` header of 1 to 255 characters, a new one for each new operation.',
  },
  invalid_signature: { title: 'Invalid signature', detail: 'The signature does not match the body, or it is too old.' },
  unauthenticated: {
    title: 'Not authenticated',
    detail: 'Send `Authorization: Bearer <key>` with a valid key. This key is missing, unknown, revoked or expired.',
  },
  forbidden: { title: 'Forbidden', detail: 'This key does not have the scope that this operation needs.' },
  not_found: {
    title: 'Not found',
    detail:
      'There is no such path or resource, or it belongs to another tenant or shopper. Check the id, the key and, for ' +
      'carts and their orders, the `Cart-Token`.',
  },
  method_not_allowed: {
    title: 'Method not allowed',
    detail: 'This path has no operation with this method. `Allow` lists the methods that it has.',
  },
  sku_taken: { title: 'SKU taken', detail: 'A product with this SKU already exists.' },
  variant_taken: {
    title: 'Variant taken',
    detail: 'Another product of this group has the same options. Archive it, or give this one other options.',
  },
  email_taken: { title: 'E-mail taken', detail: 'Another customer has this e-mail address.' },
  slug_taken: { title: 'Slug taken', detail: 'Another resource of this kind has this slug.' },
  insufficient_inventory: {
    title: 'Not enough stock',
    detail: 'There is not enough stock. No units are held for this request.',
  },
  price_changed: {
    title: 'Price changed',
    detail: 'A price in the request differs from the catalog. Nothing was ordered.',
  },
  order_not_cancellable: { title: 'Order not cancellable', detail: 'The order can no longer be cancelled.' },
  order_not_payable: { title: 'Order not payable', detail: 'The order cannot be paid in its present status.' },
  campaign_full: { title: 'Campaign full', detail: 'Every place of the campaign is taken.' },
  campaign_not_open: { title: 'Campaign not open', detail: 'The campaign has not started, has ended, or is settled.' },
  team_full: {
    title: 'The team has no free place',
    detail: 'All places of the team are taken. Open a new team, or join another one.',
  },
  team_not_open: {
    title: 'The team takes no more places',
    detail: 'The team has ended, was cancelled or was merged into another one.',
  },
  limit_per_customer: {
    title: 'The customer has as many units as one may have',
    detail: 'The campaign limits the units of a customer. Ask for fewer.',
  },
  customer_not_eligible: {
    title: 'The customer may not join',
    detail: 'The campaign is for customers without a paid order.',
  },
  cart_not_open: {
    title: 'Cart not open',
    detail: 'The cart was ordered, or it has ended. `POST …/reopen` cancels an unpaid order and opens its cart again.',
  },
  idempotency_in_progress: {
    title: 'Still in progress',
    detail: 'A request with this Idempotency-Key is still running. Repeat it in a moment.',
  },
  conflict: { title: 'Conflict', detail: 'The request conflicts with the present state of the resource.' },
  version_mismatch: {
    title: 'Version mismatch',
    detail: 'The resource has changed since you read it. Read it again and send its new ETag in `If-Match`.',
  },
  body_too_large: { title: 'Body too large', detail: 'A body may have at most 1 MB.' },
  unsupported_media_type: { title: 'Unsupported media type', detail: 'Send `Content-Type: application/json`.' },
  validation_failed: {
    title: 'Validation failed',
    detail: '`errors` lists each fault with its place. Nothing was changed.',
  },
  idempotency_key_reused: {
    title: 'Idempotency-Key reused',
    detail: 'This Idempotency-Key was used for another request. Use a new one.',
  },
  unknown_sku: { title: 'Unknown SKU', detail: 'A line names a SKU that is not for sale. Nothing was ordered.' },
  currency_mismatch: { title: 'Currency mismatch', detail: 'The currencies differ.' },
  refund_exceeds_payment: {
    title: 'Refund too large',
    detail: 'The refund exceeds the amount of the payment that is not refunded yet.',
  },
  cart_incomplete: {
    title: 'Cart incomplete',
    detail: '`messages` lists what is missing and where. Nothing was ordered.',
  },
  discount_invalid: { title: 'Discount not valid', detail: 'A discount code is not valid for this order.' },
  rate_limited: { title: 'Too many requests', detail: 'Wait the number of seconds in `Retry-After`, then retry.' },
  internal: { title: 'Internal error', detail: 'The server failed. Give the `requestId` to support.' },
  unavailable: {
    title: 'Unavailable',
    detail: 'The database or a provider is unavailable. Retry with the same Idempotency-Key: nothing happens twice.',
  },
};

/**
 * The error that the client gets. A value that PostgreSQL cannot store (SQLSTATE class 22) is the client's fault,
 * though a schema should have rejected it. Anything else that is not an ApiError becomes an opaque 500.
 */
export function errorOf(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
  return /^22[0-9A-Z]{3}$/.test(code)
    ? new ApiError('validation_failed', 'A value cannot be stored. Nothing was changed.')
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

/** The RFC 9457 document of an error. `type` links to the code in the API's own reference. */
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
 * Why a request was rejected, for the log: our own text, and the place of each fault. Never a value, and never the name
 * of an unknown field, because the client chose it.
 */
export function reasonOf({ code, detail, faults }: ApiError): string {
  const places = faults?.map(({ pointer, detail: fault }) => {
    if (fault === unknownField) return 'an unknown field';
    return fault.startsWith(unknownParameter) ? 'an unknown parameter' : pointer || 'body';
  });
  if (places === undefined) return detail ?? wording[code].detail;
  const more = places.length > 5 ? ` and ${places.length - 5} more` : '';
  return `${detail ?? 'Not valid'}: ${places.slice(0, 5).join(', ')}${more}`;
}
