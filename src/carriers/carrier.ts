import type { LazyBody } from '../base/signature.ts';

/** A postal address. `country` is ISO 3166-1 alpha-2; `postalCode` may be empty where a country has none. */
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

/** A packed box: whole grams and whole millimetres. */
export type Parcel = { weightGrams: number; lengthMm: number; widthMm: number; heightMm: number };

/** What a label is made from. `shipmentId` is our row's UUIDv7 and the idempotency key; `reference` is printed. */
export type LabelRequest = {
  shipmentId: string;
  orderId: string;
  to: Address;
  from: Address;
  parcel: Parcel;
  reference: string;
};

/**
 * A label that exists. `carrier` is who carries the parcel (`USPS`, `manual`), `externalId` the provider's id, by which
 * `printLabel` finds it soonest. `labelUrl` is the provider's own link: it may expire, so hand out ours.
 */
export type Label = {
  trackingNumber: string;
  carrier: string;
  pdf?: Uint8Array | undefined;
  labelUrl?: string | undefined;
  externalId?: string | undefined;
};

export type TrackingStatus = 'created' | 'in_transit' | 'delivered' | 'exception';

/** One tracking update. `eventId` is the same in every delivery of it; `occurredAt` is ISO 8601 UTC. */
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
   * Makes the label. Repeating it with the same `shipmentId`, after any crash or lost answer, ends in the same label;
   * what each carrier needs for that is said at its own function. Calls for one shipment must not run side by side.
   * @throws CarrierError
   */
  createLabel(request: LabelRequest, signal?: AbortSignal): Promise<Label>;

  /**
   * The printable label (PDF) of a label that was made: drawn again, or downloaded from the provider.
   * @throws CarrierError
   */
  printLabel(request: LabelRequest, label: Label, signal?: AbortSignal): Promise<Uint8Array>;

  /**
   * Voids the label that was made for this request, so that nobody can ship with it and its price comes back. Without
   * `label` the carrier is searched for it; one that was never made or is void already is no error. May be repeated.
   * @throws CarrierError (permanent: the carrier does not void it, because it was used or is too old)
   */
  voidLabel(request: LabelRequest, label?: Label, signal?: AbortSignal): Promise<void>;

  /**
   * Whether the carrier sent this body, which is read only if the headers can be the carrier's. `query` is the URL's, for a
   * carrier that puts its secret there. Throws only if `body` does.
   */
  verifyWebhook(headers: Headers, body: LazyBody, now: Date, query?: URLSearchParams): Promise<boolean>;

  /**
   * The update in a verified body, or null where it is of a type that says nothing about a parcel's way.
   * @throws CarrierError (permanent) for a body that is not what the carrier documents
   */
  parseWebhook(rawBody: string): Tracking | null;
}

type Circumstances = { status?: number; code?: string; retryAfterSeconds?: number };

/**
 * A label or a webhook that the carrier would not take. `permanent`: the same request can never succeed (a bad address,
 * a parcel that is too large). Otherwise it is worth trying again: timeouts, 429, 5xx, and also a wrong key or an empty
 * wallet, which the operator can mend. The message holds the carrier's documented error text at most, never a secret.
 */
export class CarrierError extends Error {
  readonly carrier: string;
  readonly permanent: boolean;
  readonly status: number | undefined;
  readonly code: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(carrier: string, message: string, permanent: boolean, circumstances: Circumstances = {}) {
    super(`${carrier}: ${message}`);
    this.name = 'CarrierError';
    this.carrier = carrier;
    this.permanent = permanent;
    this.status = circumstances.status;
    this.code = circumstances.code;
    this.retryAfterSeconds = circumstances.retryAfterSeconds;
  }
}
