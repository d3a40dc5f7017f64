import { createHmac } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import type { LabelRequest } from '../../src/carriers/carrier.ts';
import { makeEasyPost } from '../../src/carriers/easypost.ts';
import bought from '../fixtures/carriers/easypost-bought.json' with { type: 'json' };
import refusal from '../fixtures/carriers/easypost-error.json' with { type: 'json' };
import event from '../fixtures/carriers/easypost-event.json' with { type: 'json' };
import quoted from '../fixtures/carriers/easypost-shipment.json' with { type: 'json' };
import fixture from '../fixtures/carriers/request.json' with { type: 'json' };

const request: LabelRequest = fixture;
const apiKey = 'EZTK0123456789abcdef';
const now = new Date('2026-11-22T12:00:00Z');
const byReference = `GET /v2/shipments/${request.shipmentId}`;
const byId = `GET /v2/shipments/${quoted.id}`;
const buy = `POST /v2/shipments/${quoted.id}/buy`;
const rerate = `POST /v2/shipments/${quoted.id}/rerate`;
const label = {
  trackingNumber: bought.tracking_code,
  carrier: 'USPS',
  labelUrl: bought.postage_label.label_url,
  externalId: bought.id,
};

type Answer = { status?: number; body: unknown };
type Sent = { call: string; headers: Headers; body: Record<string, unknown> };
const fault = (code: string, status = 422): Answer => ({
  status,
  body: { error: { code, message: 'Words.', errors: [] } },
});

/** A fake EasyPost with one shipment, which is found by its reference and whose postage can be bought once. */
class EasyPost {
  sent: Sent[] = [];
  made = false;
  sold = 0;
  answers: Record<string, () => Answer | 'silence' | 'unreachable'> = {
    [byReference]: () => this.find(),
    [byId]: () => this.find(),
    'POST /v2/shipments': () => {
      this.made = true;
      return { status: 201, body: quoted };
    },
    [rerate]: () => ({ body: { rates: quoted.rates } }),
    [buy]: () => {
      if (this.sold > 0) return fault('SHIPMENT.POSTAGE.EXISTS');
      this.sold += 1;
      return { body: bought };
    },
  };

  private find(): Answer {
    return this.made ? { body: this.sold > 0 ? bought : quoted } : fault('NOT_FOUND', 404);
  }

  readonly fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const call = `${init.method} ${new URL(url).pathname}${new URL(url).search}`;
    this.sent.push({ call, headers: new Headers(init.headers), body: init.body ? JSON.parse(String(init.body)) : {} });
    const answer = this.answers[call]?.() ?? fault('NOT_FOUND', 404);
    if (answer === 'unreachable') throw new TypeError('fetch failed');
    if (answer === 'silence') {
      return new Promise((_, reject) => {
        const stop = () => reject(init.signal?.reason);
        if (init.signal?.aborted) stop();
        init.signal?.addEventListener('abort', stop);
      });
    }
    const text = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body);
    return new Response(text, { status: answer.status ?? 200 });
  };

  calls(): string[] {
    return this.sent.map((each) => each.call);
  }
}

let easyPost: EasyPost;
const carrier = (timeoutMs = 20_000) =>
  makeEasyPost({ apiKey, webhookSecrets: ['neu-ﬁne', 'old'], fetch: easyPost.fetch, timeoutMs });

beforeEach(() => {
  easyPost = new EasyPost();
});

const failure = async (attempt: Promise<unknown>) => {
  const error: unknown = await attempt.catch((reason: unknown) => reason);
  expect(JSON.stringify(error) + String(error)).not.toContain(apiKey);
  return error;
};

