import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

type Page = { path: string; text: string };

/** What a page of documentation is held against. */
export type Facts = {
  exists: (path: string) => boolean;
  /** The names in package.json's `scripts`. */
  scripts: string[];
  /** The text of a test file; undefined if there is none. */
  test: (path: string) => string | undefined;
};

const withoutCode = (text: string): string => text.replaceAll(/^```[\s\S]*?^```/gm, '');

function linkFaults({ path, text }: Page, { exists }: Facts): string[] {
  const links = [...withoutCode(text).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)].map(
    (match) => match[1] ?? '',
  );
  return links
    .filter((link) => !exists(join(dirname(path), link)))
    .map((link) => `${path} links to ${link}, which is not there`);
}

/** Files of ours that a page names in code style. Patterns and what a user makes (`.dev.vars`) are no such names. */
function nameFaults({ path, text }: Page, { exists }: Facts): string[] {
  const [claims = ''] = text.split(/^## Confirmed by$/m); // what is below: decisionFaults
  const names = [...claims.matchAll(/`((?:src|dev|test|bench|migrations|docs)\/[\w./-]+\.\w+)`/g)].map(
    (match) => match[1] ?? '',
  );
  return [...new Set(names)].filter((name) => !exists(name)).map((name) => `${path} names ${name}, which is not there`);
}

function commandFaults({ path, text }: Page, { scripts }: Facts): string[] {
  const named = [...text.matchAll(/\bnpm run ([\w:-]+)/g)].map((match) => match[1] ?? '');
  return [...new Set(named)]
    .filter((name) => !scripts.includes(name))
    .map((name) => `${path} says "npm run ${name}", which package.json does not have`);
}

/** The lines under "Confirmed by" are `- \`file\`: "title"`, and that file has a test of that title. */
function decisionFaults({ path, text }: Page, { test }: Facts): string[] {
  if (!/^docs\/adr\/\d/.test(path)) return [];
  const [, confirmed] = text.split(/^## Confirmed by$/m);
  const items = [...(confirmed ?? '').matchAll(/^- `(test\/[\w./-]+)`: "(.+)"$/gm)];
  if (items.length === 0) return [`${path} does not say which test confirms it`];
  return items.flatMap(([, file = '', title = '']) => {
    const source = test(file);
    if (source === undefined) return [`${path} is confirmed by ${file}, which is not there`];
    return source.includes(title) ? [] : [`${path} is confirmed by "${title}", which is no test in ${file}`];
  });
}

/** Each row of the tables of threats names tests as `test/x.test.ts`: "title", and they are there. */
function threatFaults({ path, text }: Page, { test }: Facts): string[] {
  if (path !== 'docs/security.md') return [];
  const [, threats = ''] = text.split(/^## (?:Threats|Decisions)$/m);
  const lines = threats.split('\n');
  const isRow = (line = ''): boolean => /^\| (?!-)/.test(line);
  const rows = lines.filter((line, at) => isRow(line) && !/^\| -/.test(lines[at + 1] ?? '')); // not the tables' heads
  if (rows.length === 0) return [`${path} names no threat`];
  return rows.flatMap((row) => {
    const threat = row.split('|')[1]?.trim() ?? '';
    const named = [...row.matchAll(/`(test\/[\w./-]+)`: "([^"]+)"/g)];
    if (named.length === 0) return [`${path} names no test that covers "${threat}"`];
    return named
      .filter(([, file = '', title = '']) => !test(file)?.includes(title))
      .map(([, file, title]) => `${path}: "${threat}" is covered by "${title}", which is no test in ${file}`);
  });
}

/** Where documentation names a file, a script or a test that is not there. */
export function findDocFaults(pages: Page[], facts: Facts): string[] {
  return pages.flatMap((page) => [
    ...linkFaults(page, facts),
    ...nameFaults(page, facts),
    ...commandFaults(page, facts),
    ...decisionFaults(page, facts),
    ...threatFaults(page, facts),
  ]);
}

/** The programs that package.json's scripts start and that are not there. */
export function findScriptFaults(scripts: Record<string, string>, exists: Facts['exists']): string[] {
  return Object.entries(scripts).flatMap(([name, command]) =>
    [...command.matchAll(/\bnode ([\w./-]+)/g)]
      .filter(([, file = '']) => !exists(file))
      .map(([, file]) => `package.json: "npm run ${name}" starts ${file}, which is not there`),
  );
}

/** The names of the variables that the Worker's settings and those of `npm start` read. */
export function variablesIn(workerSettings: string, startSettings: string): string[] {
  const found = [
    ...workerSettings.matchAll(/^ {2}([A-Z][A-Z0-9_]+): (?:z\.|json\()/gm),
    ...startSettings.matchAll(/\bgiven\.([A-Z][A-Z0-9_]+)|\bport\('([A-Z_]+)'/g),
  ];
  return [...new Set(found.map((match) => match[1] ?? match[2] ?? ''))];
}

/** Checks README, CONTRIBUTING, SECURITY, docs/ and package.json of a folder; answers what is wrong. */
export async function checkDocs(root: string): Promise<string[]> {
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const docs = await readdir(join(root, 'docs'), { recursive: true });
  const paths = [
    'README.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    ...docs.map((name) => `docs/${name.replaceAll('\\', '/')}`),
  ];
  const pages = await Promise.all(
    paths
      .filter((path) => path.endsWith('.md'))
      .sort()
      .map(async (path) => ({ path, text: await readFile(join(root, path), 'utf8') })),
  );
  const tests = new Map<string, string>();
  for (const name of await readdir(join(root, 'test'), { recursive: true })) {
    if (name.endsWith('.test.ts')) tests.set(`test/${name}`, await readFile(join(root, 'test', name), 'utf8'));
  }
  const exists = (path: string): boolean => existsSync(join(root, path));
  const read = (path: string): Promise<string> => readFile(join(root, path), 'utf8');
  const readme = pages.find(({ path }) => path === 'README.md')?.text ?? '';
  const unsaid = variablesIn(await read('src/env.ts'), await read('dev/platform/settings.ts'))
    .filter((name) => !readme.includes(`\`${name}\``))
    .map((name) => `README.md does not name the variable ${name}`);
  const facts: Facts = { exists, scripts: Object.keys(scripts), test: (path) => tests.get(path) };
  return [...findDocFaults(pages, facts), ...findScriptFaults(scripts, exists), ...unsaid];
}
