import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';

export type SourceFile = { path: string; text: string };

/**
 * The parts of the Worker, from the ground up. A file imports from its own part and from those below it. Where two names
 * fit a path, the longer one counts.
 */
const parts = [
  'src/base/',
  'src/db/',
  'src/carriers/',
  'src/events/kafka/',
  'src/env.ts',
  'src/context.ts',
  'src/events/kafka/consume/',
  'src/stripe/',
  'src/domain/',
  'src/events/',
  'src/http/',
  'src/consumers/',
  'src/routes/',
  'src/cron.ts',
  'src/app.ts',
  'src/index.ts',
];

const partOf = (path: string): number => {
  const fitting = parts.filter((part) => path.startsWith(part)).sort((a, b) => b.length - a.length);
  return parts.indexOf(fitting[0] ?? '');
};

/** What a part may not import although it lies below. One way through: routes, consumers and cron → domain → db. */
const closed: { of: string; mayNot: string[]; but?: Record<string, string[]>; why: string }[] = [
  {
    of: 'src/routes/',
    mayNot: ['src/db/', 'src/consumers/', 'src/events/kafka/', 'src/events/queues.ts'],
    why: 'a route reads the request, calls one operation of domain, and answers',
  },
  {
    of: 'src/consumers/',
    mayNot: ['src/db/', 'src/events/kafka/', 'src/http/'],
    but: { '': ['src/http/edge-cache.ts'] },
    why: 'a consumer calls one operation of domain',
  },
];

/** The only files that know an API of others. */
const packages: Record<string, RegExp> = {
  hono: /^src\/(app\.ts|routes\/|http\/)/,
  'drizzle-orm': /^src\/db\//,
  '@neondatabase/serverless': /^src\/db\/client\.ts$/,
  '@upstash/kafka': /^src\/events\/kafka\//,
  stripe: /^src\/stripe\//,
};

