import type { LazyBody } from '../base/signature.ts';

/** A postal address. `country` is ISO 3166-1 alpha-2. `postalCode` may be empty for a country without postal codes. */
export type Address = {
  name: string;
  company?: string | undefined;
  line1: string;
  line2?: string | undefined;
  city: string;
  region?: string | undefined;
  postalCode: string;
  country: string;
  phone?: string | undefined;
  email?: string | undefined;
};

/** A packed parcel: whole grams and whole millimetres. */
export type Parcel = { weightGrams: number; lengthMm: number; widthMm: number; heightMm: number };

/** The input of a label. `shipmentId` is our row's UUIDv7 and the idempotency key. `reference` is printed. */
export type LabelRequest = {
  shipmentId: string;
  orderId: string;
  to: Address;
  from: Address;
  parcel: Parcel;
  reference: string;
};

/**
 * A label that was made. `carrier` transports the parcel (`USPS`, `manual`). `externalId` is the provider's id, by
 * which `printLabel` finds the label fastest. `labelUrl` is the provider's link, which may expire: give clients our own
 * link.
 */
export type Label = {
  trackingNumber: string;
  carrier: string;
  pdf?: Uint8Array | undefined;
  labelUrl?: string | undefined;
  externalId?: string | undefined;
};

export type TrackingStatus = 'created' | 'in_transit' | 'delivered' | 'exception';

/** One tracking update. `eventId` is the same in every delivery of the update. `occurredAt` is ISO 8601 in UTC. */
export type Tracking = {
  trackingNumber: string;
  eventId: string;
  status: TrackingStatus;
  occurredAt: string;
  detail?: string | undefined;
};

export interface Carrier {
  readonly name: string;

  /**
   * Makes the label. Repeating the call with the same `shipmentId`, after any crash or lost response, returns the same
   * label. Each carrier's function documents what that requires. Calls for one shipment must not overlap.
   * @throws CarrierError
   */
  createLabel(request: LabelRequest, signal?: AbortSignal): Promise<Label>;

  /**
   * Returns the printable label (PDF) of an existing label: draws it again, or downloads it from the provider.
   * @throws CarrierError
   */
  printLabel(request: LabelRequest, label: Label, signal?: AbortSignal): Promise<Uint8Array>;

  /**
   * Voids the label of this request, so that nobody can ship with it and its price is refunded. Without `label` the
   * carrier's labels are searched. A label that was never made or is void already is not an error. The call may be
   * repeated.
   * @throws CarrierError (permanent if the carrier does not void it, because it was used or is too old)
   */
  voidLabel(request: LabelRequest, label?: Label, signal?: AbortSignal): Promise<void>;

  /**
   * Whether the carrier sent this body. The body is read only if the headers can be the carrier's. `query` is the
   * URL's, for a carrier whose secret is in the URL. Throws only if `body` does.
   */
  verifyWebhook(headers: Headers, body: LazyBody, now: Date, query?: URLSearchParams): Promise<boolean>;

  /**
   * Parses a verified body. Returns null for an event that is not about a parcel's progress.
   * @throws CarrierError (permanent) if the body is not in the documented format
   */
  parseWebhook(rawBody: string): Tracking | null;
}

type ErrorContext = { status?: number; code?: string; retryAfterSeconds?: number };

/**
 * A carrier did not make, print or void a label, or a webhook was invalid. `permanent`: the same request can never
 * succeed (a bad address, an oversized parcel). Otherwise a retry can succeed: timeouts, 429, 5xx, and a wrong key or
 * an empty account balance, which the operator can fix. The message holds at most the carrier's documented error text,
 * never a secret.
 */
export class CarrierError extends Error {
  readonly carrier: string;
  readonly permanent: boolean;
  readonly status: number | undefined;
  readonly code: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(carrier: string, message: string, permanent: boolean, context: ErrorContext = {}) {
    super(`${carrier}: ${message}`);
    this.name = 'CarrierError';
    this.carrier = carrier;
    this.permanent = permanent;
    this.status = context.status;
    this.code = context.code;
    this.retryAfterSeconds = context.retryAfterSeconds;
  }
}
