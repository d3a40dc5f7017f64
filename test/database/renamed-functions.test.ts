import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readFunctions } from '../../dev/postgres/sql-files.ts';

const files = await readFunctions(join(import.meta.dirname, '../../src/db'));
const sql = files.map(({ text }) => text).join('\n');
const granted = [...sql.matchAll(/^grant execute on function ([^;]+?)\s+to /gm)].flatMap(([, list = '']) =>
  list.replaceAll(/\([^)]*\)/g, '()').split(/,\s*/),
);
const dropped = [...sql.matchAll(/^drop function if exists ([\w.]+)\(/gm)].map(([, name = '']) => name);

test('no function with an earlier signature is granted by its name alone', () => {
  expect(granted.length).toBeGreaterThan(100);
  expect(dropped.length).toBeGreaterThan(20);
  // Both signatures exist until the file of renamed functions is installed, so the name would be ambiguous.
  const isKept = (name: string) => sql.includes(`create or replace function ${name}(`);
  expect(dropped.filter((name) => isKept(name) && granted.includes(name))).toEqual([]);
});