const mostLines = 300;
/** What Cloudflare and vitest call by no name. */
const defaults = ['src/index.ts', 'test/support/global-setup.ts'];
/** More files than this in one folder are a list that nobody reads. */
const mostFiles = 40;
const importing = /\b(?:import|export)\s+(?:type\s+)?[\w*${},\s]+?\s+from\s+'([^']+)'|\bimport\s*\(?\s*'([^']+)'/g;
const vagueName = /(^|[/-])(utils?|helpers?|misc|common|[\w-]*(service|manager|repository))(\.\w+)*$/i;

function importFaults({ path, text }: SourceFile): string[] {
  if (!path.startsWith('src/')) return [];
  return [...text.matchAll(importing)].flatMap((match) => {
    const name = match[1] ?? match[2] ?? '';
    if (!name.startsWith('.')) {
      const [first = '', second] = name.split('/');
      const only = packages[name.startsWith('@') ? `${first}/${second}` : first];
      return only && !only.test(path) ? [`${path}: ${name} is imported by ${only.source} alone`] : [];
    }
    const target = normalize(join(dirname(path), name));
    if (!target.startsWith('src/')) {
      const isOurs = /^(dev|bench|test)\//.test(target);
      return isOurs ? [`${path} imports ${target}: the Worker contains nothing of the tools around it`] : [];
    }
    if (partOf(target) > partOf(path)) {
      return [`${path} imports ${target}: ${parts[partOf(target)]} lies above ${parts[partOf(path)]}`];
    }
    return closed
      .filter(({ of, mayNot }) => path.startsWith(of) && mayNot.some((start) => target.startsWith(start)))
      .filter(({ but = {} }) => ![...(but[''] ?? []), ...(but[path] ?? [])].some((start) => target.startsWith(start)))
      .map(({ why }) => `${path} imports ${target}: ${why}`);
  });
}

const statements = /\b(?:insert\s+into|update|delete\s+from)\s+(\w+)\.\w+/gi;

/** A file of SQL functions belongs to the service of its folder, and writes that service's tables alone. */
function sqlFaults({ path, text }: SourceFile): string[] {
  if (!/^src\/db\/.*\.sql$/.test(path)) return [];
  const code = text.replaceAll(/--.*$/gm, '');
  const made = [...code.matchAll(/create\s+or\s+replace\s+function\s+(\w+)\./gi)].map((match) => match[1]);
  const schema = path.split('/')[2]?.replaceAll('-', '_');
  const others = [...new Set(made)].filter((name) => name !== schema);
  const written = new Set([...code.matchAll(statements)].map((match) => match[1]));
  return [
    ...others.map((other) => `${path} makes functions of ${other}: a file belongs to the service of its folder`),
    ...[...written]
      .filter((name) => name !== schema)
      .map((name) => `${path} writes a table of ${name}, not of ${schema}`),
  ];
}

const entries = ['platform.enter', 'platform.identify', 'platform.authenticate', 'platform.enter_as'];
/** One checks the key itself, the other tells what /readyz tells everybody. */
const openFunctions = ['platform.authenticate', 'platform.health'];

/** A function that the Worker's login may call checks a key or the job secret first, itself or in the function it calls. */
function entryFaults(files: SourceFile[]): string[] {
  const sources = files.filter(({ path }) => /^src\/db\/.*\.sql$/.test(path));
  const code = sources.map(({ text }) => text.replaceAll(/--.*$/gm, '')).join('\n');
  const granted = [...code.matchAll(/grant execute on function ([^;]*?)\s+to ([^;]*);/g)]
    .filter(([, , roles = '']) => /\bfusion_worker\b/.test(roles))
    .flatMap(([, names = '']) => names.split(',').map((name) => name.trim()));
  const checksFirst = (name: string, depth = 0): boolean => {
    const [, body = ''] = code.split(`function ${name}(`)[1]?.split('$$') ?? [];
    const first = /\b(?:from|insert|update|delete)\b|\b(\w+\.\w+)\(/i.exec(body)?.[1];
    return first !== undefined && (entries.includes(first) || (depth < 3 && checksFirst(first, depth + 1)));
  };
  return granted
    .filter((name) => !openFunctions.includes(name) && !checksFirst(name))
    .map((name) => `${name} is granted to fusion_worker and does not begin with platform.enter, identify or enter_as`);
}

function shapeFaults({ path, text }: SourceFile): string[] {
  const faults: string[] = [];
  const say = (fault: string): number => faults.push(`${path}: ${fault}`);
  const lines = text.split('\n').length - 1;
  if (path.startsWith('src/') && lines > mostLines) say(`${lines} lines; split its noun at ${mostLines}`);
  if (path.startsWith('src/') && partOf(path) === -1) say('belongs to no part: name its folder in dev/checks/rules.ts');
  if (vagueName.test(path)) say('a name that says nothing of what is in it');
  if (!/\.ts$/.test(path)) return faults;
  if (/^export default/m.test(text) && !defaults.includes(path)) say('a default export');
  if (/^export \* from/m.test(text)) say('a barrel');
  if (/^src\/db\//.test(path) && /\b(?:db|tx)\s*\.(?:insert|update|delete)\(/.test(text)) {
    say('a write beside the service’s SQL functions');
  }
  // The rule itself: these words stand nowhere else (wrangler's generated types are not ours to change).
  if (/\b(?:TODO|FIXME|XXX)\b/.test(text)) say('something left undone');
  if (/\b(?:test|it|describe)\.(?:skip|only|todo|skipIf)\b/.test(text))
    say('a test that is skipped, or that skips others');
  return faults;
}

/** Files that import each other in a circle, types included; each circle once, from its first file. */
function cycleFaults(files: SourceFile[]): string[] {
  const graph = new Map(
    files
      .filter(({ path }) => path.endsWith('.ts'))
      .map(({ path, text }) => [
        path,
        [...text.matchAll(importing)]
          .map((match) => match[1] ?? match[2] ?? '')
          .filter((name) => name.startsWith('.'))
          .map((name) => normalize(join(dirname(path), name))),
      ]),
  );
  const done = new Set<string>();
  const faults: string[] = [];
  const visit = (path: string, way: string[]): void => {
    const at = way.indexOf(path);
    if (at !== -1) faults.push(`these files import each other: ${[...way.slice(at), path].join(' → ')}`);
    if (at !== -1 || done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...way, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return faults;
}

/** Folders with too many files. */
function folderFaults(files: SourceFile[]): string[] {
  return [...Map.groupBy(files, ({ path }) => dirname(path))]
    .filter(([, inside]) => inside.length > mostFiles)
    .map(([folder, inside]) => `${folder} has ${inside.length} files; give a family of them a folder at ${mostFiles}`);
}

/** Where these files break the rules that CONTRIBUTING.md states: who imports whom, who writes what, how files look. */
export function findRuleFaults(files: SourceFile[]): string[] {
  return [
    ...files.flatMap((file) => [...importFaults(file), ...sqlFaults(file), ...shapeFaults(file)]),
    ...entryFaults(files),
    ...cycleFaults(files),
    ...folderFaults(files),
  ];
}

/** The project's own TypeScript and SQL, without what is generated. */
export async function readSources(root: string): Promise<SourceFile[]> {
  const folders = ['src', 'dev', 'bench', 'test'];
  const lists = await Promise.all(folders.map((folder) => listFiles(root, folder)));
  const paths = lists.flat().filter((path) => /\.(ts|sql)$/.test(path) && path !== 'dev/checks/rules.ts');
  return Promise.all(paths.map(async (path) => ({ path, text: await readFile(join(root, path), 'utf8') })));
}

async function listFiles(root: string, folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath.slice(root.length + 1), entry.name).replaceAll('\\', '/'))
    .sort();
}
