import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { openApiDocument } from '../openapi/document.ts';
import { routes } from '../openapi/routes.ts';
import { repository } from '../platform/settings.ts';
import { acceptOnlyHelp } from '../support/options.ts';
import { referenceDocument } from './document.ts';
import { headersFile } from './headers.ts';
import { readRenderer } from './renderer.ts';

/** The content of every static asset, by its path in public/. */
export async function referenceFiles(): Promise<Map<string, string>> {
  const page = (name: string): Promise<string> => readFile(join(import.meta.dirname, 'page', name), 'utf8');
  const published = openApiDocument(routes);
  const { version, script } = await readRenderer();
  const scriptName = `scalar-${version}.js`;
  return new Map([
    ['_headers', headersFile(scriptName)],
    ['openapi.json', `${JSON.stringify(published)}\n`],
    ['docs.html', (await page('docs.html')).replace('{{scalar}}', scriptName)],
    ['docs/start.js', await page('start.js')],
    ['docs/reference.css', await page('reference.css')],
    ['docs/icon.svg', await page('icon.svg')],
    ['docs/reference.json', `${JSON.stringify(await referenceDocument(published))}\n`],
    [`docs/${scriptName}`, script],
  ]);
}

/** Writes the changed files atomically, because a Worker may serve the folder and another build may run. */
async function writeFiles(folder: string, files: Map<string, string>): Promise<void> {
  for (const [path, text] of files) {
    const target = join(folder, path);
    if ((await readFile(target, 'utf8').catch(() => undefined)) === text) continue;
    await mkdir(dirname(target), { recursive: true });
    const draft = join(folder, '..', `.${process.pid}.reference`);
    await writeFile(draft, text);
    await rename(draft, target);
  }
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const existing = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const wanted = new Set([...files.keys()].map((path) => join(folder, path)));
  for (const path of existing) if (!wanted.has(path)) await rm(path, { force: true });
}

const help = `npm run reference

Writes public/: the API reference (docs.html and its script), openapi.json and the headers of these files. Other files in
public/ are deleted.`;

if (import.meta.main) {
  acceptOnlyHelp('npm run reference', help);
  await writeFiles(join(repository, 'public'), await referenceFiles());
}