describe('an EasyPost label', () => {
  it('is bought at the lowest rate, with the shipment id as its reference', async () => {
    expect(await carrier().createLabel(request)).toEqual(label);
    expect(easyPost.calls()).toEqual([byReference, 'POST /v2/shipments', buy]);
    const [, made, purchase] = easyPost.sent;
    expect(made?.body).toMatchObject({
      shipment: {
        reference: request.shipmentId,
        to_address: { name: 'Zoë Łukasiewicz-Ñandú', street1: '1092 Indian Summer Court', state: 'CA', zip: '95122' },
        from_address: { company: 'Müller & Söhne GmbH', country: 'DE' },
        options: { label_format: 'PDF', label_size: '4x6', print_custom_1: 'PO-2026/117' },
      },
    });
    expect(purchase?.body).toEqual({ rate: { id: 'rate_a39910cfd937402fb77a9eaed223dcfe' } });
    expect(purchase?.headers.get('Authorization')).toBe(`Basic ${Buffer.from(`${apiKey}:`).toString('base64')}`);
  });

  it('never understates the parcel in ounces and inches', async () => {
    await carrier().createLabel(request);
    // 1250 g are 44.09 oz; 300, 200 and 105 mm are 11.81, 7.87 and 4.13 in.
    expect(easyPost.sent[1]?.body).toMatchObject({
      shipment: { parcel: { weight: 44.1, length: 11.9, width: 7.9, height: 4.2 } },
    });
  });

  it('is bought only once, even when a response is lost', async () => {
    for (const lost of ['POST /v2/shipments', buy]) {
      easyPost = new EasyPost();
      const genuine = easyPost.answers[lost];
      easyPost.answers[lost] = () => {
        genuine?.();
        return 'unreachable';
      };
      expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: false });
      if (genuine) easyPost.answers[lost] = genuine;
      expect(await carrier().createLabel(request)).toEqual(label);
      expect(await carrier().createLabel(request)).toEqual(label);
      expect(easyPost.sold).toBe(1);
      expect(easyPost.calls().filter((call) => call === 'POST /v2/shipments')).toHaveLength(1);
    }
  });

  it('is read from the shipment when EasyPost reports that its postage was already bought', async () => {
    easyPost.made = true;
    easyPost.sold = 1;
    easyPost.answers[byReference] = () => ({ body: quoted });
    expect(await carrier().createLabel(request)).toEqual(label);
    expect(easyPost.calls()).toEqual([byReference, rerate, buy, byId]);
  });

  it('is bought for the corrected address after the first address was rejected', async () => {
    easyPost.made = true;
    const corrected = { ...request, to: { ...request.to, line1: '1093 Indian Summer Court' } };
    expect(await carrier().createLabel(corrected)).toEqual(label);
    const second = `${request.shipmentId}:2`;
    expect(easyPost.calls()).toEqual([
      byReference,
      `GET /v2/shipments/${encodeURIComponent(second)}`,
      'POST /v2/shipments',
      buy,
    ]);
    expect(easyPost.sent[2]?.body).toMatchObject({
      shipment: { reference: second, to_address: { street1: '1093 Indian Summer Court' } },
    });
  });

  it('is not bought again when the address changes after the purchase', async () => {
    await carrier().createLabel(request);
    expect(await carrier().createLabel({ ...request, to: { ...request.to, line1: 'Elsewhere 1' } })).toEqual(label);
    expect(easyPost.sold).toBe(1);
  });

  it('is never read from a shipment with another reference', async () => {
    easyPost.answers[byReference] = () => ({ body: { ...bought, reference: 'another' } });
    expect(await carrier().createLabel(request)).toEqual(label);
    expect(easyPost.sold).toBe(1);
  });

  it('is not bought again after it was refunded', async () => {
    for (const refund_status of ['submitted', 'refunded']) {
      easyPost.answers[byReference] = () => ({ body: { ...bought, refund_status } });
      expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: true });
    }
    expect(easyPost.sold).toBe(0);
  });
});

