import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';

export type SourceFile = { path: string; text: string };

/** Who on a shelf may import what, by the beginnings of paths. One way through: edge → domain → db. */
const shelves: { of: string; mayNot: string[]; but?: Record<string, string[]>; why: string }[] = [
  {
    of: 'src/db/',
    mayNot: ['src/'],
    but: { '': ['src/db/', 'src/errors.ts'] },
    why: 'db knows SQL, and nothing of HTTP or of what is above it',
  },
  {
    of: 'src/domain/',
    mayNot: [
      'src/routes/',
      'src/consumers/',
      'src/cron.ts',
      'src/relay.ts',
      'src/queues.ts',
      'src/kafka/',
      'src/app.ts',
    ],
    why: 'domain is called by routes, consumers and crons, and publishes by rows alone',
  },
  {
    of: 'src/routes/',
    mayNot: ['src/db/', 'src/consumers/', 'src/kafka/', 'src/queues.ts'],
    but: { 'src/routes/mount.ts': ['src/db/client.ts'] },
    why: 'a route parses, calls one operation of domain, and answers',
  },
  {
    of: 'src/consumers/',
    mayNot: ['src/db/', 'src/routes/', 'src/kafka/'],
    but: { 'src/consumers/message.ts': ['src/db/client.ts'] },
    why: 'a consumer calls one operation of domain',
  },
  { of: 'src/', mayNot: ['dev/', 'bench/', 'test/'], why: 'the Worker has nothing of what is around it' },
];

/** The only files that know an API of others. */
const packages: Record<string, RegExp> = {
  hono: /^src\/(app\.ts|routes\/)/,
  'drizzle-orm': /^src\/db\//,
  '@neondatabase/serverless': /^src\/db\/client\.ts$/,
  '@upstash/kafka': /^src\/kafka\//,
  stripe: /^src\/stripe[\w-]*\.ts$/,
};

const mostLines = 300;
/** What Cloudflare and vitest call by no name. */
const defaults = ['src/index.ts', 'test/global-setup.ts'];
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
    return shelves
      .filter(({ of, mayNot }) => path.startsWith(of) && mayNot.some((start) => target.startsWith(start)))
      .filter(({ but = {} }) => ![...(but[''] ?? []), ...(but[path] ?? [])].some((start) => target.startsWith(start)))
      .map(({ why }) => `${path} imports ${target}: ${why}`);
  });
}

const statements = /\b(?:insert\s+into|update|delete\s+from)\s+(\w+)\.\w+/gi;

/** A file of SQL functions belongs to one service, and writes that service's tables alone. */
function sqlFaults({ path, text }: SourceFile): string[] {
  if (!/^src\/db\/.*\.sql$/.test(path)) return [];
  const code = text.replaceAll(/--.*$/gm, '');
  const made = [...code.matchAll(/create\s+or\s+replace\s+function\s+(\w+)\./gi)].map((match) => match[1]);
  const [schema, ...others] = new Set(made);
  const written = new Set([...code.matchAll(statements)].map((match) => match[1]));
  return [
    ...others.map((other) => `${path} makes functions of ${schema} and of ${other}: a file belongs to one service`),
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
  if (/^src\/[^/]+\/[^/]+\//.test(path)) say('a folder within a shelf');
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

/** Where these files break the rules that CONTRIBUTING.md states: who imports whom, who writes what, how files look. */
export function findRuleFaults(files: SourceFile[]): string[] {
  return [
    ...files.flatMap((file) => [...importFaults(file), ...sqlFaults(file), ...shapeFaults(file)]),
    ...entryFaults(files),
  ];
}

/** The project's own TypeScript and SQL, without what is generated. */
export async function readSources(root: string): Promise<SourceFile[]> {
  const folders = ['src', 'dev', 'bench', 'test'];
  const lists = await Promise.all(folders.map((folder) => listFiles(root, folder)));
  const paths = lists.flat().filter((path) => /\.(ts|sql)$/.test(path) && !path.startsWith('dev/verify-rules'));
  return Promise.all(paths.map(async (path) => ({ path, text: await readFile(join(root, path), 'utf8') })));
}

async function listFiles(root: string, folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath.slice(root.length + 1), entry.name).replaceAll('\\', '/'))
    .sort();
}
