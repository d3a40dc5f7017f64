import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { selectCarrier } from '../../src/carriers/select.ts';

describe('selectCarrier', () => {
  it('returns the carrier that the variable CARRIER names', () => {
    const settings = {
      SHIPPO_API_KEY: 'a',
      SHIPPO_WEBHOOK_SECRET: 'b',
      EASYPOST_API_KEY: 'c',
      EASYPOST_WEBHOOK_SECRET: 'd',
    };
    for (const name of ['manual', 'shippo', 'easypost']) expect(selectCarrier(name, settings).name).toBe(name);
  });

  it('names the missing variable, without any value', () => {
    expect(() => selectCarrier('shippo', {})).toThrow('CARRIER is shippo, which needs the variable SHIPPO_API_KEY');
    expect(() => selectCarrier('shippo', { SHIPPO_API_KEY: 'shippo_live_x' })).toThrow(
      /needs the variable SHIPPO_WEBHOOK_SECRET$/,
    );
    expect(() => selectCarrier('easypost', { EASYPOST_API_KEY: ' ' })).toThrow('EASYPOST_API_KEY');
    expect(() => selectCarrier('easypost', { EASYPOST_API_KEY: 'x' })).toThrow('EASYPOST_WEBHOOK_SECRET');
  });

  it('rejects an unknown carrier name', () => {
    for (const name of ['', 'ups', 'Manual'])
      expect(() => selectCarrier(name, {})).toThrow('it can be manual, shippo or easypost');
  });

  it('accepts several webhook secrets, so that a secret can be rotated without losing an update', async () => {
    const carrier = selectCarrier('manual', { SHIPPING_WEBHOOK_SECRET: 'new, old,' });
    const now = new Date('2026-11-22T12:00:00Z');
    const time = now.getTime() / 1000;
    const verify = (secret: string) => {
      const signature = createHmac('sha256', secret).update(`${time}.{}`).digest('hex');
      return carrier.verifyWebhook(
        new Headers({ 'X-Signature': `t=${time},v1=${signature}` }),
        async () => Buffer.from('{}'),
        now,
      );
    };
    expect([await verify('new'), await verify('old'), await verify('')]).toEqual([true, true, false]);
  });
});
