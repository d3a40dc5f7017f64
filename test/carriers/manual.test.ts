import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { CarrierError, type LabelRequest } from '../../src/carriers/carrier.ts';
import { makeManual, trackingNumberOf } from '../../src/carriers/manual.ts';
import fixture from '../fixtures/carriers/request.json' with { type: 'json' };

const request: LabelRequest = fixture;
const now = new Date('2026-11-22T12:00:00Z');
const manual = makeManual({ webhookSecrets: ['new-secret', 'old-secret'] });
const update = {
  eventId: 'scan-1',
  trackingNumber: 'FC401205639182736455',
  status: 'in_transit',
  occurredAt: '2026-11-22T13:30:00+02:00',
  detail: 'Left the depot',
};
const body = JSON.stringify(update);

const sign = (secret: string, time = now.getTime() / 1000, text = body): string =>
  `t=${time},v1=${createHmac('sha256', secret).update(`${time}.${text}`).digest('hex')}`;

const verify = (signature: string | undefined, text = body, carrier = manual): Promise<boolean> =>
  carrier.verifyWebhook(
    new Headers(signature === undefined ? {} : { 'X-Signature': signature }),
    async () => Buffer.from(text),
    now,
  );

describe('the manual carrier', () => {
  it('creates the same number and the same label each time for one shipment', async () => {
    const [first, second] = [await manual.createLabel(request), await manual.createLabel(structuredClone(request))];
    expect(second).toEqual(first);
    expect(await manual.printLabel(request, { trackingNumber: first.trackingNumber, carrier: 'manual' })).toEqual(
      first.pdf,
    );
  });

  it('creates different numbers for different shipments', async () => {
    const ids = Array.from({ length: 500 }, (_, index) => `01936f3e-8a10-7c3e-9d5b-${String(index).padStart(12, '0')}`);
    expect(new Set(await Promise.all(ids.map(trackingNumberOf))).size).toBe(500);
  });

  it('detects a mistyped digit in a tracking number', async () => {
    const number = await trackingNumberOf(request.shipmentId);
    const isSound = (text: string) => BigInt(text.slice(2)) % 97n === 1n;
    expect(number).toMatch(/^FC\d{20}$/);
    expect(isSound(number)).toBe(true);
    for (let at = 2; at < number.length; at += 1) {
      const other = (Number(number[at]) + 1) % 10;
      expect(isSound(number.slice(0, at) + other + number.slice(at + 1))).toBe(false);
    }
  });

  it('rejects an unprintable address with a permanent error', async () => {
    const attempt = manual.createLabel({ ...request, to: { ...request.to, name: 'สมชาย' } });
    await expect(attempt).rejects.toMatchObject({ permanent: true, message: expect.stringContaining('to.name') });
    await expect(attempt).rejects.toBeInstanceOf(CarrierError);
  });
});

describe('tracking updates of the manual carrier', () => {
  it('are accepted with a signature by any of the secrets', async () => {
    expect(await verify(sign('new-secret'))).toBe(true);
    expect(await verify(sign('old-secret'))).toBe(true);
  });

  it('are accepted when one of several signatures is valid, as during a rotation of the secret', async () => {
    const [time, good] = sign('old-secret').split(',');
    expect(await verify(`${time},v1=${'0'.repeat(64)},${good}`)).toBe(true);
  });

  it('are rejected when they are forged, unsigned or modified by one letter', async () => {
    for (const signature of [
      undefined,
      '',
      'v1=00',
      sign('another'),
      sign('new-secret').replace(/.$/, 'g'),
      sign(''),
    ]) {
      expect(await verify(signature)).toBe(false);
    }
    expect(await verify(sign('new-secret'), body.replace('scan-1', 'scan-2'))).toBe(false);
    const [, signature = ''] = sign('new-secret').split(',');
    expect(await verify(signature)).toBe(false);
    expect(await verify(`t=${now.getTime() / 1000 - 1},${signature}`)).toBe(false);
    expect(await verify(`t=1,${sign('new-secret')}`)).toBe(false);
  });

  it('are rejected when their signature is more than 300 seconds old or in the future', async () => {
    const seconds = now.getTime() / 1000;
    expect(await verify(sign('new-secret', seconds - 300))).toBe(true);
    expect(await verify(sign('new-secret', seconds - 301))).toBe(false);
    expect(await verify(sign('new-secret', seconds + 301))).toBe(false);
  });

  it('are all rejected when no secret is set', async () => {
    for (const webhookSecrets of [[], ['']]) {
      expect(await verify(sign(''), body, makeManual({ webhookSecrets }))).toBe(false);
    }
  });

  it('have their time converted to UTC', () => {
    expect(manual.parseWebhook(body)).toEqual({ ...update, occurredAt: '2026-11-22T11:30:00.000Z' });
  });

  it('are rejected with the names of the invalid fields, without their values', () => {
    const wrong = JSON.stringify({ ...update, status: 'lost-secret', occurredAt: 'yesterday' });
    expect(() => manual.parseWebhook(wrong)).toThrow('manual: a webhook with wrong fields: status, occurredAt');
    for (const text of ['', '{', 'null', '[]']) expect(() => manual.parseWebhook(text)).toThrow(CarrierError);
  });
});
