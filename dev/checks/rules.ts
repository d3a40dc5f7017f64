import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';

export type SourceFile = { path: string; text: string };

/**
 * The layers of the Worker, from the lowest to the highest. A file may import from its own layer and from lower ones.
 * If two names match a path, the longer one counts.
 */
const layers = [
  'src/base/',
  'src/db/',
  'src/carriers/',
  'src/events/kafka/',
  'src/env.ts',
  'src/context.ts',
  'src/events/kafka/consume/',
  'src/stripe/',
  'src/vies/',
  'src/oidc/',
  'src/domain/',
  'src/events/',
  'src/http/',
  'src/consumers/',
  'src/routes/',
  'src/cron.ts',
  'src/app.ts',
  'src/index.ts',
];

const layerOf = (path: string): number => {
  const matching = layers.filter((layer) => path.startsWith(layer)).sort((a, b) => b.length - a.length);
  return layers.indexOf(matching[0] ?? '');
};

/** Lower layers that a layer may not import. There is one way: routes, consumers and cron → domain → db. */
const forbiddenImports: { from: string; mayNot: string[]; except?: Record<string, string[]>; why: string }[] = [
  {
    from: 'src/routes/',
    mayNot: ['src/db/', 'src/consumers/', 'src/events/kafka/', 'src/events/queues.ts'],
    why: 'a route reads the request, calls one operation of src/domain and returns the response',
  },
  {
    from: 'src/consumers/',
    mayNot: ['src/db/', 'src/events/kafka/', 'src/http/'],
    except: { '': ['src/http/edge-cache.ts'] },
    why: 'a consumer calls one operation of src/domain',
  },
];

/** The only files that may import each package. */
const packages: Record<string, RegExp> = {
  hono: /^src\/(app\.ts|routes\/|http\/)/,
  'drizzle-orm': /^src\/db\//,
  '@neondatabase/serverless': /^src\/db\/client\.ts$/,
  '@upstash/kafka': /^src\/events\/kafka\//,
  stripe: /^src\/stripe\//,
};

