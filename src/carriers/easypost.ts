import * as z from 'zod';
import { type Address, type Carrier, CarrierError, type Label, type LabelRequest } from './carrier.ts';
import { isEasyPostWebhook, parseEasyPostWebhook } from './easypost-tracking.ts';
import {
  callProvider,
  cheapest,
  downloadPdf,
  globalSend,
  indicatesOutage,
  type Provider,
  providerError,
  type Send,
} from './provider.ts';

/** `webhookSecrets`: the `webhook_secret` of the webhook, and the previous one while it is being replaced. */
export type EasyPostSettings = {
  apiKey: string;
  webhookSecrets: string[];
  baseUrl?: string | undefined;
  fetch?: Send | undefined;
  timeoutMs?: number | undefined;
};

const rate = z.object({ id: z.string(), carrier: z.string(), rate: z.string() });
const postalAddress = z.object({
  name: z.string().nullish(),
  company: z.string().nullish(),
  street1: z.string().nullish(),
  street2: z.string().nullish(),
  city: z.string().nullish(),
  zip: z.string().nullish(),
  country: z.string().nullish(),
});
const shipment = z.object({
  id: z.string(),
  to_address: postalAddress.nullish(),
  reference: z.string().nullish(),
  tracking_code: z.string().nullish(),
  refund_status: z.string().nullish(),
  rates: z.array(rate).nullish(),
  selected_rate: rate.nullish(),
  messages: z.array(z.object({ message: z.unknown() })).nullish(),
  postage_label: z
    .object({
      label_url: z.string().nullish(),
      label_pdf_url: z.string().nullish(),
      label_file_type: z.string().nullish(),
    })
    .nullish(),
});
type Shipment = z.infer<typeof shipment>;
const quote = shipment.pick({ rates: true, messages: true });
const quotedShipment = shipment.pick({ id: true, rates: true, messages: true });

// The purchase may have succeeded or may still be in progress. The retry looks for it before it buys.
const undecidedCodes = ['SHIPMENT.PURCHASE.IN_PROGRESS', 'SHIPMENT.POSTAGE.TIMED_OUT', 'SHIPMENT.POSTAGE.NO_RESPONSE'];

const errorBody = z.object({
  error: z.object({
    code: z.string().nullish(),
    message: z.string().nullish().catch(null),
    errors: z
      .array(z.union([z.string(), z.object({ field: z.string(), message: z.string() })]))
      .nullish()
      .catch(null),
  }),
});

const parseError = (body: unknown): { text: string; code?: string | undefined } => {
  const parsed = errorBody.safeParse(body);
  if (!parsed.success) return { text: '' };
  const { code, message, errors } = parsed.data.error;
  const fields = (errors ?? []).map((each) => (typeof each === 'string' ? each : `${each.field}: ${each.message}`));
  const text = [[code, message].filter(Boolean).join(' '), ...fields].join('; ');
  return { text, code: code ?? undefined };
};

const easyPostAddress = (address: Address) => ({
  name: address.name,
  company: address.company,
  street1: address.line1,
  street2: address.line2,
  city: address.city,
  state: address.region,
  zip: address.postalCode,
  country: address.country,
  phone: address.phone,
  email: address.email,
});

// EasyPost takes ounces and inches with one decimal. Rounded up, since carriers charge for what they measure.
const tenths = (value: number): number => Math.ceil(value * 10) / 10;
const ounces = (grams: number): number => tenths(grams / 28.349523125);
const inches = (millimetres: number): number => tenths(millimetres / 25.4);

// Whether an EasyPost shipment was made for the requested address. EasyPost may have changed case and punctuation.
const isSameRecipient = (found: Shipment, request: LabelRequest): boolean => {
  const wanted = postalAddress.parse(easyPostAddress(request.to));
  const plain = (text: string | null | undefined) => (text ?? '').toUpperCase().replace(/[^\p{L}\p{N}]/gu, '');
  const fields = ['name', 'company', 'street1', 'street2', 'city', 'zip', 'country'] as const;
  return fields.every((field) => plain(found.to_address?.[field]) === plain(wanted[field]));
};
const maxAddresses = 9;

