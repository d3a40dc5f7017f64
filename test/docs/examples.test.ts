import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openApiDocument } from '../../dev/openapi/document.ts';
import { routes } from '../../dev/openapi/routes.ts';
import { seededSku, seedProducts, seedTenants } from '../../dev/platform/seed.ts';
import { referenceDocument } from '../../dev/reference/document.ts';
import { operationsOf } from '../../dev/reference/openapi.ts';
import { shellSetup } from '../../dev/reference/shell.ts';
import { type Store, startStore } from '../support/harness.ts';
import { paste } from '../support/paste.ts';

let store: Store;
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-examples-'));
  store = await startStore({
    variables: {
      SHIPPING_WEBHOOK_SECRET: 'whsec_dev',
      KAFKA_WEBHOOK_SECRET: 'whsec_dev',
      KAFKA_CONSUME_TENANTS: 'default',
      LIVE_SECONDS: '2',
    },
  });
  await seedTenants(store.database.url);
  await seedProducts(store.url);
});
afterAll(async () => {
  await store.close();
  await rm(dir, { recursive: true });
});

const document = await referenceDocument(openApiDocument(routes));

/** The samples of this language, in the order of the page. */
const samplesOf = (label: string): [name: string, source: string][] =>
  operationsOf(document).map(({ operation: { operationId, 'x-codeSamples': samples = [] } }) => [
    operationId,
    samples.find((sample) => sample.label === label)?.source ?? '',
  ]);

test('every curl sample, run in the order of the reference page, returns its documented success, also the second time', async () => {
  const setup = shellSetup({
    api: store.url,
    key: 'sk_dev_default',
    stripe: store.stripe.url,
    stripeKey: 'sk_test_dev',
    stripeWebhookSecret: 'whsec_dev',
    shippingWebhookSecret: 'whsec_dev',
    kafkaWebhookSecret: 'whsec_dev',
    sku: seededSku,
  });
  const named = samplesOf('curl');
  expect(named.map(([id]) => id).toSorted()).toEqual(routes.map(({ id }) => id).toSorted());
  for (let time = 1; time <= 2; time++) {
    const { calls, printed } = await paste([['setup', setup], ...named], dir, store.url);
    expect(
      calls.filter(({ status }) => status < 200 || status > 299),
      printed,
    ).toEqual([]);
    for (const { id, responses } of routes) {
      const last = calls.findLast(({ example }) => example === id);
      expect([id, Object.keys(responses)]).toEqual([id, expect.arrayContaining([String(last?.status)])]);
    }
  }
}, 300_000);

test('the browser sample shows the events of a campaign, by fetch and by EventSource', async () => {
  const [, code = ''] = samplesOf('TypeScript').find(([id]) => id === 'watchCampaign') ?? [];
  const { body: product } = await store.send('GET', '/v1/products/by-sku/POT-02', undefined, { key: 'pk_dev_default' });
  const { body: campaign } = await store.send('POST', '/v1/campaigns', {
    ...{ productId: product.id, minParticipants: 2, maxParticipants: 9, price: 5 },
    ...{
      startTime: new Date(Date.now() - 60_000).toISOString(),
      endTime: new Date(Date.now() + 86_400_000).toISOString(),
    },
  });
  const shown: [string, { status?: string; reason?: string }][] = [];
  let opened = '';
  /** Node has no EventSource: what it would ask for is asked for by fetch. */
  class FakeSource {
    constructor(url: string) {
      opened = url;
    }
    addEventListener(): void {}
  }
  const names = ['api', 'id', 'key', 'show', 'EventSource'];
  const run = new Function(...names, `return (async () => { ${code} })()`) as (...values: unknown[]) => Promise<void>;
  const show = (name: string, data: object) => shown.push([name, data]);
  await run(store.url, campaign.id, 'pk_dev_default', show, FakeSource);
  expect(shown).toMatchObject([
    ['campaign', { status: 'active' }],
    ['end', { reason: 'time_limit' }],
  ]);
  const response = await fetch(opened);
  expect([response.status, await response.text()]).toEqual([200, expect.stringContaining('event: campaign')]);
});
