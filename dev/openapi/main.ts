import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { acceptOnlyHelp } from '../support/options.ts';
import { openApiDocument } from './document.ts';
import { routes } from './routes.ts';

const help = `npm run openapi

Writes docs/openapi.json from the declarations of the routes.`;

acceptOnlyHelp('npm run openapi', help);
const target = join(import.meta.dirname, '..', '..', 'docs', 'openapi.json');
await writeFile(target, `${JSON.stringify(openApiDocument(routes), null, 2)}\n`);
console.log(`docs/openapi.json: ${routes.length} operations`);
