import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openApiDocument } from '../../dev/openapi/document.ts';
import { routes } from '../../dev/openapi/routes.ts';
import { seedProducts, seedTenants } from '../../dev/platform/seed.ts';
import { referenceDocument } from '../../dev/reference/document.ts';
import { operationsOf } from '../../dev/reference/openapi.ts';
import { shellSetup } from '../../dev/reference/shell.ts';
import { type Store, startStore } from '../support/harness.ts';

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

type Call = { example: string; status: number; method: string; path: string };

type Pasted = { calls: Call[]; printed: string; outputs: Map<string, string> };

/** Pastes examples into one shell, in order. Resolves with the calls to the API and with the output of each example. */
async function paste(examples: [name: string, script: string][]): Promise<Pasted> {
  const wrapper = `curl() { command curl -w '%{stderr}\\nCALL %{http_code} %{method} %{url}\\n' "$@"; }\n`;
  const script = examples
    .map(([name, lines]) => `printf '\\nEXAMPLE %s\\n' ${name} | tee /dev/stderr\n${lines}\n`)
    .join('');
  const shell = spawn('/bin/sh', ['-c', wrapper + script], {
    cwd: dir,
    env: { PATH: process.env.PATH, HOME: dir } as unknown as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  let told = '';
  shell.stdout.on('data', (chunk: Buffer) => (printed += chunk));
  shell.stderr.on('data', (chunk: Buffer) => (told += chunk));
  // An example that waits for something that never comes is ended, and then fails by its calls.
  const patience = setTimeout(() => shell.kill('SIGKILL'), 150_000);
  await once(shell, 'close');
  clearTimeout(patience);
  const calls: Call[] = [];
  let example = '';
  for (const line of told.split('\n')) {
    example = /^EXAMPLE (.*)/.exec(line)?.[1] ?? example;
    const [, status, method = '', url = ''] = /^CALL (\d+) (\w+) (\S+)$/.exec(line) ?? [];
    if (status !== undefined) calls.push({ example, status: Number(status), method, path: url.replace(store.url, '') });
  }
  const outputs = printed.split(/^EXAMPLE (.*)\n/m).slice(1);
  const byName = outputs.flatMap((name, at) => (at % 2 === 0 ? [[name, outputs[at + 1] ?? ''] as const] : []));
  return { calls, printed: printed + told, outputs: new Map(byName) };
}

test('every sample in curl, pasted in the order of the page, gives its documented success, again and again', async () => {
  const setup = shellSetup({
    api: store.url,
    key: 'sk_dev_default',
    stripe: store.stripe.url,
    stripeKey: 'sk_test_dev',
    stripeWebhookSecret: 'whsec_dev',
    shippingWebhookSecret: 'whsec_dev',
    kafkaWebhookSecret: 'whsec_dev',
  });
  const named = samplesOf('curl');
  expect(named.map(([id]) => id).toSorted()).toEqual(routes.map(({ id }) => id).toSorted());
  for (let time = 1; time <= 2; time++) {
    const { calls, printed } = await paste([['setup', setup], ...named]);
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

type Block = { language: string; text: string };

/** The code blocks of a part of the README, in order. */
function blocksOf(readme: string, from: string, to: string): Block[] {
  const part = readme.slice(readme.indexOf(`\n## ${from}\n`), readme.indexOf(`\n## ${to}\n`));
  return [...part.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language = '', lines = '']) => ({
    language,
    text: lines,
  }));
}

/** The same text with one word for each value that differs from run to run. */
const withoutChance = (output: string): string =>
  output
    .replaceAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'ID')
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, 'TIME')
    .replaceAll(/"(partition|timestamp)":\d+/g, '"$1":N')
    .replaceAll(/ETag: "[0-9a-f]+"/g, 'ETag')
    .replaceAll(/dur=\d+/g, 'dur');

/** Lines of an output block of the README that a program did not print. `…` stands for anything. */
function missingFrom(printed: string, shown: string): string[] {
  const actual = withoutChance(printed);
  return shown
    .split('\n')
    .flatMap((line) => withoutChance(line).split('…'))
    .map((part) => part.trim())
    .filter((part) => !actual.includes(part));
}

test('the story of the README, pasted block by block, prints what the README shows', async () => {
  const readme = await readFile(join(import.meta.dirname, '..', '..', 'README.md'), 'utf8');
  const [addresses, ...story] = blocksOf(readme, 'A first order', 'Find your way');
  expect(addresses?.text).toMatch(/^export API=http:\/\/127\.0\.0\.1:8787 KAFKA=\S+:8082 STRIPE=\S+:12111\n$/);
  await symlink(join(import.meta.dirname, '..', '..', 'node_modules'), join(dir, 'node_modules'));
  const examples: [string, string][] = [
    ['addresses', `export API=${store.url} KAFKA=${store.kafka.url} STRIPE=${store.stripe.url}`],
  ];
  const shown: { name: string; text: string }[] = [];
  for (const { language, text: lines } of story) {
    const name = String(examples.length);
    const file = /^\/\/ ([\w-]+\.ts)\n/.exec(lines)?.[1];
    if (language === 'sh') examples.push([name, lines]);
    else if (language === 'ts' && file) await writeFile(join(dir, file), lines);
    else shown.push({ name: examples.at(-1)?.[0] ?? '', text: lines });
  }
  const order = examples.find(([, lines]) => lines.includes('Idempotency-Key: first-order'));
  if (!order) throw new Error('README.md places no order with the Idempotency-Key "first-order"');
  examples.splice(examples.indexOf(order) + 1, 0, ['retry', order[1]]);
  await store.settled();

  const { calls, printed, outputs } = await paste(examples);
  const rejected = calls.filter(({ status }) => status < 200 || status > 299);
  expect(rejected, printed).toMatchObject([{ status: 409, method: 'POST', path: '/v1/orders' }]);
  const missing = shown.flatMap(({ name, text: lines }) => missingFrom(outputs.get(name) ?? '', lines));
  expect(missing, printed).toEqual([]);
  expect(shown.length).toBeGreaterThan(12);
  expect(outputs.get('retry')).toMatch(/^Idempotent-Replayed: true/m);
}, 180_000);

test('every shell block of the README that calls the API is part of its story', async () => {
  const readme = await readFile(join(import.meta.dirname, '..', '..', 'README.md'), 'utf8');
  const outside =
    readme.slice(0, readme.indexOf('\n## A first order\n')) + readme.slice(readme.indexOf('\n## Find your way\n'));
  const blocks = [...outside.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, lines = '']) => lines);
  expect(blocks.filter((lines) => /\b(curl|get|post)\b/.test(lines))).toEqual([]);
});

test('the sample for a browser shows the events of a campaign, by fetch and by EventSource', async () => {
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
