import * as z from 'zod';
import { exact, remark } from '../base/fields.ts';
import { isSignedBy, type LazyBody } from '../base/signature.ts';
import { CarrierError, type Tracking, type TrackingStatus } from './carrier.ts';
import { utc, webhookBody } from './provider.ts';

const event = z.object({
  id: exact(255),
  description: z.string(),
  created_at: z.string().nullish(),
  result: z.unknown(),
});
const detail = z.object({
  status: z.string().nullish(),
  datetime: z.string().nullish(),
  message: remark(500).nullish(),
});
const tracker = z.object({
  tracking_code: exact(255),
  status: z.string(),
  updated_at: z.string().nullish(),
  tracking_details: z.array(detail).nullish(),
});

// https://docs.easypost.com/docs/trackers. `unknown` means that the carrier has not reported anything yet.
const statuses = new Map<string, TrackingStatus>(
  Object.entries({
    pre_transit: 'created',
    in_transit: 'in_transit',
    out_for_delivery: 'in_transit',
    available_for_pickup: 'in_transit',
    delivered: 'delivered',
    return_to_sender: 'exception',
    failure: 'exception',
    cancelled: 'exception',
    error: 'exception',
  }),
);

const signaturePrefix = 'hmac-sha256-hex=';

/** Whether `X-Hmac-Signature` is the HMAC-SHA256 of the body with one of the secrets, which are normalized to NFKD. */
export function isEasyPostWebhook(headers: Headers, body: LazyBody, secrets: string[]): Promise<boolean> {
  const signature = headers.get('X-Hmac-Signature') ?? '';
  const hex = signature.startsWith(signaturePrefix) ? signature.slice(signaturePrefix.length) : '';
  const normalizedSecrets = secrets.map((secret) => secret.normalize('NFKD'));
  return isSignedBy(normalizedSecrets, body, hex);
}

/**
 * Parses an event of EasyPost. Returns null for an event that is not about a parcel's progress.
 * @throws CarrierError (permanent)
 */
export function parseEasyPostWebhook(rawBody: string): Tracking | null {
  const { id, description, created_at, result } = webhookBody('easypost', rawBody, event);
  if (description !== 'tracker.updated' && description !== 'tracker.created') return null;
  const parcel = webhookBody('easypost', JSON.stringify(result ?? null), tracker);
  const status = statuses.get(parcel.status);
  if (status === undefined) return null;
  const latest = (parcel.tracking_details ?? []).findLast((each) => each.status === parcel.status);
  const occurredAt = utc(latest?.datetime) ?? utc(parcel.updated_at) ?? utc(created_at);
  if (occurredAt === undefined) throw new CarrierError('easypost', 'a webhook with wrong fields: updated_at', true);
  const detail = latest?.message ?? undefined;
  return { trackingNumber: parcel.tracking_code, eventId: id, status, occurredAt, detail };
}
