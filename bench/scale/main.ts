import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { acceptOnlyHelp } from '../../dev/support/options.ts';
import { withTables } from './docs.ts';
import { readNewestResults } from './results.ts';

const help = `npm run scale

Writes the tables of docs/scale.md again, from the newest results of "npm run bench" and "npm run bench:peers" in
bench/results. "npm run verify" fails if they are out of date.`;

acceptOnlyHelp('npm run scale', help);
const path = join(import.meta.dirname, '..', '..', 'docs', 'scale.md');
const measured = await readNewestResults();
await writeFile(path, withTables(await readFile(path, 'utf8'), measured));
console.log(`docs/scale.md: from ${measured.files.join(' and ')}`);
