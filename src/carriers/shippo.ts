import * as z from 'zod';
import { exact, remark } from '../base/fields.ts';
import { isFreshAndSignedBy, matchesSecret } from '../base/signature.ts';
import {
  type Address,
  type Carrier,
  CarrierError,
  type Label,
  type LabelRequest,
  type TrackingStatus,
} from './carrier.ts';
import {
  callProvider,
  cheapest,
  downloadPdf,
  globalSend,
  indicatesOutage,
  type Provider,
  providerError,
  type Send,
  utc,
  webhookBody,
} from './provider.ts';

/** `webhookSecrets`: HMAC secrets that Shippo issued, or the tokens in the webhook's URL. */
export type ShippoSettings = {
  apiKey: string;
  webhookSecrets: string[];
  baseUrl?: string | undefined;
  fetch?: Send | undefined;
  timeoutMs?: number | undefined;
  now?: (() => Date) | undefined;
};

const rate = z.object({ object_id: z.string(), amount: z.string(), provider: z.string() });
const message = z.object({ code: z.string().nullish(), text: z.string().nullish() });
const messages = z.array(message).nullish();
const shipment = z.object({ rates: z.array(rate), messages });
const transaction = z.object({
  object_id: z.string(),
  status: z.string(),
  tracking_number: z.string().nullish(),
  label_url: z.string().nullish(),
  rate: z.union([z.string(), z.object({ provider: z.string() })]),
  messages,
});
const refund = z.object({ object_id: z.string(), status: z.enum(['QUEUED', 'PENDING', 'SUCCESS', 'ERROR']) });
const listedTransaction = z.object({
  object_id: z.string(),
  status: z.string().nullish(),
  metadata: z.string().nullish(),
});
const transactions = z.object({ next: z.string().nullish(), results: z.array(listedTransaction) });
type Transaction = z.infer<typeof transaction>;

const trackUpdated = z.object({ event: z.string(), data: z.unknown() });
const track = z.object({
  tracking_number: exact(255),
  tracking_status: z
    .object({
      object_id: exact(128).nullish(),
      status: z.string(),
      status_date: z.string().nullish(),
      object_created: z.string().nullish(),
      status_details: remark(500).nullish(),
    })
    .nullish(),
});

// https://docs.goshippo.com/docs/tracking/tracking. UNKNOWN carries no information.
const statuses = new Map<string, TrackingStatus>(
  Object.entries({
    PRE_TRANSIT: 'created',
    TRANSIT: 'in_transit',
    DELIVERED: 'delivered',
    RETURNED: 'exception',
    FAILURE: 'exception',
  }),
);

const isVoid = ({ status }: Transaction): boolean => ['ERROR', 'REFUNDED', 'REFUNDPENDING'].includes(status);

const joinMessages = (list: z.infer<typeof messages>): string =>
  (list ?? [])
    .map((each) => each.text ?? '')
    .join(' ')
    .trim();

// Errors are `{detail: text}` or `{field: [text, …]}`. Deeper values are kept out of our logs.
const parseError = (body: unknown): { text: string } => {
  const fields = z.record(z.string(), z.unknown()).safeParse(body);
  const texts = Object.entries(fields.data ?? {}).flatMap(([field, value]) => {
    const words = [value].flat().filter((each) => typeof each === 'string');
    return words.length === 0 ? [] : [`${field === 'detail' ? '' : `${field}: `}${words.join(' ')}`];
  });
  return { text: texts.join('; ') };
};

const shippoAddress = (address: Address) => ({
  name: address.name,
  company: address.company ?? '',
  street1: address.line1,
  street2: address.line2 ?? '',
  city: address.city,
  state: address.region ?? '',
  zip: address.postalCode,
  country: address.country,
  phone: address.phone ?? '',
  email: address.email ?? '',
});

// Our ids are UUIDv7: the first 48 bits are the time when the shipment's row was made. Clocks may differ a little.
const clockSkewMs = 10 * 60_000;
const lookBackMs = 90 * 86_400_000;
const maxPages = 20;

