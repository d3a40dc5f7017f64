import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { topics } from '../../src/events/topics.ts';

const dir = join(import.meta.dirname, '..', '..', 'src', 'db');
const sql = readdirSync(dir, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.sql'))
  .map((name) => readFileSync(join(dir, name), 'utf8'))
  .join('\n');

/** The topics that SQL functions emit. The topic of an `emit…` call is its first text that contains a dot. */
const emitted = new Set(
  [...sql.matchAll(/\bemit(?:_\w+)?\([^'()]*'([a-z-]+(?:\.[a-z-]+)+)'/g)].map((match) => match[1]),
);

test('every topic that a SQL function emits is declared in the registry', () => {
  expect(emitted.size).toBeGreaterThan(15);
  for (const topic of emitted) expect(Object.keys(topics)).toContain(topic);
});
