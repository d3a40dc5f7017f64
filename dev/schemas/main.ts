import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { topics } from '../../src/events/topics.ts';
import { findBreaks } from './compare.ts';
import { generateSchema, printSchema, type Schema } from './generate.ts';

const help = `npm run schemas

Writes the JSON Schema of every topic in src/events/topics.ts into schemas/<topic>.json. New topics and new members that may be
missing are written. What would break a reader is refused, and then nothing is written: a breaking change is a new topic
(a new ce_type) beside the old one, order.created.v2 say. A schema whose topic is gone stays until its file is removed by
hand, once Kafka keeps none of its events any more.

A new topic also needs schemas/samples/<topic>.json, an event's payload with every member; tests read it with old and new
schemas for as long as the topic lives.`;

const dir = join(import.meta.dirname, '..', '..', 'schemas');

/** Writes what may be written. Resolves with what may not. */
async function writeSchemas(): Promise<string[]> {
  const published = new Map<string, string>();
  for (const file of (await readdir(dir)).filter((name) => name.endsWith('.json'))) {
    published.set(file.replace(/\.json$/, ''), await readFile(join(dir, file), 'utf8'));
  }
  const generated = Object.entries(topics).map(([name, topic]) => ({ name, schema: generateSchema(name, topic) }));
  const breaks = generated.flatMap(({ name, schema }) => {
    const before = published.get(name);
    if (before === undefined) return [];
    return findBreaks(JSON.parse(before) as Schema, schema).map((fault) => `${name}: ${fault}`);
  });
  const gone = [...published.keys()].filter((name) => !(name in topics));
  breaks.push(...gone.map((name) => `${name}: its topic is gone, its events may be in Kafka still`));
  if (breaks.length > 0) return breaks;
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

if (process.argv.includes('--help')) console.log(help);
else {
  const breaks = await writeSchemas();
  for (const fault of breaks) console.error(fault);
  if (breaks.length > 0) {
    console.error('\nNothing is written. A breaking change is a new topic: npm run schemas -- --help');
    process.exitCode = 1;
  }
}
