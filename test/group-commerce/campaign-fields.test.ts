import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Store, startStore } from '../support/harness.ts';
import { addVariants } from '../support/variants.ts';

let store: Store;
let productId: string;
let alone: string;
let yen: string;
beforeAll(async () => {
  store = await startStore();
  [productId = ''] = await addVariants(store, 5, {
    M: {},
    L: { price: 32 },
    S: { price: 12 },
    EUR: { currency: 'EUR' },
  });
  await addVariants(store, 5, { OTHER: {} });
  const [, old = ''] = await addVariants(store, 5, { NEW: {}, OLD: {} });
  await store.send('DELETE', `/v1/products/${old}`);
  alone = (await addProduct(store, 'ALONE', 5, 30)).id;
  yen = (await addProduct(store, 'YEN', 5, 3_000, { currency: 'JPY' })).id;
});
afterAll(() => store.close());

const hours = (count: number) => new Date(Date.now() + count * 3_600_000).toISOString();
const pool = () => ({
  ...{ productId, minParticipants: 2, maxParticipants: 10, price: 20, startTime: hours(0), endTime: hours(1) },
});
const teams = () => {
  const { minParticipants, maxParticipants, ...rest } = pool();
  return { ...rest, mode: 'teams', teamSize: 3, teamSeconds: 3_600 };
};
const create = (fields: object) => store.send('POST', '/v1/campaigns', fields);
const faultsOf = async (fields: object) => {
  const { status, body } = await create(fields);
  expect([status, body.code]).toEqual([422, 'validation_failed']);
  return body.errors.map(({ pointer, detail }: { pointer: string; detail: string }) => [pointer, detail]);
};

