import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';
import { findRuleFaults, readSources } from '../../dev/checks/rules.ts';

const root = join(import.meta.dirname, '..', '..');
const sources = await readSources(root);
const modules = sources.filter(({ path }) => path.startsWith('src/') && path.endsWith('.ts'));

type Import = { name: string; typeOnly: boolean };

/** What a module imports and exports from; strings and comments that look so do not begin a line. */
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

/** Everything that is loaded with a module. */
function reach(path: string, seen = new Set<string>()): Set<string> {
  for (const next of graph.get(path) ?? []) {
    if (seen.has(next)) continue;
    seen.add(next);
    reach(next, seen);
  }
  return seen;
}

test('the sources follow the rules: one way through, one writer a table, one file an API', () => {
  expect(modules.length).toBeGreaterThan(50);
  expect(findRuleFaults(modules)).toEqual([]);
});

test('every import names its file, and the file is there', () => {
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

test('no module needs itself: nothing is loaded before what it stands on', () => {
  const circles = [...graph.keys()].filter((path) => reach(path).has(path));
  expect(circles).toEqual([]);
});

test('db and domain can be loaded without anything of HTTP', () => {
  for (const path of graph.keys()) {
    const shelf = /^src\/(db|domain)\//.exec(path)?.[1];
    if (shelf === undefined) continue;
    const forbidden =
      shelf === 'db'
        ? /^src\/(?!db\/|base\/)/
        : /^src\/(routes|consumers|http)\/|^src\/events\/(?!kafka\/)|^src\/(app|cron)\.ts/;
    expect([path, [...reach(path)].filter((other) => forbidden.test(other))]).toEqual([path, []]);
  }
});

test('a noun has one name in routes, consumers, domain and db', () => {
  const nounsOf = (folder: string) =>
    modules.flatMap(({ path }) => new RegExp(`^src/${folder}/([\\w-]+)(?:\\.ts|/)`).exec(path)?.[1] ?? []);
  const domain = new Set(nounsOf('domain'));
  // Files that hold no noun of the domain, or one that has another name on the API.
  const other = [
    ...['campaigns', 'dead-letters', 'examples', 'operations', 'shipments', 'webhooks'],
    ...['audit', 'client', 'platform', 'queue', 'partly-applied', 'slow-tenants'],
  ];
  for (const folder of ['routes', 'consumers', 'db']) {
    expect(nounsOf(folder).filter((noun) => !domain.has(noun) && !other.includes(noun))).toEqual([]);
  }
});
