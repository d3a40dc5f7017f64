import { createHmac } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import type { LabelRequest } from '../../src/carriers/carrier.ts';
import { makeShippo } from '../../src/carriers/shippo.ts';
import fixture from '../fixtures/carriers/request.json' with { type: 'json' };
import refund from '../fixtures/carriers/shippo-refund.json' with { type: 'json' };
import quoted from '../fixtures/carriers/shippo-shipment.json' with { type: 'json' };
import trackUpdated from '../fixtures/carriers/shippo-track-updated.json' with { type: 'json' };
import bought from '../fixtures/carriers/shippo-transaction.json' with { type: 'json' };
import failed from '../fixtures/carriers/shippo-transaction-error.json' with { type: 'json' };

const request: LabelRequest = fixture;
const apiKey = 'shippo_test_0123456789abcdef';
const now = new Date('2026-11-22T12:00:00Z');
const label = {
  trackingNumber: bought.tracking_number,
  carrier: 'USPS',
  labelUrl: bought.label_url,
  externalId: bought.object_id,
};

type Answer = { status?: number; body?: unknown; headers?: Record<string, string> };
type Sent = { method: string; path: string; query: URLSearchParams; headers: Headers; body: Record<string, unknown> };

/** A fake Shippo that stores the purchased labels and responds in the documented formats. */
class Shippo {
  sent: Sent[] = [];
  purchases: { object_id: string; status: string; metadata: string }[] = [];
  answers: Record<string, (sent: Sent) => Answer | 'silence' | 'unreachable'> = {
    'GET /transactions': () => ({ body: { next: null, previous: null, results: this.purchases } }),
    'POST /shipments': () => ({ status: 201, body: quoted }),
    'POST /transactions': ({ body }) => {
      this.purchases.push({ ...bought, metadata: String(body.metadata) });
      return { status: 201, body: { ...bought, rate: body.rate } };
    },
    [`GET /transactions/${bought.object_id}`]: () => ({ body: bought }),
  };

  readonly fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const { pathname: path, searchParams: query } = new URL(url);
    const body = init.body ? JSON.parse(String(init.body)) : {};
    const sent = { method: init.method ?? 'GET', path, query, headers: new Headers(init.headers), body };
    this.sent.push(sent);
    const answer = this.answers[`${sent.method} ${path}`]?.(sent) ?? { status: 404, body: { detail: 'Not found.' } };
    if (answer === 'unreachable') throw new TypeError(`fetch failed: ${url}`);
    if (answer === 'silence') {
      return new Promise((_, reject) => {
        const stop = () => reject(init.signal?.reason);
        if (init.signal?.aborted) stop();
        init.signal?.addEventListener('abort', stop);
      });
    }
    const text = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body);
    return new Response(text, { status: answer.status ?? 200, headers: answer.headers ?? {} });
  };

  calls(): string[] {
    return this.sent.map((each) => `${each.method} ${each.path}`);
  }
}

let shippo: Shippo;
const carrier = (timeoutMs = 20_000) =>
  makeShippo({ apiKey, webhookSecrets: ['new', 'old'], fetch: shippo.fetch, timeoutMs, now: () => now });

beforeEach(() => {
  shippo = new Shippo();
});

const failure = async (attempt: Promise<unknown>) => {
  const error: unknown = await attempt.catch((reason: unknown) => reason);
  expect(JSON.stringify(error) + String(error)).not.toContain(apiKey);
  return error;
};

