import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'totals.md'), 'utf8');
/** Each section's title, and its two JSON blocks: an input and a part of the result. */
const examples = page
  .split(/^### /m)
  .slice(1)
  .map((section) => {
    const [title = ''] = section.split('\n');
    const [input, result] = [...section.matchAll(/^```json\n([\s\S]*?)^```/gm)].map((block) =>
      JSON.parse(block[1] ?? ''),
    );
    return { title, input, result };
  });

test('every example in docs/totals.md has the result that it shows', async () => {
  expect(examples.length).toBeGreaterThan(3);
  for (const { title, input, result } of examples) {
    const [row] = await database.query<{ totals: object }>('select orders.totals($1) as totals', [input]);
    expect(row?.totals, title).toMatchObject(result);
  }
});
