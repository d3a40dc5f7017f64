import { existsSync, readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  findAnchorProblems,
  findRecipeProblems,
  findSymbolProblems,
  findTitleProblems,
  type Page,
} from './doc-references.ts';

/** The facts of the repository that pages are compared with. */
export type Facts = {
  exists: (path: string) => boolean;
  /** The names in package.json's `scripts`. */
  scripts: string[];
  /** The text of a test file; undefined if there is none. */
  test: (path: string) => string | undefined;
};

const withoutCode = (text: string): string => text.replaceAll(/^```[\s\S]*?^```/gm, '');

function findLinkProblems({ path, text }: Page, { exists }: Facts): string[] {
  const links = [...withoutCode(text).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)].map(
    (match) => match[1] ?? '',
  );
  return links
    .filter((link) => !exists(join(dirname(path), link)))
    .map((link) => `${path} links to ${link}, which does not exist`);
}

/** Problems with the project's files that a page names in code style. Patterns and `.dev.vars` are not checked. */
function findFileProblems({ path, text }: Page, { exists }: Facts): string[] {
  const [claims = ''] = text.split(/^## Confirmed by$/m); // findDecisionProblems checks the rest
  const names = [...claims.matchAll(/`((?:src|dev|test|bench|migrations|docs)\/[\w./-]+\.\w+)`/g)].map(
    (match) => match[1] ?? '',
  );
  return [...new Set(names)]
    .filter((name) => !exists(name))
    .map((name) => `${path} names ${name}, which does not exist`);
}

function findCommandProblems({ path, text }: Page, { scripts }: Facts): string[] {
  const named = [...text.matchAll(/\bnpm run ([\w:-]+)/g)].map((match) => match[1] ?? '');
  return [...new Set(named)]
    .filter((name) => !scripts.includes(name))
    .map((name) => `${path} names "npm run ${name}", which is not in package.json`);
}

/** Each line under "Confirmed by" is `- \`file\`: "title"`, and that file must contain a test with that title. */
function findDecisionProblems({ path, text }: Page, { test }: Facts): string[] {
  if (!/^docs\/adr\/\d/.test(path)) return [];
  const [, confirmed] = text.split(/^## Confirmed by$/m);
  const items = [...(confirmed ?? '').matchAll(/^- `(test\/[\w./-]+)`: "(.+)"$/gm)];
  if (items.length === 0) return [`${path} names no test under "Confirmed by": add a line - \`test/…\`: "title"`];
  return items.flatMap(([, file = '', title = '']) => {
    const source = test(file);
    if (source === undefined) return [`${path} is confirmed by ${file}, which does not exist`];
    return source.includes(title) ? [] : [`${path} is confirmed by "${title}", but ${file} has no such test`];
  });
}

/** Each row of the tables of threats must name existing tests as `test/x.test.ts`: "title". */
function findThreatProblems({ path, text }: Page, { test }: Facts): string[] {
  if (path !== 'docs/security.md') return [];
  const [, threats = ''] = text.split(/^## (?:Threats|Decisions)$/m);
  const lines = threats.split('\n');
  const isRow = (line = ''): boolean => /^\| (?!-)/.test(line);
  const rows = lines.filter((line, index) => isRow(line) && !/^\| -/.test(lines[index + 1] ?? '')); // without headings
  if (rows.length === 0) return [`${path} has no table of threats`];
  return rows.flatMap((row) => {
    const threat = row.split('|')[1]?.trim() ?? '';
    const named = [...row.matchAll(/`(test\/[\w./-]+)`: "([^"]+)"/g)];
    if (named.length === 0) return [`${path} names no test that covers "${threat}"`];
    return named
      .filter(([, file = '', title = '']) => !test(file)?.includes(title))
      .map(([, file, title]) => `${path}: "${threat}" is covered by "${title}", but ${file} has no such test`);
  });
}

/** Finds files, scripts and tests that the documentation names but that do not exist. */
export function findDocProblems(pages: Page[], facts: Facts): string[] {
  return pages.flatMap((page) => [
    ...findLinkProblems(page, facts),
    ...findFileProblems(page, facts),
    ...findCommandProblems(page, facts),
    ...findDecisionProblems(page, facts),
    ...findThreatProblems(page, facts),
  ]);
}

/** Finds programs that the scripts of package.json start but that do not exist. */
export function findScriptProblems(scripts: Record<string, string>, exists: Facts['exists']): string[] {
  return Object.entries(scripts).flatMap(([name, command]) =>
    [...command.matchAll(/\bnode ([\w./-]+)/g)]
      .filter(([, file = '']) => !exists(file))
      .map(([, file]) => `package.json: "npm run ${name}" starts ${file}, which does not exist`),
  );
}

/** The names of the environment variables that the Worker and `npm start` read. */
export function variablesIn(workerSettings: string, startSettings: string): string[] {
  const found = [
    ...workerSettings.matchAll(/^ {2}([A-Z][A-Z0-9_]+): (?:z\.|json\()/gm),
    ...startSettings.matchAll(/\bgiven\.([A-Z][A-Z0-9_]+)|\bport\('([A-Z_]+)'/g),
  ];
  return [...new Set(found.map((match) => match[1] ?? match[2] ?? ''))];
}

/** Checks README, CONTRIBUTING, SECURITY, docs/ and package.json of a folder. Resolves with the problems. */
export async function checkDocs(root: string): Promise<string[]> {
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const docs = await readdir(join(root, 'docs'), { recursive: true });
  const paths = [
    'README.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    'CHANGELOG.md',
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
  const textOf = (path: string): string | undefined =>
    exists(path) ? readFileSync(join(root, path), 'utf8') : undefined;
  const read = (path: string): Promise<string> => readFile(join(root, path), 'utf8');
  const readme = pages.find(({ path }) => path === 'README.md')?.text ?? '';
  const undocumented = variablesIn(await read('src/env.ts'), await read('dev/platform/settings.ts'))
    .filter((name) => !readme.includes(`\`${name}\``))
    .map((name) => `README.md does not document the variable ${name}`);
  const facts: Facts = { exists, scripts: Object.keys(scripts), test: (path) => tests.get(path) };
  const referenceProblems = pages.flatMap((page) => [
    ...findSymbolProblems(page, textOf),
    ...findTitleProblems(page, textOf),
    ...findRecipeProblems(page, textOf),
  ]);
  return [
    ...findDocProblems(pages, facts),
    ...findScriptProblems(scripts, exists),
    ...findAnchorProblems(pages),
    ...referenceProblems,
    ...undocumented,
  ];
}