describe('a Shippo label', () => {
  it('is bought at the lowest rate, with the shipment id as its metadata', async () => {
    expect(await carrier().createLabel(request)).toEqual(label);
    expect(shippo.calls()).toEqual(['GET /transactions', 'POST /shipments', 'POST /transactions']);
    const [, shipment, purchase] = shippo.sent;
    expect(shipment?.body).toMatchObject({
      address_to: { name: 'Zoë Łukasiewicz-Ñandú', street1: '1092 Indian Summer Court', zip: '95122', country: 'US' },
      address_from: { company: 'Müller & Söhne GmbH', city: 'Stuttgart', country: 'DE' },
      parcels: [{ length: '300', width: '200', height: '105', distance_unit: 'mm', weight: '1250', mass_unit: 'g' }],
      metadata: request.shipmentId,
      async: false,
    });
    expect(purchase?.body).toEqual({
      rate: 'aff85f101b6d45a29c6b0a5b4a9e0f11',
      label_file_type: 'PDF_4x6',
      metadata: request.shipmentId,
      async: false,
    });
    expect(purchase?.headers.get('Authorization')).toBe(`ShippoToken ${apiKey}`);
    expect(purchase?.headers.get('SHIPPO-API-VERSION')).toBe('2018-02-08');
  });

  it('is bought only once, even when the response to the purchase is lost', async () => {
    const { 'POST /transactions': buy } = shippo.answers;
    shippo.answers['POST /transactions'] = (sent) => {
      buy?.(sent);
      return 'unreachable';
    };
    expect(await failure(carrier().createLabel(request))).toMatchObject({
      permanent: false,
      message: 'shippo: could not be reached',
    });
    expect(await carrier().createLabel(request)).toEqual(label);
    expect(await carrier().createLabel(request)).toEqual(label);
    expect(shippo.calls().filter((call) => call === 'POST /transactions')).toHaveLength(1);
  });

  it('is searched in all purchases since the shipment was created, page by page', async () => {
    const others = Array.from({ length: 100 }, (_, index) => ({ ...bought, object_id: `t${index}`, metadata: null }));
    shippo.answers['GET /transactions'] = ({ query }) => {
      const page = Number(query.get('page'));
      return { body: { next: page < 3 ? 'more' : null, results: page < 3 ? others : [...others, bought] } };
    };
    expect(await carrier().createLabel(request)).toEqual(label);
    expect(shippo.calls()).not.toContain('POST /transactions');
    // The first 48 bits of the shipment's id are 2024-11-27T20:09:49.840Z; clocks may differ by ten minutes.
    expect(shippo.sent.map((each) => each.query.get('object_created_gte')).slice(0, 3)).toEqual(
      Array<string>(3).fill('2024-11-27T19:59:49Z'),
    );
  });

  it('is not bought while it is unknown whether it was already bought', async () => {
    shippo.answers['GET /transactions'] = () => ({ body: { next: 'more', results: [] } });
    expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: true });
    expect(shippo.calls()).not.toContain('POST /transactions');
  });

  it('is bought again after a failed purchase, and never after a refund', async () => {
    shippo.purchases = [failed];
    expect(await carrier().createLabel(request)).toEqual(label);
    shippo.answers[`GET /transactions/${bought.object_id}`] = () => ({ body: { ...bought, status: 'REFUNDPENDING' } });
    expect(await failure(carrier().createLabel(request))).toMatchObject({
      permanent: true,
      message: 'shippo: the label of this shipment was refunded',
    });
  });

  it('names its carrier, even if the purchase has only the id of the rate', async () => {
    shippo.purchases = [bought];
    shippo.answers[`GET /transactions/${bought.object_id}`] = () => ({
      body: { ...bought, rate: bought.rate.object_id },
    });
    shippo.answers[`GET /rates/${bought.rate.object_id}`] = () => ({ body: quoted.rates[1] });
    expect(await carrier().createLabel(request)).toEqual(label);
  });

  it('is retried while Shippo is still creating it', async () => {
    shippo.answers['POST /transactions'] = () => ({
      body: { ...bought, status: 'QUEUED', tracking_number: '', label_url: '' },
    });
    expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: false });
  });
});