// `not_applicable`: the carrier charges only for scanned parcels, so an unused label costs nothing.
// https://docs.easypost.com/docs/shipments/shipping-refund
const isVoid = ({ refund_status: status }: Shipment): boolean =>
  ['submitted', 'refunded', 'not_applicable'].includes(status ?? '');

/**
 * EasyPost (https://docs.easypost.com, API v2): buys the cheapest rate of the merchant's carrier accounts.
 *
 * Repeating `createLabel`: the EasyPost shipment has our shipment's id as its `reference`, which works in place of its
 * id, so a repeated call finds it. EasyPost sells one label for a shipment and rejects a second purchase with
 * SHIPMENT.POSTAGE.EXISTS; the label is then read. So nothing is bought twice, provided that calls for one shipment do
 * not overlap (two at once could make two EasyPost shipments). If nothing was bought and the address has changed, a new
 * EasyPost shipment is made, with a suffix in its reference. A refunded label is not bought again.
 *
 * Webhooks: `X-Hmac-Signature: hmac-sha256-hex=…` over the body, with the secret in NFKD. The signature has no time, so
 * deduplicate by `eventId`.
 */
export function makeEasyPost(settings: EasyPostSettings): Carrier {
  const provider: Provider = {
    name: 'easypost',
    baseUrl: settings.baseUrl ?? 'https://api.easypost.com/v2',
    headers: { Authorization: `Basic ${btoa(`${settings.apiKey}:`)}` },
    secrets: [settings.apiKey],
    timeoutMs: settings.timeoutMs ?? 20_000,
    send: settings.fetch ?? globalSend,
    parseError,
  };

  const get = (id: string, signal?: AbortSignal): Promise<Shipment> =>
    callProvider(provider, { method: 'GET', path: `/shipments/${encodeURIComponent(id)}`, signal }, shipment);

  const findShipment = async (reference: string, signal?: AbortSignal): Promise<Shipment | undefined> => {
    try {
      const found = await get(reference, signal);
      return found.reference === reference ? found : undefined;
    } catch (error) {
      if (error instanceof CarrierError && error.status === 404) return undefined;
      throw error;
    }
  };

  const findEarlier = async (request: LabelRequest, signal?: AbortSignal) => {
    for (let turn = 1; turn <= maxAddresses; turn += 1) {
      const reference = turn === 1 ? request.shipmentId : `${request.shipmentId}:${turn}`;
      const earlier = await findShipment(reference, signal);
      if (!earlier || earlier.postage_label || isSameRecipient(earlier, request)) return { reference, earlier };
    }
    throw new CarrierError('easypost', 'too many addresses were tried for this shipment', true);
  };

  // The rates of an earlier shipment may have expired.
  const quoteFor = async (earlier: Shipment | undefined, newShipment: unknown, signal?: AbortSignal) => {
    if (!earlier) {
      const call = { method: 'POST' as const, path: '/shipments', body: { shipment: newShipment }, signal };
      return callProvider(provider, call, quotedShipment);
    }
    const path = `/shipments/${encodeURIComponent(earlier.id)}/rerate`;
    return { id: earlier.id, ...(await callProvider(provider, { method: 'POST', path, body: {}, signal }, quote)) };
  };

  const buy = async (id: string, rateId: string, signal?: AbortSignal): Promise<Shipment> => {
    try {
      const path = `/shipments/${encodeURIComponent(id)}/buy`;
      return await callProvider(provider, { method: 'POST', path, body: { rate: { id: rateId } }, signal }, shipment);
    } catch (error) {
      if (!(error instanceof CarrierError)) throw error;
      if (error.code === 'SHIPMENT.POSTAGE.EXISTS') return get(id, signal);
      if (!error.permanent) throw error;
      if (!undecidedCodes.includes(error.code ?? '') && !indicatesOutage(error.message)) throw error;
      throw new CarrierError(
        'easypost',
        'the provider did not confirm the purchase',
        false,
        error.code ? { code: error.code } : {},
      );
    }
  };

  const labelOf = (bought: Shipment): Label => {
    if (bought.refund_status === 'submitted' || bought.refund_status === 'refunded') {
      throw new CarrierError('easypost', 'the label of this shipment was refunded', true);
    }
    if (!bought.tracking_code || !bought.postage_label)
      throw new CarrierError('easypost', 'the label is not ready yet', false);
    return {
      trackingNumber: bought.tracking_code,
      carrier: bought.selected_rate?.carrier ?? 'easypost',
      labelUrl: bought.postage_label.label_pdf_url ?? bought.postage_label.label_url ?? undefined,
      externalId: bought.id,
    };
  };

  return {
    name: 'easypost',

    async createLabel(request: LabelRequest, signal) {
      const { reference, earlier } = await findEarlier(request, signal);
      if (earlier?.postage_label) return labelOf(earlier);
      const { weightGrams, lengthMm, widthMm, heightMm } = request.parcel;
      const newShipment = {
        reference,
        to_address: easyPostAddress(request.to),
        from_address: easyPostAddress(request.from),
        parcel: {
          weight: ounces(weightGrams),
          length: inches(lengthMm),
          width: inches(widthMm),
          height: inches(heightMm),
        },
        options: { label_format: 'PDF', label_size: '4x6', print_custom_1: request.reference.slice(0, 50) },
      };
      const quoted = await quoteFor(earlier, newShipment, signal);
      const best = cheapest((quoted.rates ?? []).map((each) => ({ id: each.id, price: each.rate })));
      if (!best) {
        const text = (quoted.messages ?? [])
          .map((each) => (typeof each.message === 'string' ? each.message : ''))
          .join(' ');
        throw providerError(provider, `no carrier takes this parcel. ${text}`, !indicatesOutage(text));
      }
      return labelOf(await buy(quoted.id, best.id, signal));
    },

    async printLabel(request, label, signal) {
      const id = label.externalId ?? (await findEarlier(request, signal)).earlier?.id ?? request.shipmentId;
      let { postage_label: printed } = await get(id, signal);
      if (!printed?.label_pdf_url && printed?.label_file_type !== 'application/pdf') {
        const path = `/shipments/${encodeURIComponent(id)}/label?file_format=PDF`;
        ({ postage_label: printed } = await callProvider(provider, { method: 'GET', path, signal }, shipment));
      }
      return downloadPdf(provider, printed?.label_pdf_url ?? printed?.label_url ?? '', signal);
    },

    async voidLabel(request, label, signal) {
      const found = label?.externalId
        ? await get(label.externalId, signal)
        : (await findEarlier(request, signal)).earlier;
      if (!found?.postage_label || isVoid(found)) return;
      const path = `/shipments/${encodeURIComponent(found.id)}/refund`;
      const voided = await callProvider(provider, { method: 'POST', path, body: {}, signal }, shipment).catch(
        async (error: unknown) => {
          if (!(error instanceof CarrierError && error.permanent)) throw error;
          // An earlier request whose response was lost may have taken effect since the lookup.
          const current = await get(found.id, signal);
          if (isVoid(current)) return current;
          throw error;
        },
      );
      // `rejected` can be retried: a label that is minutes old is often not known to its carrier yet.
      if (!isVoid(voided))
        throw new CarrierError('easypost', `the refund is ${voided.refund_status ?? 'unknown'}`, false);
    },

    async verifyWebhook(headers, body) {
      return isEasyPostWebhook(headers, body, settings.webhookSecrets);
    },

    parseWebhook: parseEasyPostWebhook,
  };
}
