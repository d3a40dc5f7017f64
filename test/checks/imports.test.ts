import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';
import { findRuleViolations, readSources } from '../../dev/checks/rules.ts';

const root = join(import.meta.dirname, '..', '..');
const sources = await readSources(root);
const modules = sources.filter(({ path }) => path.startsWith('src/') && path.endsWith('.ts'));

type Import = { name: string; typeOnly: boolean };

/** The import and re-export statements of a module. They begin a line, which strings and comments like them do not. */
function importsOf(text: string): Import[] {
  const statements = text.matchAll(/^(?:import|export)\b(\s+type\b)?[^'";]*?\bfrom\s+'([^']+)'|^import\s+'([^']+)'/gm);
  return [...statements].map((match) => ({
    name: match[2] ?? match[3] ?? '',
    typeOnly: match[1] !== undefined,
  }));
}

const graph = new Map(
  modules.map(({ path, text }) => [
    path,
    importsOf(text)
      .filter(({ name, typeOnly }) => name.startsWith('.') && !typeOnly)
      .map(({ name }) => normalize(join(dirname(path), name))),
  ]),
);

/** All modules that are loaded with this one. */
function findLoaded(path: string, seen = new Set<string>()): Set<string> {
  for (const next of graph.get(path) ?? []) {
    if (seen.has(next)) continue;
    seen.add(next);
    findLoaded(next, seen);
  }
  return seen;
}

test('the sources follow the rules for imports, tables and packages', () => {
  expect(modules.length).toBeGreaterThan(50);
  expect(findRuleViolations(modules)).toEqual([]);
});

test('every import names an existing file with its extension', () => {
  for (const { path, text } of modules) {
    const found = importsOf(text);
    expect([path, found.length]).toEqual([
      path,
      text.match(/^(import|export)\b[^'";=(]*?\bfrom '|^import '/gm)?.length ?? 0,
    ]);
    for (const { name } of found.filter((each) => each.name.startsWith('.'))) {
      expect(name).toMatch(/\.(ts|json)$/);
      expect(() => readFileSync(join(root, dirname(path), name))).not.toThrow();
    }
  }
});

test('no module imports itself through others', () => {
  const cycles = [...graph.keys()].filter((path) => findLoaded(path).has(path));
  expect(cycles).toEqual([]);
});

test('db and domain load no HTTP code', () => {
  for (const path of graph.keys()) {
    const layer = /^src\/(db|domain)\//.exec(path)?.[1];
    if (layer === undefined) continue;
    const forbidden =
      layer === 'db'
        ? /^src\/(?!db\/|base\/)/
        : /^src\/(routes|consumers|http)\/|^src\/events\/(?!kafka\/)|^src\/(app|cron)\.ts/;
    expect([path, [...findLoaded(path)].filter((other) => forbidden.test(other))]).toEqual([path, []]);
  }
});

test('routes, consumers, domain and db use the same noun for the same thing', () => {
  const nounsOf = (folder: string) =>
    modules.flatMap(({ path }) => new RegExp(`^src/${folder}/([\\w-]+)(?:\\.ts|/)`).exec(path)?.[1] ?? []);
  // A family of nouns has a folder: `catalog/products.ts`.
  const domain = new Set(
    modules.flatMap(({ path }) => /^src\/domain\/(?:([\w-]+)\/)?([\w-]+)\.ts/.exec(path)?.slice(1) ?? []),
  );
  // Files without a noun of the domain, or with a noun that has another name in the API.
  const exceptions = [
    ...[
      'campaign-examples',
      'campaign-referrals',
      'campaign-teams',
      'campaigns',
      'card-page',
      'cards',
      'cart-examples',
      'dead-letters',
      'examples',
      'keys',
      'operations',
      'shipments',
      'storefront',
      'team-examples',
      'tenant',
      'webhooks',
    ],
    ...['audit', 'client', 'failures', 'platform', 'queue', 'partly-applied', 'slow-tenants'],
  ];
  for (const folder of ['routes', 'consumers', 'db']) {
    expect(nounsOf(folder).filter((noun) => !domain.has(noun) && !exceptions.includes(noun))).toEqual([]);
  }
});
