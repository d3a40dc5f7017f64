import { expect, test } from 'vitest';
import * as z from 'zod';
import packageJson from '../../package.json' with { type: 'json' };
import { statusOf } from '../../src/base/errors.ts';
import { openApiDocument } from '../../src/http/openapi/document.ts';
import { type Route, route } from '../../src/http/route.ts';
import { routes } from '../../src/routes/all.ts';
import { docsPage } from '../../src/routes/docs/page.ts';

const page = docsPage(openApiDocument(routes));
const matches = (pattern: RegExp, text = page) => [...text.matchAll(pattern)].map(([, found = '']) => found);

test('the page asks nothing of anyone: no script, and no address but its own', () => {
  expect(page).toContain(`content="default-src &#39;none&#39;;`);
  expect(page).not.toMatch(/<script|<iframe|<object|<form|\son\w+=|javascript:|@import|url\(/i);
  const addresses = matches(/\s(?:href|src|action|srcset|poster|data)="([^"]*)"/g);
  expect(addresses.filter((address) => !address.startsWith('#'))).toEqual(['data:,', '/openapi.json']);
});

test("the page and the document show the package's version", () => {
  expect(openApiDocument(routes)).toMatchObject({ info: { version: packageJson.version } });
  expect(page).toContain(`version ${packageJson.version}`);
});

test('every operation and every error code has its place, each once, and every link on the page leads to one', () => {
  const ids = matches(/\sid="([^"]*)"/g);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).toEqual(expect.arrayContaining([...routes.map((of) => of.id), ...Object.keys(statusOf)]));
  expect(matches(/href="#([^"]*)"/g).filter((target) => !ids.includes(target))).toEqual([]);
});

test('what a declaration says is shown as text, whatever is in it', () => {
  const evil = `</pre></style><script>alert("1")</script>'&`;
  const hostile = route({
    id: 'doEvil',
    method: 'post',
    path: '/v1/<x-1>',
    tag: 'Evil <x-2>',
    summary: evil,
    description: `${evil}\n\n- \`${evil}\``,
    scope: evil,
    body: z.object({
      [evil]: z.enum([evil]).meta({ description: evil }),
      text: z.string().regex(/<x-3>/).default(evil),
    }),
    example: { [evil]: evil },
    answers: { 200: { description: evil, schema: z.object({ [evil]: z.literal(evil) }), example: { [evil]: evil } } },
    errors: [],
    run: () => ({ status: 204 }),
  } as Route);
  const shown = docsPage(openApiDocument([hostile]));
  expect(shown).not.toMatch(/<script|<x-/);
  expect(matches(/(<\/style>)/g, shown)).toHaveLength(1);
  expect(shown).toContain('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;');
});

test('a request on the page can be pasted into a shell, apostrophes and all', () => {
  const body = z.object({ name: z.string() });
  const of = route({
    id: 'nameThing',
    method: 'post',
    path: '/v1/things/{sku}',
    tag: 'Things',
    summary: 'Name a thing',
    scope: 'things:write',
    idempotency: 'required',
    params: z.object({ sku: z.string().meta({ examples: ['A/B'] }) }),
    body,
    example: { name: "the shop's" },
    answers: { 200: { description: 'Named', schema: body } },
    errors: [],
    run: () => ({ status: 204 }),
  });
  const shown = docsPage(openApiDocument([of]))
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'");
  expect(shown).toContain(`curl -sS -X POST "$API/v1/things/A%2FB" \\
  -H "Authorization: Bearer $KEY" \\
  -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' \\
  --data-binary '{
  "name": "the shop'\\''s"
}'`);
});
