import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { topics } from '../../src/events/topics.ts';
import { acceptOnlyHelp } from '../support/options.ts';
import { findBreakingChanges } from './compare.ts';
import { generateSchema, printSchema, type Schema } from './generate.ts';

const help = `npm run schemas

Writes the JSON Schema of every topic in src/events/topics.ts to schemas/<topic>.json. New topics and new optional
properties are allowed. If a change would break a reader, nothing is written and the exit code is 1. Publish such a change
as a new topic (a new ce_type) beside the old one, for example order.created.v2. If a topic was removed from that file,
delete its schema by hand once Kafka keeps none of its events.

A new topic also needs schemas/samples/<topic>.json: a payload with every property. The tests read it with old and new
schemas as long as the topic exists.`;

const dir = join(import.meta.dirname, '..', '..', 'schemas');

/** Writes the schemas. Resolves with the breaking changes; if there are any, nothing is written. */
async function writeSchemas(): Promise<string[]> {
  const published = new Map<string, string>();
  for (const file of (await readdir(dir)).filter((name) => name.endsWith('.json'))) {
    published.set(file.replace(/\.json$/, ''), await readFile(join(dir, file), 'utf8'));
  }
  const generated = Object.entries(topics).map(([name, topic]) => ({ name, schema: generateSchema(name, topic) }));
  const problems = generated.flatMap(({ name, schema }) => {
    const oldText = published.get(name);
    if (oldText === undefined) return [];
    return findBreakingChanges(JSON.parse(oldText) as Schema, schema).map((change) => `${name}: ${change}`);
  });
  const removed = [...published.keys()].filter((name) => !(name in topics));
  problems.push(
    ...removed.map((name) => `${name}: the topic was removed, but Kafka may still keep its events; see --help`),
  );
  if (problems.length > 0) return problems;
  let written = 0;
  for (const { name, schema } of generated) {
    const text = printSchema(schema);
    if (published.get(name) === text) continue;
    await writeFile(join(dir, `${name}.json`), text);
    written++;
  }
  console.log(`schemas/: ${generated.length} topics, ${written} written`);
  return [];
}

acceptOnlyHelp('npm run schemas', help);
const problems = await writeSchemas();
for (const problem of problems) console.error(problem);
if (problems.length > 0) {
  console.error('\nNothing was written. Publish a breaking change as a new topic: npm run schemas -- --help');
  process.exitCode = 1;
}
