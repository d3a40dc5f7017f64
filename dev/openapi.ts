import { writeFile } from 'node:fs/promises';
import { openApiDocument } from '../src/openapi.ts';
import { routes } from '../src/routes/all.ts';

/** Writes docs/openapi.json anew from what the operations declare. */
const target = new URL('../docs/openapi.json', import.meta.url);
await writeFile(target, `${JSON.stringify(openApiDocument(routes), null, 2)}\n`);
console.log(`${target.pathname}: ${routes.length} operations`);