describe('an EasyPost error', () => {
  it('is permanent for an invalid address, and quotes the messages of EasyPost', async () => {
    easyPost.answers['POST /v2/shipments'] = () => ({ status: 422, body: refusal });
    expect(await failure(carrier().createLabel(request))).toMatchObject({
      permanent: true,
      code: 'ADDRESS.VERIFY.FAILURE',
      message:
        'easypost: responded with 422: ADDRESS.VERIFY.FAILURE Address not found; address: Address not found; street1: House number is missing',
    });
  });

  it('is readable when its details are plain strings or missing', async () => {
    easyPost.answers['POST /v2/shipments'] = () => ({
      status: 422,
      body: { error: { code: 'SHIPMENT.INVALID_PARAMS', message: 'Wrong.', errors: ['parcel is required'] } },
    });
    expect(await failure(carrier().createLabel(request))).toMatchObject({
      message: 'easypost: responded with 422: SHIPMENT.INVALID_PARAMS Wrong.; parcel is required',
    });
    easyPost.answers['POST /v2/shipments'] = () => ({ status: 400, body: '<html>' });
    expect(await failure(carrier().createLabel(request))).toMatchObject({ message: 'easypost: responded with 400' });
  });

  it('is retryable for an empty wallet, 429 and 5xx', async () => {
    for (const status of [401, 402, 403, 429, 500, 503]) {
      easyPost.answers[buy] = () => fault('ANY', status);
      expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: false, status });
    }
  });

  it('is retryable while it is unknown whether the label was bought', async () => {
    for (const code of [
      'SHIPMENT.PURCHASE.IN_PROGRESS',
      'SHIPMENT.POSTAGE.TIMED_OUT',
      'SHIPMENT.POSTAGE.NO_RESPONSE',
    ]) {
      easyPost.answers[buy] = () => fault(code);
      expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: false, code });
    }
    easyPost.answers[buy] = () => fault('SHIPMENT.POSTAGE.FAILURE');
    expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: true });
    easyPost.answers[buy] = () => 'silence';
    expect(await failure(carrier(20).createLabel(request))).toMatchObject({
      permanent: false,
      message: 'easypost: no response in time',
    });
  });

  it('is permanent when no carrier takes the parcel', async () => {
    easyPost.answers['POST /v2/shipments'] = () => ({ body: { ...quoted, rates: [] } });
    expect(await failure(carrier().createLabel(request))).toMatchObject({
      permanent: true,
      message: 'easypost: no carrier takes this parcel. Shipment cannot weigh less than 16oz',
    });
  });
});

describe('a printable EasyPost label', () => {
  it('is downloaded without the API key, and is converted to PDF first if it has another format', async () => {
    easyPost.made = true;
    easyPost.sold = 1;
    const download = `GET ${new URL(bought.postage_label.label_url).pathname}`;
    easyPost.answers[download] = () => ({ body: '%PDF-1.4 label' });
    const bytes = await carrier().printLabel(request, label);
    expect(new TextDecoder().decode(bytes)).toBe('%PDF-1.4 label');
    expect(easyPost.sent.at(-1)?.headers.get('Authorization')).toBeNull();

    const png = { ...bought.postage_label, label_file_type: 'image/png', label_url: 'https://example.com/label.png' };
    easyPost.answers[byId] = () => ({ body: { ...bought, postage_label: png } });
    easyPost.answers[`${byId}/label?file_format=PDF`] = () => ({
      body: { ...bought, postage_label: { ...png, label_pdf_url: bought.postage_label.label_url } },
    });
    expect(await carrier().printLabel(request, label)).toEqual(bytes);
  });
});

