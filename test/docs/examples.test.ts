import { mkdtemp, rm } from 'node:fs/promises';
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

/** Runs the examples in one shell, in order. Resolves with each call to the API and with everything printed. */
async function paste(examples: [name: string, script: string][]): Promise<{ calls: Call[]; printed: string }> {
  const wrapper = `curl() { command curl -w '%{stderr}\\nCALL %{http_code} %{method} %{url}\\n' "$@"; }\n`;
  const script = examples.map(([name, lines]) => `printf '\\nEXAMPLE %s\\n' ${name} >&2\n${lines}\n`).join('');
  const shell = spawn('/bin/sh', ['-c', wrapper + script], {
    cwd: dir,
    env: { PATH: process.env.PATH, HOME: dir } as unknown as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  let stderr = '';
  shell.stdout.on('data', (chunk: Buffer) => (printed += chunk));
  shell.stderr.on('data', (chunk: Buffer) => (stderr += chunk));
  // An example that waits forever is killed, and then fails because its calls are missing.
  const deadline = setTimeout(() => shell.kill('SIGKILL'), 100_000);
  await once(shell, 'close');
  clearTimeout(deadline);
  const calls: Call[] = [];
  let example = '';
  for (const line of stderr.split('\n')) {
    example = /^EXAMPLE (.*)/.exec(line)?.[1] ?? example;
    const [, status, method = '', url = ''] = /^CALL (\d+) (\w+) (\S+)$/.exec(line) ?? [];
    if (status !== undefined) calls.push({ example, status: Number(status), method, path: url.replace(store.url, '') });
  }
  return { calls, printed: printed + stderr };
}

test('every example of /docs, run in the order of the page, returns its documented success, also the second time', async () => {
  const page = await (await fetch(`${store.url}/docs`)).text();
  const setup = text(/<h2 id="about-in-a-shell">.*?<pre>(.*?)<\/pre>/s.exec(page)?.[1] ?? '');
  expect(setup).toContain(`API=${store.url} KEY=sk_dev_default`);
  const examples = [
    ...page.matchAll(/<section class="op" id="(\w+)">(?:(?!<\/section>).)*?<h4>Request<\/h4><pre>(.*?)<\/pre>/gs),
  ];
  expect(examples.map(([, id]) => id).toSorted()).toEqual(routes.map(({ id }) => id).toSorted());
  const named = examples.map(([, id = '', lines = '']): [string, string] => [id, text(lines)]);
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

test('every curl of the README, run in order, has the result that the README describes', async () => {
  const readme = await readFile(join(import.meta.dirname, '..', '..', 'README.md'), 'utf8');
  const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, lines = '']) => lines);
  const [addresses = '', ...examples] = blocks.filter((lines) => /\bcurl\b|^export API=/m.test(lines));
  expect(addresses).toMatch(/^export API=http:\/\/127\.0\.0\.1:8787 KAFKA=\S+:8082 STRIPE=\S+:12111\n$/);
  const ours = `export API=${store.url} KAFKA=${store.kafka.url} STRIPE=${store.stripe.url}`;
  await store.settled();
  const named = examples.map((lines, at): [string, string] => [String(at + 1), lines]);
  const { calls, printed } = await paste([['addresses', ours], ...named]);
  const refused = calls.filter(({ status }) => status < 200 || status > 299);
  expect(refused, printed).toMatchObject([{ status: 409, method: 'POST', path: '/v1/orders' }]);
  expect(new Set(calls.map(({ example }) => example)).size).toBe(examples.length);
  for (const expected of [
    '"sku":"MUG-01"',
    '"quantity":248,"reserved":2',
    'order.created',
    '"shortages":[',
    '"status":"confirmed"\n',
  ]) {
    expect(printed).toContain(expected);
  }
  expect(printed).toMatch(/"clientSecret":"pi_\w+_secret_/);
  expect(printed).toMatch(/event: campaign\ndata: .*"actualParticipants":1/);
}, 120_000);

test('the browser example shows the events of a campaign, by fetch and by EventSource', async () => {
  const page = await (await fetch(`${store.url}/docs`)).text();
  const code = text(/<h2 id="about-in-a-browser">.*?<pre>(.*?)<\/pre>/s.exec(page)?.[1] ?? '');
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
  /** Node has no EventSource, so the test fetches the URL that it would open. */
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