describe('a Shippo error', () => {
  it('is permanent when the carrier rejects the address, and quotes the message of the carrier', async () => {
    shippo.answers['POST /transactions'] = () => ({ status: 201, body: failed });
    expect(await failure(carrier().createLabel(request))).toMatchObject({
      permanent: true,
      message: 'shippo: The address as submitted could not be found.',
    });
  });

  it('is retryable when the carrier behind Shippo did not respond', async () => {
    const messages = [{ source: 'UPS', code: 'carrier_timeout', text: 'UPS API did not respond. Please try again.' }];
    shippo.answers['POST /transactions'] = () => ({ body: { ...failed, messages } });
    expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: false });
    shippo.answers['POST /shipments'] = () => ({ body: { ...quoted, rates: [], messages } });
    expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: false });
  });

  it('is permanent when no carrier takes the parcel', async () => {
    shippo.answers['POST /shipments'] = () => ({
      body: { ...quoted, rates: [], messages: [{ source: 'USPS', code: '', text: 'Parcel exceeds maximum weight.' }] },
    });
    expect(await failure(carrier().createLabel(request))).toMatchObject({
      permanent: true,
      message: 'shippo: no carrier takes this parcel. Parcel exceeds maximum weight.',
    });
  });

  it('is permanent for 400 and 422, and retryable for 401, 429 and 5xx', async () => {
    const body = { detail: 'Something.', address_to: ['This field is required.'], nested: { secret: { deep: 1 } } };
    for (const [status, permanent] of [
      [400, true],
      [422, true],
      [401, false],
      [402, false],
      [409, false],
      [500, false],
      [503, false],
    ] as const) {
      shippo.answers['POST /shipments'] = () => ({ status, body });
      expect(await failure(carrier().createLabel(request))).toMatchObject({
        permanent,
        status,
        message: `shippo: responded with ${status}: Something.; address_to: This field is required.`,
      });
    }
  });

  it('has the time to wait that Shippo gives', async () => {
    shippo.answers['GET /transactions'] = () => ({
      status: 429,
      body: { detail: 'Slow down.' },
      headers: { 'Retry-After': '7' },
    });
    expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: false, retryAfterSeconds: 7 });
  });

  it('is retryable when the call times out or the caller aborts it', async () => {
    shippo.answers['POST /shipments'] = () => 'silence';
    expect(await failure(carrier(20).createLabel(request))).toMatchObject({
      permanent: false,
      message: 'shippo: no response in time',
    });
    const caller = new AbortController();
    shippo.answers['POST /shipments'] = () => {
      caller.abort();
      return 'silence';
    };
    expect(await failure(carrier().createLabel(request, caller.signal))).toMatchObject({
      permanent: false,
      message: 'shippo: no response in time',
    });
  });

  it('contains neither HTML nor the API key, whatever Shippo returns', async () => {
    shippo.answers['POST /shipments'] = () => ({ status: 502, body: `<html>${apiKey}</html>` });
    expect(await failure(carrier().createLabel(request))).toMatchObject({ message: 'shippo: responded with 502' });
    shippo.answers['POST /shipments'] = () => ({ status: 401, body: { detail: `Invalid token ${apiKey}` } });
    expect(await failure(carrier().createLabel(request))).toMatchObject({
      message: 'shippo: responded with 401: Invalid token [secret]',
    });
    shippo.answers['POST /shipments'] = () => ({ status: 400, body: { detail: 'x'.repeat(5000) } });
    expect(String(await failure(carrier().createLabel(request))).length).toBeLessThan(400);
    shippo.answers['POST /shipments'] = () => ({ body: { unexpected: true } });
    expect(await failure(carrier().createLabel(request))).toMatchObject({ permanent: false });
  });
});

describe('a printable Shippo label', () => {
  const path = `GET ${new URL(bought.label_url).pathname}`;

  it('is downloaded from a fresh URL, without the API key', async () => {
    shippo.answers[path] = () => ({ body: '%PDF-1.4 label' });
    const bytes = await carrier().printLabel(request, label);
    expect(new TextDecoder().decode(bytes)).toBe('%PDF-1.4 label');
    expect(shippo.sent.at(-1)?.headers.get('Authorization')).toBeNull();
    expect(shippo.calls()[0]).toBe(`GET /transactions/${bought.object_id}`);
  });

  it('is found by the shipment id if the id of the purchase was not stored', async () => {
    shippo.purchases = [bought];
    shippo.answers[path] = () => ({ body: '%PDF-1.4 label' });
    const bytes = await carrier().printLabel(request, { ...label, externalId: undefined });
    expect(new TextDecoder().decode(bytes)).toBe('%PDF-1.4 label');
  });

  it('is rejected if it is not a PDF or its URL is not HTTPS', async () => {
    shippo.answers[path] = () => ({ body: '<html>' });
    expect(await failure(carrier().printLabel(request, label))).toMatchObject({ permanent: true });
    shippo.answers[`GET /transactions/${bought.object_id}`] = () => ({
      body: { ...bought, label_url: 'file:///etc/passwd' },
    });
    expect(await failure(carrier().printLabel(request, label))).toMatchObject({ permanent: true });
    expect(shippo.sent.every((each) => each.path !== '/etc/passwd')).toBe(true);
  });
});

