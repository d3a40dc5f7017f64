import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type OidcIssuer, startOidc } from '../../dev/oidc/server.ts';
import {
  connectOidc,
  oidcAudience,
  seedProducts,
  seedSettings,
  seedTenants,
  seedTerms,
} from '../../dev/platform/seed.ts';
import { type Code, statusOf } from '../../src/base/errors.ts';
import { type Store, startStore } from '../support/harness.ts';
import { paste } from '../support/paste.ts';

const repository = join(import.meta.dirname, '..', '..');

let store: Store;
let oidc: OidcIssuer;
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-readme-'));
  await symlink(join(repository, 'node_modules'), join(dir, 'node_modules'));
  store = await startStore({ variables: { LIVE_SECONDS: '2', ALLOW_LOOPBACK_URLS: 'true' } });
  oidc = await startOidc({ port: 0, audience: oidcAudience });
  await seedTenants(store.database.url);
  await seedSettings(store.database.url);
  await connectOidc(store.database.url, oidc.url);
  await seedProducts(store.url);
  await seedTerms(store.url);
});
afterAll(async () => {
  await store.close();
  await oidc.close();
  await rm(dir, { recursive: true });
});

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

/** JSON as the API sends it, without the spaces that make it readable; another text as it is. */
function compact(shown: string): string {
  try {
    return JSON.stringify(JSON.parse(shown));
  } catch {
    return shown;
  }
}

/** Parts of an output block of the README that a program did not print. `…` stands for anything. */
function missingFrom(printed: string, shown: string): string[] {
  const actual = withoutChance(printed);
  return compact(shown)
    .split('\n')
    .flatMap((line) => withoutChance(line).split('…'))
    .map((part) => part.trim())
    .filter((part) => !actual.includes(part));
}

test('the story of the README, pasted block by block, prints what the README shows', async () => {
  const readme = await readFile(join(repository, 'README.md'), 'utf8');
  const [addresses, ...story] = blocksOf(readme, 'A first order', 'Find your way');
  expect(addresses?.text).toMatch(
    /^export API=http:\/\/127\.0\.0\.1:8787 KAFKA=\S+:8082 STRIPE=\S+:12111 OIDC=\S+:12112\n$/,
  );
  const examples: [string, string][] = [
    ['addresses', `export API=${store.url} KAFKA=${store.kafka.url} STRIPE=${store.stripe.url} OIDC=${oidc.url}`],
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

  const { calls, printed, outputs } = await paste(examples, dir, store.url);
  const rejected = calls.filter(({ status }) => status < 200 || status > 299);
  expect(rejected, printed).toMatchObject([{ status: 409, method: 'POST', path: '/v1/orders' }]);
  const missing = shown.flatMap(({ name, text: lines }) => missingFrom(outputs.get(name) ?? '', lines));
  expect(missing, printed).toEqual([]);
  expect(shown.length).toBeGreaterThan(12);
  expect(outputs.get('retry')).toMatch(/^Idempotent-Replayed: true/m);
}, 180_000);

test('every shell block of the README that calls the API is part of its story', async () => {
  const readme = await readFile(join(repository, 'README.md'), 'utf8');
  const outside =
    readme.slice(0, readme.indexOf('\n## A first order\n')) + readme.slice(readme.indexOf('\n## Find your way\n'));
  const blocks = [...outside.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, lines = '']) => lines);
  expect(blocks.filter((lines) => /\b(curl|get|post)\b/.test(lines))).toEqual([]);
});

test('the table of errors in the README has codes of the API, each with its status', async () => {
  const readme = await readFile(join(repository, 'README.md'), 'utf8');
  const rows = [...readme.matchAll(/^\| (\d{3}) +\| `(\w+)` +\|/gm)].map(([, status, code = '']) => [
    code,
    Number(status),
  ]);
  expect(rows.length).toBeGreaterThan(8);
  expect(rows).toEqual(rows.map(([code]) => [code, statusOf[code as Code]]));
});