describe('EasyPost webhooks', () => {
  const body = JSON.stringify(event);
  const sign = (secret: string) => `hmac-sha256-hex=${createHmac('sha256', secret).update(body).digest('hex')}`;
  const verify = (signature?: string, text = body) =>
    carrier().verifyWebhook(
      new Headers(signature === undefined ? {} : { 'X-Hmac-Signature': signature }),
      async () => Buffer.from(text),
      now,
    );

  it('are accepted with a signature by any of the secrets, which are normalized to Unicode NFKD', async () => {
    expect(await verify(sign('neu-ﬁne'.normalize('NFKD')))).toBe(true);
    expect(await verify(sign('old'))).toBe(true);
  });

  it('are rejected when they are forged, unsigned or modified', async () => {
    expect(await verify(sign('forged'))).toBe(false);
    expect(await verify()).toBe(false);
    expect(await verify(sign('old').replace('hmac-sha256-hex=', ''))).toBe(false);
    expect(await verify(sign('old'), body.replace('evt_', 'evx_'))).toBe(false);
  });

  it('give the status of the parcel, the time of its last scan and the id of the event', () => {
    expect(carrier().parseWebhook(body)).toEqual({
      trackingNumber: '9405500105440232839154',
      eventId: 'evt_ad2365c22d1511f0b5364ffbb3e7a1f1',
      status: 'in_transit',
      occurredAt: '2026-11-24T08:10:00.000Z',
      detail: 'OUT FOR DELIVERY',
    });
  });

  it('have a status for every documented EasyPost status', () => {
    const withStatus = (status: string) =>
      carrier().parseWebhook(JSON.stringify({ ...event, result: { ...event.result, status } }))?.status ?? null;
    expect(withStatus('pre_transit')).toBe('created');
    for (const word of ['in_transit', 'out_for_delivery', 'available_for_pickup'])
      expect(withStatus(word)).toBe('in_transit');
    expect(withStatus('delivered')).toBe('delivered');
    for (const word of ['return_to_sender', 'failure', 'cancelled', 'error'])
      expect(withStatus(word)).toBe('exception');
    for (const word of ['unknown', 'something_new']) expect(withStatus(word)).toBeNull();
  });

  it('take the time from the tracker if no scan has the status', () => {
    const result = { ...event.result, status: 'delivered' };
    const tracking = carrier().parseWebhook(JSON.stringify({ ...event, result }));
    expect(tracking).toMatchObject({ status: 'delivered', occurredAt: '2026-11-24T10:51:53.000Z' });
  });

  it('of other types are ignored, and malformed ones are rejected', () => {
    expect(carrier().parseWebhook(JSON.stringify({ ...event, description: 'batch.updated', result: {} }))).toBeNull();
    expect(() => carrier().parseWebhook(JSON.stringify({ ...event, result: {} }))).toThrow('tracking_code');
    expect(() => carrier().parseWebhook('no json')).toThrow('wrong fields');
  });
});

describe('voiding an EasyPost label', () => {
  const refundCall = `POST /v2/shipments/${quoted.id}/refund`;
  const calls = () => easyPost.sent.map(({ call }) => call);
  const refunded = (status: string | null) => () => ({ body: { ...bought, refund_status: status } });

  it('refunds the shipment, found by its EasyPost id or by its reference', async () => {
    easyPost.answers[byId] = refunded(null);
    easyPost.answers[byReference] = refunded(null);
    easyPost.answers[refundCall] = refunded('submitted');
    await carrier().voidLabel(request, label);
    await carrier().voidLabel(request);
    expect(calls()).toEqual([byId, refundCall, byReference, refundCall]);
  });

  it('does nothing if no label was bought or if it is already void', async () => {
    await carrier().voidLabel(request);
    for (const status of ['submitted', 'refunded', 'not_applicable']) {
      easyPost.answers[byId] = refunded(status);
      await carrier().voidLabel(request, label);
    }
    expect(calls()).not.toContain(refundCall);
  });

  it('is done if an earlier request has refunded the shipment after the lookup, and EasyPost rejects the second', async () => {
    let lookups = 0;
    easyPost.answers[byId] = () => refunded(++lookups === 1 ? null : 'submitted')();
    easyPost.answers[refundCall] = () => fault('SHIPMENT.REFUND.UNAVAILABLE');
    await carrier().voidLabel(request, label);
    expect(calls()).toEqual([byId, refundCall, byId]);
  });

  it('is retried after EasyPost rejected a refund, and fails for good when a refund is unavailable', async () => {
    easyPost.answers[byId] = refunded('rejected');
    easyPost.answers[refundCall] = refunded('rejected');
    expect(await failure(carrier().voidLabel(request, label))).toMatchObject({ permanent: false });
    easyPost.answers[refundCall] = () => fault('SHIPMENT.REFUND.UNAVAILABLE');
    expect(await failure(carrier().voidLabel(request, label))).toMatchObject({ permanent: true });
  });
});
