import * as z from 'zod';
import { exact, instant, text } from '../base/fields.ts';
import { isFreshAndSignedBy } from '../base/signature.ts';
import type { Carrier, Label, LabelRequest } from './carrier.ts';
import { drawLabel } from './label/label.ts';
import { webhookBody } from './provider.ts';

/** `webhookSecrets`: any of them signs a tracking update; none at all means that none is ever taken. */
export type ManualSettings = { webhookSecrets: string[] };

const update = z.object({
  eventId: exact(255),
  trackingNumber: exact(64),
  status: z.enum(['created', 'in_transit', 'delivered', 'exception']),
  occurredAt: instant,
  detail: text(500).optional(),
});

/**
 * The tracking number of a shipment that we carry ourselves: `FC`, 18 digits of the SHA-256 of its id, two check digits
 * (ISO 7064 MOD 97-10, so that a mistyped or swapped digit is noticed). The same id gives the same number; two ids share
 * one with a chance of 1 in 10^18. Twenty digits, because Code 128 packs them in pairs.
 */
export async function trackingNumberOf(shipmentId: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(`manual:${shipmentId}`));
  const number = new DataView(digest).getBigUint64(0) % 10n ** 18n;
  const check = 98n - ((number * 100n) % 97n);
  return `FC${String(number).padStart(18, '0')}${String(check).padStart(2, '0')}`;
}

/**
 * The embedded carrier: the merchant's own hands, or any carrier that is not connected. Nothing is bought and nobody is
 * called, so `createLabel` fails only for an address that cannot be printed, and repeating it gives the same number and
 * the same bytes without any state.
 *
 * Tracking updates come from the merchant's own systems: `{eventId, trackingNumber, status, occurredAt, detail?}` with
 * `X-Signature: t=<unix seconds>,v1=<hex of HMAC-SHA256 over "<t>.<body>">`, at most 300 s old or ahead.
 */
export function makeManual({ webhookSecrets }: ManualSettings): Carrier {
  return {
    name: 'manual',

    async createLabel(request: LabelRequest): Promise<Label> {
      const trackingNumber = await trackingNumberOf(request.shipmentId);
      return { trackingNumber, carrier: 'manual', pdf: drawLabel(request, trackingNumber) };
    },

    async printLabel(request, label) {
      return drawLabel(request, label.trackingNumber);
    },

    /** Nothing was bought, so nothing is to be given back. */
    async voidLabel() {},

    async verifyWebhook(headers, body, now) {
      return isFreshAndSignedBy(webhookSecrets, headers.get('X-Signature') ?? '', body, now);
    },

    parseWebhook(rawBody) {
      return webhookBody('manual', rawBody, update);
    },
  };
}
