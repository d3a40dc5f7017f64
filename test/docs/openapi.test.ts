import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { codesOf, openApiDocument } from '../../dev/openapi/document.ts';
import { routes } from '../../dev/openapi/routes.ts';
import { type Code, statusOf } from '../../src/base/errors.ts';
import type { Route } from '../../src/http/declaration.ts';

type Operation = {
  operationId: string;
  security: { bearer: string[] }[];
  parameters: { $ref?: string; name?: string; in?: string; required?: boolean }[];
  requestBody?: { required: boolean; content: Record<string, { example?: unknown }> };
  responses: Record<
    string,
    { $ref?: string; headers?: object; content?: Record<string, { schema: unknown; examples: object }> }
  >;
};
type Document = {
  paths: Record<string, Record<string, Operation>>;
  components: Record<string, Record<string, unknown>>;
};

const document = openApiDocument(routes) as Document;
const operationOf = (route: Route): Operation => {
  const found = document.paths[route.path]?.[route.method];
  if (!found) throw new Error(`${route.id} is not in the document`);
  return found;
};

/** The part of the document that a reference points to. */
function resolveReference(ref: string): unknown {
  return ref
    .slice(2)
    .split('/')
    .reduce<unknown>((parent, name) => (parent as Record<string, unknown> | undefined)?.[name], document);
}

function* referencesIn(value: unknown): Generator<string> {
  if (typeof value !== 'object' || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    if (name === '$ref' && typeof inner === 'string') yield inner;
    else yield* referencesIn(inner);
  }
}

test('docs/openapi.json matches the declared operations', async () => {
  const snapshot = JSON.parse(await readFile(join(import.meta.dirname, '..', '..', 'docs', 'openapi.json'), 'utf8'));
  expect(snapshot, 'update it with `npm run openapi`, and review its diff: it is the public contract').toEqual(
    JSON.parse(JSON.stringify(document)),
  );
});

test('the document is valid OpenAPI 3.1, and every reference in it resolves', async () => {
  const validator = new Validator();
  const result = await validator.validate(JSON.parse(JSON.stringify(document)));
  expect(result.errors).toBeUndefined();
  expect([result.valid, validator.version]).toEqual([true, '3.1']);
  const unresolved = [...new Set(referencesIn(document))].filter((ref) => resolveReference(ref) === undefined);
  expect(unresolved).toEqual([]);
});

test('no two operations have the same id, or the same method and path', () => {
  expect(new Set(routes.map((route) => route.id)).size).toBe(routes.length);
  expect(new Set(routes.map((route) => `${route.method} ${route.path}`)).size).toBe(routes.length);
});

describe.each(routes.map((route) => [route.id, route] as const))('%s', (_, route) => {
  const operation = operationOf(route);

  test('has a summary, its path parameters and its security', () => {
    expect(route.summary).toMatch(/^\S.{5,80}[^.\s]$/);
    expect(operation.operationId).toBe(route.id);
    const liveToken = route.takesLiveToken ? [{ liveToken: [] }] : [];
    expect(operation.security).toEqual(route.scope === undefined ? [] : [{ bearer: [route.scope] }, ...liveToken]);
    const namesInPath = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    const declared = operation.parameters.filter((parameter) => parameter.in === 'path');
    expect(declared.map((parameter) => parameter.name)).toEqual(namesInPath);
    expect(declared.every((parameter) => parameter.required)).toBe(true);
  });

  test('has an example of a required body, and every example matches its schema', () => {
    if (route.body && operation.requestBody?.required) expect(route.example).toBeDefined();
    if (route.body && route.example !== undefined) expect(z.safeParse(route.body, route.example).error).toBeUndefined();
    for (const { schema, example } of Object.values(route.responses)) {
      if (schema && example !== undefined) expect(z.safeParse(schema, example).error).toBeUndefined();
    }
  });

  test('lists each of its error codes under its status, with an example of that code', () => {
    const listed: string[] = [];
    for (const [status, response] of Object.entries(operation.responses)) {
      const resolved = (response.$ref === undefined ? response : resolveReference(response.$ref)) as typeof response;
      const problem = resolved.content?.['application/problem+json'];
      if (!problem) continue;
      const { properties } = problem.schema as { properties: { code: { enum: Code[] } } };
      expect(Object.keys(problem.examples)).toEqual(properties.code.enum);
      for (const code of properties.code.enum) {
        const { value } = resolveReference(`#/components/examples/${code}`) as { value: Record<string, unknown> };
        expect([value.code, value.status, value.type]).toEqual([code, Number(status), `/docs#${code}`]);
        listed.push(code);
      }
    }
    expect(listed.sort()).toEqual(codesOf(route).sort());
  });
});

const minimalRoute = {
  method: 'post',
  path: '/v1/things',
  tag: 'Things',
  summary: 'Do a thing',
  responses: {},
  errors: [],
} as const;
const declare = (fields: Partial<Route>): Route => ({ ...minimalRoute, id: 'doThing', errors: [], ...fields });

test('the error codes of an operation follow from its declaration', () => {
  const body = z.strictObject({ name: z.string() });
  // Every operation rejects undeclared parameters, except webhooks, whose sender may add parameters.
  const always: Code[] = ['validation_failed', 'internal'];
  expect(codesOf(declare({}))).toEqual(always);
  expect(codesOf(declare({ stream: ['application/json'] }))).toEqual(['internal']);
  expect(codesOf(declare({ scope: 'things:write' }))).toEqual([
    'unauthenticated',
    'forbidden',
    'validation_failed',
    'rate_limited',
    'internal',
    'unavailable',
  ]);
  expect(codesOf(declare({ body }))).toEqual(['malformed_json', 'body_too_large', 'unsupported_media_type', ...always]);
  expect(codesOf(declare({ params: z.object({}), query: z.object({}) }))).toEqual(['not_found', ...always]);
  const keyed: Code[] = ['idempotency_in_progress', 'validation_failed', 'idempotency_key_reused', 'internal'];
  expect(codesOf(declare({ idempotency: 'optional' }))).toEqual(keyed);
  expect(codesOf(declare({ idempotency: 'required' }))).toEqual(['idempotency_key_required', ...keyed]);
  expect(codesOf(declare({ ifMatch: true, errors: ['sku_taken'] }))).toEqual([
    'sku_taken',
    'version_mismatch',
    ...always,
  ]);
});

test('a schema that differs between request and response cannot have one name for both', () => {
  const thing = z.object({ size: z.number().default(1) }).meta({ id: 'Thing' });
  const route = declare({ body: thing, responses: { 200: { description: 'Done', schema: thing } } });
  expect(() => openApiDocument([route])).toThrow('Thing');
});

test('every error code of the API has an example', () => {
  expect(Object.keys(document.components.examples ?? {})).toEqual(Object.keys(statusOf));
});
