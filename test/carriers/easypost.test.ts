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

/** Stands in for EasyPost: one shipment, which is found by its reference and whose postage is sold once. */
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

describe('a label of EasyPost', () => {
  it('is bought at the lowest rate, with our shipment as its reference', async () => {
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

  it('is bought once, whichever answer was lost', async () => {
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

  it('is read when EasyPost says that it was sold already', async () => {
    easyPost.made = true;
    easyPost.sold = 1;
    easyPost.answers[byReference] = () => ({ body: quoted });
    expect(await carrier().createLabel(request)).toEqual(label);
    expect(easyPost.calls()).toEqual([byReference, rerate, buy, byId]);
  });

  it('is bought for the corrected address, when the first one was refused', async () => {
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

  it('is not bought again for a changed address, once it was bought', async () => {
    await carrier().createLabel(request);
    expect(await carrier().createLabel({ ...request, to: { ...request.to, line1: 'Elsewhere 1' } })).toEqual(label);
    expect(easyPost.sold).toBe(1);
  });

  it('is not taken from a shipment that has another reference', async () => {
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

describe('a failure at EasyPost', () => {
  it('is permanent for a bad address, in the words of EasyPost', async () => {
    easyPost.answers['POST /v2/shipments'] = () => ({ status: 422, body: refusal });
    expect(await failure(carrier().createLabel(request))).toMatchObject({
      permanent: true,
      code: 'ADDRESS.VERIFY.FAILURE',
      message:
        'easypost: responded with 422: ADDRESS.VERIFY.FAILURE Address not found; address: Address not found; street1: House number is missing',
    });
  });

  it('is understood with errors that are plain strings, or none at all', async () => {
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

  it('is worth repeating for an empty wallet, 429 and 5xx', async () => {
    for (const status of [401, 402, 403, 429, 500, 503]) {
      easyPost.answers[buy] = () => fault('ANY', status);
      expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: false, status });
    }
  });

  it('is worth repeating where it is open whether the label was sold', async () => {
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

describe('the printable label of EasyPost', () => {
  it('is downloaded without the key, and converted first where it was made in another format', async () => {
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

describe('webhooks of EasyPost', () => {
  const body = JSON.stringify(event);
  const sign = (secret: string) => `hmac-sha256-hex=${createHmac('sha256', secret).update(body).digest('hex')}`;
  const verify = (signature?: string, text = body) =>
    carrier().verifyWebhook(
      new Headers(signature === undefined ? {} : { 'X-Hmac-Signature': signature }),
      async () => Buffer.from(text),
      now,
    );

  it('are taken with the signature of any of the secrets, in Unicode NFKD', async () => {
    expect(await verify(sign('neu-ﬁne'.normalize('NFKD')))).toBe(true);
    expect(await verify(sign('old'))).toBe(true);
  });

  it('are refused when forged, unsigned or changed', async () => {
    expect(await verify(sign('forged'))).toBe(false);
    expect(await verify()).toBe(false);
    expect(await verify(sign('old').replace('hmac-sha256-hex=', ''))).toBe(false);
    expect(await verify(sign('old'), body.replace('evt_', 'evx_'))).toBe(false);
  });

  it('tell of a parcel on its way, with the time of its last scan and the id of the event', () => {
    expect(carrier().parseWebhook(body)).toEqual({
      trackingNumber: '9405500105440232839154',
      eventId: 'evt_ad2365c22d1511f0b5364ffbb3e7a1f1',
      status: 'in_transit',
      occurredAt: '2026-11-24T08:10:00.000Z',
      detail: 'OUT FOR DELIVERY',
    });
  });

  it('map every documented status', () => {
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

  it('fall back to the time of the tracker, where no scan has the status', () => {
    const result = { ...event.result, status: 'delivered' };
    const tracking = carrier().parseWebhook(JSON.stringify({ ...event, result }));
    expect(tracking).toMatchObject({ status: 'delivered', occurredAt: '2026-11-24T10:51:53.000Z' });
  });

  it('of other types are no tracking update, and malformed ones are refused', () => {
    expect(carrier().parseWebhook(JSON.stringify({ ...event, description: 'batch.updated', result: {} }))).toBeNull();
    expect(() => carrier().parseWebhook(JSON.stringify({ ...event, result: {} }))).toThrow('tracking_code');
    expect(() => carrier().parseWebhook('no json')).toThrow('wrong fields');
  });
});

describe('voiding a label at EasyPost', () => {
  const refundCall = `POST /v2/shipments/${quoted.id}/refund`;
  const calls = () => easyPost.sent.map(({ call }) => call);
  const refunded = (status: string | null) => () => ({ body: { ...bought, refund_status: status } });

  it('asks for the refund of the shipment, found by its id or by our reference', async () => {
    easyPost.answers[byId] = refunded(null);
    easyPost.answers[byReference] = refunded(null);
    easyPost.answers[refundCall] = refunded('submitted');
    await carrier().voidLabel(request, label);
    await carrier().voidLabel(request);
    expect(calls()).toEqual([byId, refundCall, byReference, refundCall]);
  });

  it('asks for nothing where no label was bought or where it is void already', async () => {
    await carrier().voidLabel(request);
    for (const status of ['submitted', 'refunded', 'not_applicable']) {
      easyPost.answers[byId] = refunded(status);
      await carrier().voidLabel(request, label);
    }
    expect(calls()).not.toContain(refundCall);
  });

  it('is tried again after a rejection, which EasyPost gives for labels that are too new, and ends with a refusal', async () => {
    easyPost.answers[byId] = refunded('rejected');
    easyPost.answers[refundCall] = refunded('rejected');
    expect(await failure(carrier().voidLabel(request, label))).toMatchObject({ permanent: false });
    easyPost.answers[refundCall] = () => fault('SHIPMENT.REFUND.UNAVAILABLE');
    expect(await failure(carrier().voidLabel(request, label))).toMatchObject({ permanent: true });
  });
});
