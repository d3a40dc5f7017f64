import { expect, test } from 'vitest';
import { decrypt, encrypt } from '../../src/base/encryption.ts';
import { openCarrier } from '../../src/domain/carrier-accounts.ts';

const [first, second] = [Buffer.alloc(32, 1).toString('base64'), Buffer.alloc(32, 2).toString('base64')];
const owner = ['carrier', 'acme', 'shippo', 'apiKey'];
const secret = 'shippo_live_€';

test('an encrypted text decrypts for its owner only', async () => {
  const encrypted = await encrypt([first], owner, secret);
  expect(encrypted).not.toContain('shippo');
  expect(await decrypt([first], owner, encrypted)).toBe(secret);
  for (const other of [
    ['carrier', 'default', 'shippo', 'apiKey'],
    ['carrier', 'acme', 'easypost', 'apiKey'],
    ['carrier', 'acme', 'shippo', 'webhookSecret'],
    ['carrier', 'acme","shippo', 'apiKey'],
  ]) {
    expect(await decrypt([first], other, encrypted)).toBeUndefined();
  }
});

test('a text is encrypted differently each time', async () => {
  const texts = await Promise.all(Array.from({ length: 20 }, () => encrypt([first], owner, secret)));
  expect(new Set(texts).size).toBe(20);
});

test('while a key is being replaced, the new one encrypts and both decrypt', async () => {
  const [before, after] = [await encrypt([first], owner, secret), await encrypt([second, first], owner, secret)];
  expect(await decrypt([second, first], owner, before)).toBe(secret);
  expect(await decrypt([second, first], owner, after)).toBe(secret);
  expect(await decrypt([second], owner, after)).toBe(secret);
  expect(await decrypt([second], owner, before)).toBeUndefined();
  expect(await decrypt([], owner, after)).toBeUndefined();
});

test('a text that was changed in any byte does not decrypt, and neither does what was never encrypted', async () => {
  const bytes = Buffer.from(await encrypt([first], owner, secret), 'base64');
  for (let position = 0; position < bytes.length; position++) {
    const changed = Buffer.from(bytes);
    changed[position] = (changed[position] ?? 0) ^ 1;
    expect(await decrypt([first], owner, changed.toString('base64'))).toBeUndefined();
  }
  for (const text of ['', 'AA==', 'not base64 ☃', bytes.subarray(0, 20).toString('base64')]) {
    expect(await decrypt([first], owner, text)).toBeUndefined();
  }
});

test('the reason why a tenant’s carrier cannot be used contains no secret', async () => {
  const settings = { TENANT_SECRETS_KEY: [second] } as unknown as Parameters<typeof openCarrier>[0];
  const account = { provider: 'shippo', isOwn: true, credentials: { apiKey: await encrypt([first], owner, secret) } };
  const error = await openCarrier(settings, 'acme', account).catch((thrown: unknown) => thrown as Error);
  expect(error).toMatchObject({ name: 'CarrierError', permanent: false });
  expect(String(error)).toMatch(/^CarrierError: shippo: The API key of this shop cannot be decrypted/);
  expect(String(error)).not.toContain(account.credentials.apiKey);
});
