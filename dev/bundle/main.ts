import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { repository } from '../platform/settings.ts';
import { acceptOnlyHelp } from '../support/options.ts';
import { bundleStripe } from './stripe.ts';
import { bundleZod } from './zod.ts';

const help = `npm run bundle-libraries

Writes dist/stripe.js and dist/zod.js: the parts of these libraries that the Worker uses. wrangler bundles these files
instead of the packages ("alias" in wrangler.toml), and runs this command before it bundles.`;

acceptOnlyHelp('npm run bundle-libraries', help);
const folder = join(repository, 'dist');
await mkdir(folder, { recursive: true });
for (const [name, text] of [
  ['stripe.js', await bundleStripe()],
  ['zod.js', await bundleZod()],
] as const) {
  // Renamed, because another build may read the file.
  const draft = join(folder, `.${process.pid}.${name}`);
  await writeFile(draft, text);
  await rename(draft, join(folder, name));
}
