import * as z from 'zod';
import { exact, instant, text } from '../base/fields.ts';
import { isFreshAndSignedBy } from '../base/signature.ts';
import type { Carrier, Label, LabelRequest } from './carrier.ts';
import { drawLabel } from './label/label.ts';
import { webhookBody } from './provider.ts';

/** `webhookSecrets`: any of them may sign a tracking update. Without secrets every update is rejected. */
export type ManualSettings = { webhookSecrets: string[] };

const update = z.object({
  eventId: exact(255),
  trackingNumber: exact(64),
  status: z.enum(['created', 'in_transit', 'delivered', 'exception']),
  occurredAt: instant,
  detail: text(500).optional(),
});

/**
 * The tracking number of a shipment without a carrier account: `FC`, 18 digits from the SHA-256 of the shipment's id
 * and two check digits (ISO 7064 MOD 97-10, which detects a mistyped or swapped digit). The same id gives the same
 * number. Two ids have the same number with a probability of 1 in 10^18. There are twenty digits, because Code 128
 * packs them in pairs.
 */
export async function trackingNumberOf(shipmentId: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(`manual:${shipmentId}`));
  const number = new DataView(digest).getBigUint64(0) % 10n ** 18n;
  const check = 98n - ((number * 100n) % 97n);
  return `FC${String(number).padStart(18, '0')}${String(check).padStart(2, '0')}`;
}

/**
 * The built-in carrier: the merchant delivers, or uses a carrier that is not connected. It buys nothing and calls
 * nobody. So `createLabel` fails only for an address that cannot be printed, and a repeated call returns the same
 * number and the same bytes without any stored state.
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

    /** Nothing was bought, so there is nothing to void. */
    async voidLabel() {},

    async verifyWebhook(headers, body, now) {
      return isFreshAndSignedBy(webhookSecrets, headers.get('X-Signature') ?? '', body, now);
    },

    parseWebhook(rawBody) {
      return webhookBody('manual', rawBody, update);
    },
  };
}
