import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { transform } from 'esbuild';
import { expect, test } from 'vitest';
import { referenceFiles } from '../../dev/reference/build.ts';
import { verbatimHeading } from '../../dev/reference/errors.ts';
import { type Content, type OpenApi, operationsOf, type Schema } from '../../dev/reference/openapi.ts';
import { statusOf } from '../../src/base/errors.ts';
import { topics } from '../../src/events/topics.ts';

const files = await referenceFiles();
const document = JSON.parse(files.get('docs/reference.json') ?? '') as OpenApi;
const operations = operationsOf(document);
const ajv = new Ajv2020({ strict: false, allErrors: true });
(addFormats as unknown as (to: Ajv2020) => void)(ajv);
ajv.addSchema({ $id: 'document', components: document.components });

function faultsOf(schema: Schema, example: unknown): unknown {
  const text = JSON.stringify(schema).replaceAll('"#/components/', '"document#/components/');
  const validate = ajv.compile(JSON.parse(text) as Schema);
  return validate(example) ? null : validate.errors;
}

/** What a request or an answer of these media types lacks: an example, or one that fits. */
const unfit = (content: Content): string[] =>
  Object.entries(content).flatMap(([type, { schema, example }]) => {
    if (example === undefined) return [`${type}: no example`];
    const faults = schema && type === 'application/json' ? faultsOf(schema, example) : null;
    return faults === null ? [] : [`${type}: ${JSON.stringify(faults)}`];
  });

// They are files of their own, and not answers of the Worker.
const staticFiles = ['getOpenApi', 'getDocs'];

test.each(operations.filter(({ operation }) => !staticFiles.includes(operation.operationId)))(
  '$operation.operationId has a fitting example of its request and of each success',
  ({ path, operation, parameters }) => {
    if (operation.operationId !== 'receiveKafka') expect(unfit(operation.requestBody?.content ?? {})).toEqual([]);
    const good = Object.entries(operation.responses).filter(([status]) => status.startsWith('2'));
    expect(good).not.toEqual([]);
    for (const [status, answer] of good) {
      expect([status, unfit('$ref' in answer ? {} : (answer.content ?? {}))]).toEqual([status, []]);
    }
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    const given = parameters.filter((one) => one.in === 'path' && one.example !== undefined).map(({ name }) => name);
    expect(given).toEqual(named);
  },
);

test.each(operations)('$operation.operationId has samples with the headers that it needs', async (placed) => {
  const { operation, parameters, path } = placed;
  const samples = operation['x-codeSamples'] ?? [];
  expect(samples.map(({ label }) => label)).toEqual(['curl', 'TypeScript', 'Python']);
  for (const { label, source } of samples) {
    if (operation.security.length > 0 && !source.includes('token=')) expect(source).toMatch(/Authorization.*Bearer/);
    if (parameters.some(({ name }) => name === 'Idempotency-Key')) expect(source).toContain('Idempotency-Key');
    const [start = ''] = path.split('{');
    const address = operation.operationId === 'watchCampaign' && label === 'TypeScript' ? '/v1/campaigns/' : start;
    expect(source).toContain(address);
    if (label === 'TypeScript') await transform(source, { loader: 'ts', format: 'esm' });
  }
});

test('the event catalogue has every topic, with an example that fits its schema', () => {
  expect(Object.keys(document.webhooks ?? {})).toEqual(Object.keys(topics));
  for (const [topic, { post }] of Object.entries(document.webhooks ?? {})) {
    expect(post?.description, topic).toContain(`key \`${topics[topic]?.key}\``);
    expect([topic, unfit(post?.requestBody.content ?? {})]).toEqual([topic, []]);
  }
});

test('every code of an error has a heading of its own', () => {
  for (const code of Object.keys(statusOf)) expect(document.info.description).toContain(`${verbatimHeading(code)}\n`);
});

test('the document is valid OpenAPI 3.1', async () => {
  const result = await new Validator().validate(JSON.parse(JSON.stringify(document)));
  expect(result.errors).toBeUndefined();
});

test('openapi.json is the committed document', async () => {
  const committed = await readFile(join(import.meta.dirname, '..', '..', 'docs', 'openapi.json'), 'utf8');
  expect(JSON.parse(files.get('openapi.json') ?? '')).toEqual(JSON.parse(committed));
});

test('the page has no script or style of its own, and no address of others', () => {
  const page = files.get('docs.html') ?? '';
  expect(page).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\son\w+=|https?:/);
  expect(files.get('_headers')).not.toMatch(/unsafe-eval|script-src[^;]*unsafe|https?:/);
});
