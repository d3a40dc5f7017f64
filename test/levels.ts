import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const dir = import.meta.dirname;
const names = readdirSync(dir).filter((name) => name.endsWith('.ts'));
const texts = new Map(names.map((name) => [name, readFileSync(join(dir, name), 'utf8')]));

/** What starts PostgreSQL, or needs the Worker's bundle, or takes long. */
const starts = /\binject\b[^;]*from 'vitest'|from '\.\.\/dev\/(postgres|platform|verify-checks)\.ts'|'start\.ts'/;

function needsMore(name: string, seen: Set<string>): boolean {
  const text = texts.get(name);
  if (text === undefined || seen.has(name)) return false;
  seen.add(name);
  const imported = [...text.matchAll(/from '\.\/([^']+)'/g)].map((match) => match[1] ?? '');
  return starts.test(text) || imported.some((other) => needsMore(other, seen));
}

const tests = names.filter((name) => name.endsWith('.test.ts'));
const isUnit = (name: string): boolean => !needsMore(name, new Set());

/** The unit tests, which `npm run verify` runs, and the others, by what they and their harness import. */
export const levels = {
  unit: tests.filter(isUnit).map((name) => `test/${name}`),
  store: tests.filter((name) => !isUnit(name)).map((name) => `test/${name}`),
};