const searchStart = (shipmentId: string, now: Date): string => {
  const isV7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/i.test(shipmentId);
  const made = isV7 ? Number.parseInt(shipmentId.replaceAll('-', '').slice(0, 12), 16) : now.getTime() - lookBackMs;
  return `${new Date(Math.min(made, now.getTime()) - clockSkewMs).toISOString().slice(0, 19)}Z`;
};

/**
 * Shippo (https://docs.goshippo.com, API version 2018-02-08): buys the cheapest rate of the merchant's carrier
 * accounts.
 *
 * Repeating `createLabel`: Shippo has no idempotency key for labels. Each purchase carries our shipment's id as its
 * metadata. Before buying, the purchases made since our row was made are searched for it, up to 2,000; beyond that the
 * call fails rather than risk a second charge. So nothing is bought twice, provided that calls for one shipment do not
 * overlap and that Shippo lists a purchase by the time of the retry. A label that was refunded at Shippo is not bought
 * again.
 *
 * Webhooks: `Shippo-Auth-Signature: t=…,v1=…` if Shippo has issued an HMAC secret, otherwise the token in the URL
 * (`?token=…`). The token has no time, so deduplicate by `eventId`.
 */
export function makeShippo(settings: ShippoSettings): Carrier {
  const provider: Provider = {
    name: 'shippo',
    baseUrl: settings.baseUrl ?? 'https://api.goshippo.com',
    headers: { Authorization: `ShippoToken ${settings.apiKey}`, 'SHIPPO-API-VERSION': '2018-02-08' },
    secrets: [settings.apiKey],
    timeoutMs: settings.timeoutMs ?? 20_000,
    send: settings.fetch ?? globalSend,
    parseError,
  };

  const get = (id: string, signal?: AbortSignal): Promise<Transaction> =>
    callProvider(provider, { method: 'GET', path: `/transactions/${encodeURIComponent(id)}`, signal }, transaction);

  const findPurchase = async (shipmentId: string, signal?: AbortSignal): Promise<Transaction | undefined> => {
    const since = searchStart(shipmentId, settings.now?.() ?? new Date());
    for (let page = 1; page <= maxPages; page += 1) {
      const path = `/transactions?object_created_gte=${since}&results=100&page=${page}`;
      const { results, next } = await callProvider(provider, { method: 'GET', path, signal }, transactions);
      const found = results.find((each) => each.metadata === shipmentId && each.status !== 'ERROR');
      if (found) return get(found.object_id, signal);
      if (!next) return undefined;
    }
    throw new CarrierError(
      'shippo',
      'more than 2,000 labels: cannot find out whether this one was already bought. Look for it in Shippo',
      true,
    );
  };

  const labelOf = async (bought: Transaction, carrier: string | undefined, signal?: AbortSignal): Promise<Label> => {
    if (bought.status === 'ERROR') {
      const text = joinMessages(bought.messages);
      const codes = (bought.messages ?? []).map((each) => each.code ?? '').join(' ');
      throw providerError(provider, text || 'rejected the label', !indicatesOutage(`${codes} ${text}`));
    }
    if (bought.status.startsWith('REFUND') && bought.status !== 'REFUNDREJECTED') {
      throw new CarrierError('shippo', 'the label of this shipment was refunded', true);
    }
    if (!bought.tracking_number || !bought.label_url)
      throw new CarrierError('shippo', 'the label is not ready yet', false);
    const knownCarrier = carrier ?? (typeof bought.rate === 'string' ? undefined : bought.rate.provider);
    const path = `/rates/${encodeURIComponent(String(bought.rate))}`;
    return {
      trackingNumber: bought.tracking_number,
      carrier: knownCarrier ?? (await callProvider(provider, { method: 'GET', path, signal }, rate)).provider,
      labelUrl: bought.label_url,
      externalId: bought.object_id,
    };
  };

  return {
    name: 'shippo',

    async createLabel(request: LabelRequest, signal) {
      const earlier = await findPurchase(request.shipmentId, signal);
      if (earlier) return labelOf(earlier, undefined, signal);
      const { weightGrams, lengthMm, widthMm, heightMm } = request.parcel;
      const body = {
        address_to: shippoAddress(request.to),
        address_from: shippoAddress(request.from),
        parcels: [
          {
            length: String(lengthMm),
            width: String(widthMm),
            height: String(heightMm),
            distance_unit: 'mm',
            weight: String(weightGrams),
            mass_unit: 'g',
          },
        ],
        metadata: request.shipmentId,
        extra: { reference_1: request.reference.slice(0, 50) },
        async: false,
      };
      const quoted = await callProvider(provider, { method: 'POST', path: '/shipments', body, signal }, shipment);
      const best = cheapest(quoted.rates.map((each) => ({ ...each, id: each.object_id, price: each.amount })));
      if (!best) {
        const text = joinMessages(quoted.messages);
        throw providerError(provider, `no carrier takes this parcel. ${text}`, !indicatesOutage(text));
      }
      const purchase = { rate: best.id, label_file_type: 'PDF_4x6', metadata: request.shipmentId, async: false };
      const call = { method: 'POST' as const, path: '/transactions', body: purchase, signal };
      return labelOf(await callProvider(provider, call, transaction), best.provider, signal);
    },

    async printLabel(request, label, signal) {
      // The link is signed for a limited time. Reading the purchase again renews it.
      const { externalId } = label;
      const bought = externalId ? await get(externalId, signal) : await findPurchase(request.shipmentId, signal);
      return downloadPdf(provider, bought?.label_url ?? '', signal);
    },

    async voidLabel(request, label, signal) {
      const bought = label?.externalId
        ? await get(label.externalId, signal)
        : await findPurchase(request.shipmentId, signal);
      if (!bought || isVoid(bought)) return;
      if (bought.status !== 'SUCCESS' && bought.status !== 'REFUNDREJECTED')
        throw new CarrierError('shippo', `the label is still ${bought.status}`, false);
      const body = { transaction: bought.object_id, async: false };
      try {
        const { status } = await callProvider(provider, { method: 'POST', path: '/refunds', body, signal }, refund);
        // ERROR: the label was used. https://docs.goshippo.com/docs/billing_and_invoices/refundinglabels/
        if (status === 'ERROR') throw new CarrierError('shippo', 'the refund was rejected: the label was used', true);
      } catch (error) {
        if (!(error instanceof CarrierError && error.permanent)) throw error;
        // An earlier request whose response was lost may have taken effect since the lookup.
        if (!isVoid(await get(bought.object_id, signal))) throw error;
      }
    },

    async verifyWebhook(headers, body, now, query) {
      const signature = headers.get('Shippo-Auth-Signature');
      if (signature !== null) return isFreshAndSignedBy(settings.webhookSecrets, signature, body, now);
      return matchesSecret(settings.webhookSecrets, query?.get('token') ?? '');
    },

    parseWebhook(rawBody) {
      const { event, data } = webhookBody('shippo', rawBody, trackUpdated);
      if (event !== 'track_updated') return null;
      const { tracking_number, tracking_status: latest } = webhookBody('shippo', JSON.stringify(data ?? null), track);
      const status = statuses.get(latest?.status ?? '');
      if (!latest || status === undefined) return null;
      const occurredAt = utc(latest.status_date) ?? utc(latest.object_created);
      if (occurredAt === undefined) throw new CarrierError('shippo', 'a webhook with wrong fields: status_date', true);
      return {
        trackingNumber: tracking_number,
        eventId: `${latest.object_id ?? `${tracking_number}:${occurredAt}`}:${latest.status}`,
        status,
        occurredAt,
        detail: latest.status_details ?? undefined,
      };
    },
  };
}