const maxLines = 300;
/** Cloudflare and vitest need a default export here. */
const defaultExports = ['src/index.ts', 'test/support/global-setup.ts'];
/** The most files in one folder. A longer list is hard to read. */
const maxFiles = 40;
const importing = /\b(?:import|export)\s+(?:type\s+)?[\w*${},\s]+?\s+from\s+'([^']+)'|\bimport\s*\(?\s*'([^']+)'/g;
const vagueName = /(^|[/-])(utils?|helpers?|misc|common|[\w-]*(service|manager|repository))(\.\w+)*$/i;

function findImportViolations({ path, text }: SourceFile): string[] {
  if (!path.startsWith('src/')) return [];
  return [...text.matchAll(importing)].flatMap((match) => {
    const name = match[1] ?? match[2] ?? '';
    if (!name.startsWith('.')) {
      const [first = '', second] = name.split('/');
      const allowedFiles = packages[name.startsWith('@') ? `${first}/${second}` : first];
      return allowedFiles && !allowedFiles.test(path)
        ? [`${path} imports ${name}: only files that match ${allowedFiles.source} may`]
        : [];
    }
    const target = normalize(join(dirname(path), name));
    if (!target.startsWith('src/')) {
      const isOurs = /^(dev|bench|test)\//.test(target);
      return isOurs ? [`${path} imports ${target}: the Worker may not import from dev, bench or test`] : [];
    }
    if (layerOf(target) > layerOf(path)) {
      return [`${path} imports ${target}: ${layers[layerOf(target)]} is a higher layer than ${layers[layerOf(path)]}`];
    }
    return forbiddenImports
      .filter(({ from, mayNot }) => path.startsWith(from) && mayNot.some((start) => target.startsWith(start)))
      .filter(
        ({ except = {} }) =>
          ![...(except[''] ?? []), ...(except[path] ?? [])].some((start) => target.startsWith(start)),
      )
      .map(({ why }) => `${path} imports ${target}: ${why}`);
  });
}

const statements = /\b(?:insert\s+into|update|delete\s+from)\s+(\w+)\.\w+/gi;

/** Every service may append events and their outbox rows in the statement that writes its own rows. */
const appends = /\binsert\s+into\s+platform\.(?:events|outbox)\b/gi;

/** A file of SQL functions belongs to the service of its folder and may write only that service's tables. */
function findSqlViolations({ path, text }: SourceFile): string[] {
  if (!/^src\/db\/.*\.sql$/.test(path)) return [];
  const code = text.replaceAll(/--.*$/gm, '');
  const created = [...code.matchAll(/create\s+or\s+replace\s+function\s+(\w+)\./gi)].map((match) => match[1]);
  const schema = path.split('/')[2]?.replaceAll('-', '_');
  const otherSchemas = [...new Set(created)].filter((name) => name !== schema);
  const written = new Set([...code.replaceAll(appends, '').matchAll(statements)].map((match) => match[1]));
  return [
    ...otherSchemas.map((other) => `${path} creates functions of ${other}: move them to the folder of that service`),
    ...[...written]
      .filter((name) => name !== schema)
      .map((name) => `${path} writes a table of ${name}: a file may write only tables of its service, ${schema}`),
  ];
}

/** The functions that check a key or the job secret. */
const entryFunctions = ['platform.enter', 'platform.identify', 'platform.authenticate', 'platform.enter_as'];
/** The first checks the key itself, the second returns what the public /readyz shows. */
const openFunctions = ['platform.authenticate', 'platform.health'];

/**
 * A function that the Worker's login may call must first check a key or the job secret, itself or in a function that it
 * calls.
 */
function findEntryViolations(files: SourceFile[]): string[] {
  const sources = files.filter(({ path }) => /^src\/db\/.*\.sql$/.test(path));
  const code = sources.map(({ text }) => text.replaceAll(/--.*$/gm, '')).join('\n');
  const granted = [...code.matchAll(/grant execute on function ([^;]*?)\s+to ([^;]*);/g)]
    .filter(([, , roles = '']) => /\bfusion_worker\b/.test(roles))
    .flatMap(([, names = '']) => names.split(',').map((name) => name.trim()));
  const checksFirst = (name: string, depth = 0): boolean => {
    const [, body = ''] = code.split(`function ${name}(`)[1]?.split('$$') ?? [];
    const first = /\b(?:from|insert|update|delete)\b|\b(\w+\.\w+)\(/i.exec(body)?.[1];
    return first !== undefined && (entryFunctions.includes(first) || (depth < 3 && checksFirst(first, depth + 1)));
  };
  return granted
    .filter((name) => !openFunctions.includes(name) && !checksFirst(name))
    .map((name) => `${name} is granted to fusion_worker but does not first call platform.enter, identify or enter_as`);
}

function findShapeViolations({ path, text }: SourceFile): string[] {
  const violations: string[] = [];
  const report = (violation: string): number => violations.push(`${path}: ${violation}`);
  const lines = text.split('\n').length - 1;
  if (path.startsWith('src/') && lines > maxLines) report(`${lines} lines; split the file, the limit is ${maxLines}`);
  if (path.startsWith('src/') && layerOf(path) === -1)
    report('belongs to no layer: add its folder to dev/checks/rules.ts');
  if (vagueName.test(path)) report('the name does not say what the file contains');
  if (!/\.ts$/.test(path)) return violations;
  if (/^export default/m.test(text) && !defaultExports.includes(path)) report('has a default export: use a named one');
  if (/^export \* from/m.test(text)) report('exports everything of another file: import from that file instead');
  if (/^src\/db\//.test(path) && /\b(?:db|tx)\s*\.(?:insert|update|delete)\(/.test(text)) {
    report('writes with Drizzle: write in a SQL function of the service');
  }
  // The rule against unfinished work has to name the words that it rejects, so readSources leaves this file out.
  if (/\b(?:TODO|FIXME|XXX)\b/.test(text)) report('has a comment on unfinished work');
  if (/\b(?:test|it|describe)\.(?:skip|only|todo|skipIf)\b/.test(text)) report('skips tests');
  return violations;
}

/** Finds cycles of imports, including imports of types. Each cycle is reported once. */
function findImportCycles(files: SourceFile[]): string[] {
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
  const visited = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: string[]): void => {
    const start = trail.indexOf(path);
    if (start !== -1) cycles.push(`these files import each other: ${[...trail.slice(start), path].join(' → ')}`);
    if (start !== -1 || visited.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    visited.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return cycles;
}

/** Finds folders with too many files. */
function findFullFolders(files: SourceFile[]): string[] {
  return [...Map.groupBy(files, ({ path }) => dirname(path))]
    .filter(([, inside]) => inside.length > maxFiles)
    .map(
      ([folder, inside]) => `${folder} has ${inside.length} files; move some to a subfolder, the limit is ${maxFiles}`,
    );
}

/** Finds violations of the rules in CONTRIBUTING.md: allowed imports, table writes, and the form of files. */
export function findRuleViolations(files: SourceFile[]): string[] {
  return [
    ...files.flatMap((file) => [
      ...findImportViolations(file),
      ...findSqlViolations(file),
      ...findShapeViolations(file),
    ]),
    ...findEntryViolations(files),
    ...findImportCycles(files),
    ...findFullFolders(files),
  ];
}

/** Reads the project's TypeScript and SQL files. */
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
