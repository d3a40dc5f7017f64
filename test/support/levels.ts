import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

const root = join(import.meta.dirname, '..', '..');
const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
  .map((name) => `test/${name.replaceAll('\\', '/')}`)
  .filter((path) => path.endsWith('.ts') && !path.startsWith('test/kafka-broker/'));
const texts = new Map(files.map((path) => [path, readFileSync(join(root, path), 'utf8')]));

/** Matches imports that start PostgreSQL, need the Worker’s bundle, or take long. */
const heavyImport =
  /\binject\b[^;]*from 'vitest'|from '[./]+\/dev\/(postgres\/server|platform\/platform|checks\/checks)\.ts'|'start\.ts'/;

function isHeavy(path: string, seen: Set<string>): boolean {
  const text = texts.get(path);
  if (text === undefined || seen.has(path)) return false;
  seen.add(path);
  const imported = [...text.matchAll(/from '(\.[^']+)'/g)].map((match) =>
    normalize(join(dirname(path), match[1] ?? '')),
  );
  return heavyImport.test(text) || imported.some((other) => isHeavy(other, seen));
}

const tests = files.filter((path) => path.endsWith('.test.ts'));
const isUnit = (path: string): boolean => !isHeavy(path, new Set());

/** The unit tests, which `npm run verify` runs, and the others. What a test file imports, directly or not, decides. */
export const levels = { unit: tests.filter(isUnit), store: tests.filter((path) => !isUnit(path)) };
