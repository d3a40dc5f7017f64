import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { topics } from '../../src/events/topics.ts';

const dir = join(import.meta.dirname, '..', '..', 'src', 'db');
const sql = readdirSync(dir, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.sql'))
  .map((name) => readFileSync(join(dir, name), 'utf8'))
  .join('\n');

/** What the SQL functions emit, by every way that they have: the topic is the first text with a dot in it. */
const emitted = new Set(
  [...sql.matchAll(/\bemit(?:_\w+)?\([^'()]*'([a-z-]+(?:\.[a-z-]+)+)'/g)].map((match) => match[1]),
);

test('every topic that a transaction emits is declared, so that the relay can publish it', () => {
  expect(emitted.size).toBeGreaterThan(15);
  for (const topic of emitted) expect(Object.keys(topics)).toContain(topic);
});