describe('Shippo webhooks', () => {
  const body = JSON.stringify(trackUpdated);
  const seconds = now.getTime() / 1000;
  const sign = (secret: string, time = seconds) =>
    `t=${time},v1=${createHmac('sha256', secret).update(`${time}.${body}`).digest('hex')}`;
  const verify = (headers: Record<string, string>, query = '') =>
    carrier().verifyWebhook(new Headers(headers), async () => Buffer.from(body), now, new URLSearchParams(query));

  it('are accepted with a signature by any of the secrets, at most 300 seconds old', async () => {
    expect(await verify({ 'Shippo-Auth-Signature': sign('new') })).toBe(true);
    expect(await verify({ 'Shippo-Auth-Signature': sign('old') })).toBe(true);
    expect(await verify({ 'Shippo-Auth-Signature': sign('forged') })).toBe(false);
    expect(await verify({ 'Shippo-Auth-Signature': sign('new', seconds - 301) })).toBe(false);
  });

  it('are accepted with one of the tokens in the URL, unless their signature is invalid', async () => {
    expect(await verify({}, 'token=new')).toBe(true);
    expect(await verify({}, 'token=old')).toBe(true);
    expect(await verify({}, 'token=ne')).toBe(false);
    expect(await verify({}, 'token=')).toBe(false);
    expect(await verify({})).toBe(false);
    expect(await verify({ 'Shippo-Auth-Signature': sign('forged') }, 'token=new')).toBe(false);
    expect(await carrier().verifyWebhook(new Headers(), async () => Buffer.from(body), now)).toBe(false);
  });

  it('give the status of the parcel, the time of its scan and the id of the event', () => {
    expect(carrier().parseWebhook(body)).toEqual({
      trackingNumber: '92001903060085300042901077',
      eventId: 'b2d0a4e3cc9e4ea1b4b8d5a0e6c7f802:TRANSIT',
      status: 'in_transit',
      occurredAt: '2026-11-23T19:30:00.000Z',
      detail: 'Your shipment has been accepted.',
    });
  });

  it('have a status for every documented Shippo status', () => {
    const withStatus = (status: string | null) => {
      const data = {
        ...trackUpdated.data,
        tracking_status: status && { ...trackUpdated.data.tracking_status, status },
      };
      return carrier().parseWebhook(JSON.stringify({ ...trackUpdated, data }))?.status ?? null;
    };
    const words = ['PRE_TRANSIT', 'TRANSIT', 'DELIVERED', 'RETURNED', 'FAILURE', 'UNKNOWN', null];
    expect(words.map(withStatus)).toEqual(['created', 'in_transit', 'delivered', 'exception', 'exception', null, null]);
  });

  it('of other types are ignored, and malformed ones are rejected', () => {
    expect(carrier().parseWebhook(JSON.stringify({ event: 'transaction_created', data: bought }))).toBeNull();
    expect(() => carrier().parseWebhook('{"event":"track_updated","data":{}}')).toThrow('tracking_number');
    expect(() => carrier().parseWebhook('no json')).toThrow('wrong fields');
  });
});

describe('voiding a Shippo label', () => {
  const byId = `GET /transactions/${bought.object_id}`;
  const status = (of: string) => () => ({ body: { ...bought, status: of } });

  it('refunds the purchase, found by its Shippo id or by the shipment id', async () => {
    shippo.answers['POST /refunds'] = () => ({ status: 201, body: refund });
    await carrier().voidLabel(request, label);
    expect(shippo.sent.at(-1)?.body).toEqual({ transaction: bought.object_id, async: false });
    shippo.purchases.push({ ...bought, metadata: request.shipmentId });
    shippo.sent = [];
    await carrier().voidLabel(request);
    expect(shippo.calls()).toEqual(['GET /transactions', byId, 'POST /refunds']);
  });

  it('does nothing if no label was bought or if it is already void', async () => {
    await carrier().voidLabel(request);
    for (const of of ['REFUNDED', 'REFUNDPENDING']) {
      shippo.answers[byId] = status(of);
      await carrier().voidLabel(request, label);
    }
    expect(shippo.calls()).not.toContain('POST /refunds');
  });

  it.each([
    ['an error', { status: 400, body: { detail: 'A refund for this transaction already exists.' } }],
    ['the status ERROR', { status: 201, body: { ...refund, status: 'ERROR' } }],
  ])(
    'is done if an earlier request has voided the label after the lookup, and Shippo returns %s',
    async (_what, second) => {
      let lookups = 0;
      shippo.answers[byId] = () => status(++lookups === 1 ? 'SUCCESS' : 'REFUNDPENDING')();
      shippo.answers['POST /refunds'] = () => second;
      await carrier().voidLabel(request, label);
      expect(shippo.calls()).toEqual([byId, 'POST /refunds', byId]);
    },
  );

  it('fails for good for a used label, and is retried for a label that is not ready', async () => {
    shippo.answers['POST /refunds'] = () => ({ status: 201, body: { ...refund, status: 'ERROR' } });
    expect(await failure(carrier().voidLabel(request, label))).toMatchObject({ permanent: true });
    shippo.answers[byId] = status('QUEUED');
    expect(await failure(carrier().voidLabel(request, label))).toMatchObject({ permanent: false });
  });
});