describe('a new campaign', () => {
  test('without any of the new fields is a pool of one product', async () => {
    const { status, body } = await create(pool());
    expect(status).toBe(201);
    expect(body).toMatchObject({
      ...{ mode: 'pool', sku: 'M', skus: ['M'], tiers: [], maxPerCustomer: null, joiners: 'all', teamSize: null },
      ...{ price: 20, currentPrice: 20, originalPrice: 30, minParticipants: 2, maxParticipants: 10 },
    });
  });

  test('with only its product in `skus` is the same', async () => {
    const { status, body } = await create({ ...pool(), skus: ['M'] });
    expect([status, body.skus]).toEqual([201, ['M']]);
    const rows = await store.database.query('select skus from group_commerce.group_commerce_campaigns where id = $1', [
      body.id,
    ]);
    expect(rows).toEqual([{ skus: null }]);
    expect((await create({ ...pool(), productId: alone, skus: ['ALONE'] })).status).toBe(201);
  });

  test('has the variants of a group in their order, with its limits and tiers', async () => {
    const tiers = [
      { units: 5, price: 18 },
      { units: 5_000_000, price: 15 },
    ];
    const wide = await faultsOf({ ...pool(), tiers });
    expect(wide).toEqual([['/tiers/1/units', expect.any(String)]]);
    const fields = { skus: ['L', 'M'], maxPerCustomer: 3, joiners: 'new_customers', tiers: tiers.slice(0, 1) };
    const { status, body } = await create({ ...pool(), ...fields });
    expect(status).toBe(201);
    expect(body).toMatchObject({ sku: 'M', ...fields });
    expect((await create({ ...pool(), tiers: [{ units: 1_000, price: 18 }] })).status).toBe(201); // above the places
  });

  test('with teams has the counts of a team', async () => {
    const { status, body } = await create({ ...teams(), maxPerCustomer: 2 });
    expect(status).toBe(201);
    expect(body).toMatchObject({ minParticipants: 3, maxParticipants: 3, onShort: 'release', maxPerCustomer: 2 });
    const large = { teamSize: 1_000, minParticipants: 1_000, maxParticipants: 1_000 };
    expect((await create({ ...teams(), ...large })).status).toBe(201);
  });

  const sale = 'No such product is for sale.';
  const group = 'must be a variant of the same product group as M';
  test.each<[string, object, [string, string][]]>([
    ['an unknown SKU', { skus: ['M', 'NONE'] }, [['/skus/1', sale]]],
    ['an archived product', { skus: ['OLD', 'M'] }, [['/skus/0', sale]]],
    ['a product of another group', { skus: ['M', 'OTHER'] }, [['/skus/1', group]]],
    ['a product without a group', { skus: ['M', 'ALONE'] }, [['/skus/1', group]]],
    ['another currency', { skus: ['M', 'EUR'] }, [['/skus/1', 'is sold in EUR, and M in USD']]],
    ['the product left out', { skus: ['L', 'S'], price: 5 }, [['/skus', 'must contain the SKU of the product, M']]],
    [
      'a SKU twice',
      { skus: ['M', 'L', 'M', 'L'] },
      [
        ['/skus/2', 'is in the list already'],
        ['/skus/3', 'is in the list already'],
      ],
    ],
    [
      'several wrong SKUs',
      { skus: ['NONE', 'M', 'OTHER'] },
      [
        ['/skus/0', sale],
        ['/skus/2', group],
      ],
    ],
    [
      'a price above that of a variant',
      { skus: ['M', 'S'] },
      [['/price', 'must not be above the price of S, 12.00. For another comparison send originalPrice']],
    ],
    [
      'a price above the original one',
      { skus: ['M', 'S'], originalPrice: 19 },
      [['/price', 'must not be above the original price, 19']],
    ],
    [
      'a price that Stripe does not charge',
      { price: 0.1 },
      [['/price', '0.10 USD is too little: Stripe charges 0.50 USD or more.']],
    ],
    [
      'a tier that Stripe does not charge',
      {
        tiers: [
          { units: 2, price: 1 },
          { units: 3, price: 0.1 },
        ],
      },
      [['/tiers/1/price', '0.10 USD is too little: Stripe charges 0.50 USD or more.']],
    ],
    ['a free tier', { tiers: [{ participants: 2, price: 0 }] }, [['/tiers/0/price', 'must be above 0']]],
    [
      'prices that do not fall',
      {
        tiers: [
          { units: 2, price: 20 },
          { units: 3, price: 20 },
        ],
      },
      [
        ['/tiers/0/price', 'must be below the price before'],
        ['/tiers/1/price', 'must be below the price before'],
      ],
    ],
    [
      'counts that do not rise',
      {
        tiers: [
          { participants: 12, price: 19 },
          { participants: 11, price: 18 },
        ],
      },
      [
        ['/tiers/0/participants', 'must not be above maxParticipants'],
        ['/tiers/1/participants', 'must be above that of the tier before'],
      ],
    ],
    [
      'tiers of two kinds',
      {
        tiers: [
          { participants: 2, price: 19 },
          { units: 3, price: 18 },
        ],
      },
      [['/tiers/1/participants', 'every tier has `participants`, or every tier has `units`']],
    ],
    [
      'a tier of both',
      { tiers: [{ participants: 2, units: 2, price: 19 }] },
      [['/tiers/0/units', 'every tier has `participants`, or every tier has `units`']],
    ],
    ['no minimum', { minParticipants: undefined }, [['/minParticipants', 'is required']]],
    ['no maximum', { maxParticipants: undefined }, [['/maxParticipants', 'is required']]],
    [
      'a maximum below the minimum',
      { maxParticipants: 1 },
      [['/maxParticipants', 'must not be below minParticipants']],
    ],
    [
      'fields of teams',
      { teamSize: 3, teamSeconds: 60, onShort: 'merge' },
      [
        ['/teamSize', 'is for campaigns with `mode: "teams"`'],
        ['/teamSeconds', 'is for campaigns with `mode: "teams"`'],
        ['/onShort', 'is for campaigns with `mode: "teams"`'],
      ],
    ],
  ])('with %s is rejected, with one fault for each wrong field', async (_, wrong, faults) => {
    expect(await faultsOf({ ...pool(), ...wrong })).toEqual(faults);
  });

  test.each<[string, object, [string, string][]]>([
    [
      'no size and no time',
      { teamSize: undefined, teamSeconds: undefined },
      [
        ['/teamSize', 'is required in a campaign with teams'],
        ['/teamSeconds', 'is required in a campaign with teams'],
      ],
    ],
    [
      'other counts',
      { minParticipants: 4, maxParticipants: 2 },
      [
        ['/minParticipants', 'must equal teamSize'],
        ['/maxParticipants', 'must equal teamSize'],
      ],
    ],
    ['tiers', { tiers: [{ units: 2, price: 10 }] }, [['/tiers', 'are for campaigns with `mode: "pool"`']]],
  ])('with teams and %s is rejected, with one fault for each wrong field', async (_, wrong, faults) => {
    expect(await faultsOf({ ...teams(), ...wrong })).toEqual(faults);
  });

  test('has a limit and a size that are whole numbers above 0', async () => {
    for (const maxPerCustomer of [0, -1, 1.5, '2', 1_000_001])
      expect(await faultsOf({ ...pool(), maxPerCustomer })).toEqual([['/maxPerCustomer', expect.any(String)]]);
    for (const teamSize of [1, 0, 1_001])
      expect(await faultsOf({ ...teams(), teamSize })).toEqual([['/teamSize', expect.any(String)]]);
    expect(await faultsOf({ ...pool(), joiners: 'friends' })).toEqual([['/joiners', expect.any(String)]]);
    expect(await faultsOf({ ...pool(), skus: [] })).toEqual([['/skus', expect.any(String)]]);
  });

  test('in a currency without decimals has prices without decimals', async () => {
    const tiers = [{ units: 3, price: 1_500.5 }];
    expect(await faultsOf({ ...pool(), productId: yen, price: 2_000.5, tiers, originalPrice: 2_999.5 })).toEqual([
      ['/price', 'JPY has no decimals.'],
      ['/originalPrice', 'JPY has no decimals.'],
      ['/tiers/0/price', 'JPY has no decimals.'],
    ]);
  });

  test('may cost more than a variant if an original price is given', async () => {
    const { status, body } = await create({ ...pool(), skus: ['M', 'S'], originalPrice: 30 });
    expect([status, body.skus, body.originalPrice]).toEqual([201, ['M', 'S'], 30]);
  });

  test('is repeated from an answer that an earlier release stored', async () => {
    const options = { idempotencyKey: 'earlier-release' };
    const fields = pool();
    const { body } = await store.send('POST', '/v1/campaigns', fields, options);
    const stored = await store.database.query(
      `update platform.idempotency i set answer = i.answer - '{skus,mode,securedUnits,maxPerCustomer,joiners,tiers,
         settledPrice,currentPrice,nextTier,teamSize,teamSeconds,onShort,formingTeams,successfulTeams}'::text[]
       where i.answer->>'id' = $1 returning i.answer`,
      [body.id],
    );
    expect(stored.map((row) => Object.keys(row.answer).length)).toEqual([15]);
    const again = await store.send('POST', '/v1/campaigns', fields, options);
    expect([again.status, again.body]).toEqual([201, body]);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
  });
});
