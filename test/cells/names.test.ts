import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { cellOfKey, isCellName, qualifyTenant, tenantIdOf } from '../../src/base/cells.ts';
import { type Bindings, settingsOf } from '../../src/env.ts';
import { readKey, readLiveToken } from '../../src/http/credentials.ts';

const database = (host: string) => ({
  DATABASE_URL: `postgres://fusion_worker:x@${host}/fusion`,
  DATABASE_JOB_SECRET: 'x'.repeat(32),
});
const cells = new Map([
  ['default', database('one.example')],
  ['eu1', database('two.example')],
]);

describe('a key', () => {
  test('names its cell between its kind and its random part', () => {
    expect(cellOfKey('sk_live_eu1_0123456789ABCDEFGHIJKLMNOPQRSTUV', cells)).toBe('eu1');
    expect(cellOfKey('pk_test_eu1_00', cells)).toBe('eu1');
    expect(cellOfKey('sk_dev_eu1_default', cells)).toBe('eu1');
  });

  test('of a cell that is not configured belongs to the default cell, which does not know it', () => {
    for (const key of ['sk_live_us1_00', 'sk_live_default_00', 'sk_live_live_00', 'sk_live_EU1_00', 'sk_eu1_00']) {
      expect(cellOfKey(key, cells)).toBe('default');
    }
  });

  test('that was made before there were cells is never taken for a key of a cell', () => {
    const everyName = { has: () => true };
    const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
    const letters = [...randomBytes(20_000)].map((byte) => alphabet[byte % alphabet.length]);
    for (let at = 0; at + 32 <= letters.length; at += 8) {
      for (const start of ['sk_live_', 'pk_live_', 'sk_test_']) {
        expect(cellOfKey(start + letters.slice(at, at + 32).join(''), everyName)).toBe('default');
      }
    }
    for (const key of ['sk_dev_default', 'pk_dev_acme']) expect(cellOfKey(key, everyName)).toBe('default');
  });

  test('of one installation is hashed as a whole, so two cells never share a hash', () => {
    expect(readKey('Bearer sk_live_eu1_0123', cells)).toMatchObject({ cell: 'eu1' });
    expect(readKey('Bearer sk_live_eu1_0123', cells).hash).not.toBe(readKey('Bearer sk_live_0123', cells).hash);
  });
});

test('a live token carries its cell, which its database never sees', () => {
  const token = `lt_${'0'.repeat(8)}-aaaa-7aaa-8aaa-${'0'.repeat(12)}_1769861700_${'0123456789abcdef'.repeat(4)}`;
  const text = token.replace('lt_', 'lt_eu1_');
  expect(readLiveToken(text, cells)).toMatchObject({ cell: 'eu1', token });
  expect(readLiveToken(token, cells)).toMatchObject({ cell: 'default', token });
  expect(readLiveToken(text, cells).hash).not.toBe(readLiveToken(token, cells).hash);
  for (const wrong of [token.replace('lt_', 'lt_us1_'), token.replace('lt_', 'lt_EU_'), `${token}_`]) {
    expect(() => readLiveToken(wrong, cells)).toThrow('The live token is not valid');
  }
});

test('a name of a cell has 2 to 12 small letters and digits, and is no word that keys use otherwise', () => {
  for (const name of ['eu1', 'c2', 'frankfurt2']) expect(isCellName(name)).toBe(true);
  for (const name of ['e', '1eu', 'EU1', 'eu-1', 'eu_1', 'a234567890123', 'live', 'test', 'dev', 'default', '']) {
    expect(isCellName(name)).toBe(false);
  }
});

test('tenants with one id in two cells have two names', () => {
  expect([qualifyTenant('shop', 'default'), qualifyTenant('shop', 'eu1')]).toEqual(['shop', 'shop@eu1']);
  expect(tenantIdOf(qualifyTenant('shop', 'eu1'))).toBe('shop');
});

describe('the settings', () => {
  const common = {
    ...database('one.example'),
    KAFKA_REST_URL: 'https://kafka.example',
    KAFKA_REST_USERNAME: 'u',
    KAFKA_REST_PASSWORD: 'p',
    STRIPE_SECRET_KEY: 'sk_test_1',
    STRIPE_WEBHOOK_SECRET: 'whsec_1',
    NEON_HTTP_URL: 'https://neon.example/sql',
  };
  const read = (variables: Record<string, string>) => settingsOf({ ...common, ...variables } as unknown as Bindings);
  const eu1 = { DATABASE_URL_EU1: 'postgres://fusion_worker:x@two.example/fusion' };

  test('have a cell for DATABASE_URL and for each DATABASE_URL_<NAME>', () => {
    expect([...read({}).cells.keys()]).toEqual(['default']);
    expect([...read(eu1).cells.keys()]).toEqual(['default', 'eu1']);
  });

  test('give a cell its own job secret and endpoint, or those of the default cell', () => {
    const shared = read(eu1).cells.get('eu1');
    expect(shared).toMatchObject({
      DATABASE_URL: eu1.DATABASE_URL_EU1,
      DATABASE_JOB_SECRET: common.DATABASE_JOB_SECRET,
      NEON_HTTP_URL: common.NEON_HTTP_URL,
    });
    const own = { DATABASE_JOB_SECRET_EU1: 'y'.repeat(32), NEON_HTTP_URL_EU1: 'https://other.example/sql' };
    const named = read({ ...eu1, ...own }).cells;
    expect(named.get('eu1')).toMatchObject({
      DATABASE_JOB_SECRET: own.DATABASE_JOB_SECRET_EU1,
      NEON_HTTP_URL: own.NEON_HTTP_URL_EU1,
    });
    expect(named.get('default')).toMatchObject({ NEON_HTTP_URL: common.NEON_HTTP_URL });
  });

  test.each<[string, Record<string, string>, string]>([
    ['a reserved name', { DATABASE_URL_LIVE: 'postgres://a/b' }, 'DATABASE_URL_LIVE: not a name of a cell'],
    ['a name that is too long', { DATABASE_URL_A234567890123: 'postgres://a/b' }, 'not a name of a cell'],
    ['a cell without a database', { DATABASE_JOB_SECRET_EU1: 'y'.repeat(32) }, 'DATABASE_URL_EU1: invalid_type'],
    ['a secret that is too short', { ...eu1, DATABASE_JOB_SECRET_EU1: 'y' }, 'DATABASE_JOB_SECRET_EU1: too_small'],
    [
      'the database of another cell, by its pooler',
      { DATABASE_URL: 'postgres://w:x@ep-a.neon.tech/f', DATABASE_URL_EU1: 'postgres://w:x@ep-a-pooler.neon.tech/f' },
      'DATABASE_URL_EU1: the database of another cell',
    ],
    [
      'a cell in KAFKA_CONSUME that does not exist',
      { KAFKA_CONSUME: 'erp=shop@us1' },
      'KAFKA_CONSUME: there is no cell us1',
    ],
  ])('reject %s and name the variable', (_what, variables, message) => {
    expect(() => read(variables)).toThrow(message);
  });

  test('ignore the second address of DATABASE_URL that Neon’s integrations set', () => {
    const { cells: found } = read({ DATABASE_URL_UNPOOLED: 'postgres://fusion_worker:x@one.example/fusion' });
    expect([...found.keys()]).toEqual(['default']);
  });
});
