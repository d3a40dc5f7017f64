import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { repository } from '../platform/settings.ts';
import { acceptOnlyHelp } from '../support/options.ts';

const client = join(repository, 'node_modules', 'stripe', 'esm');

/** The texts of all files in a folder whose names end like this. */
async function readTexts(folder: string, end: string): Promise<string[]> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(end));
  return Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
}

/** Every name that follows a dot, such as `refunds` in `openStripe(settings).refunds.list(…)`. */
export const membersIn = (texts: readonly string[]): Set<string> =>
  new Set(texts.flatMap((text) => [...text.matchAll(/\.\s*(\w+)/g)].map(([, name = '']) => name)));

/** The classes of Stripe's client that it makes under one of these names: `this.refunds = new RefundResource(this)`. */
export const classesUnder = (names: ReadonlySet<string>, texts: readonly string[]): Set<string> =>
  new Set(
    texts
      .flatMap((text) => [...text.matchAll(/this\.(\w+) = new (?:\w+\.)?(\w+)\(/g)])
      .filter(([, name = '']) => names.has(name))
      .map(([, , resource = '']) => resource),
  );

/** Leaves only the names of resources that are not used. Their methods and schemas are two thirds of the package. */
const withoutUnused = (used: ReadonlySet<string>): Plugin => ({
  name: 'without-unused-resources',
  setup(building) {
    building.onLoad(
      { filter: /stripe[/\\]esm[/\\](resources[/\\].*|StripeEventNotificationHandler)\.js$/ },
      async ({ path }) => {
        const contents = await readFile(path, 'utf8');
        const exported = [...contents.matchAll(/^export (?:class|const|function) (\w+)/gm)].map(
          ([, name = '']) => name,
        );
        if (exported.some((name) => used.has(name))) return { contents };
        return { contents: exported.map((name) => `export class ${name} {}`).join('\n') };
      },
    );
  },
});

/** Stripe's client as one module, with those of its resources that the Worker uses. */
export async function bundleStripe(): Promise<string> {
  const names = membersIn(await readTexts(join(repository, 'src', 'stripe'), '.ts'));
  const used = classesUnder(names, await readTexts(client, '.js'));
  const { outputFiles } = await build({
    stdin: { contents: "export * from 'stripe'; export { default } from 'stripe';", resolveDir: repository },
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2024',
    conditions: ['workerd', 'worker'],
    external: ['node:*'],
    plugins: [withoutUnused(used)],
    logLevel: 'error',
  });
  return outputFiles[0]?.text ?? '';
}

const help = `npm run bundle-stripe

Writes dist/stripe.js: Stripe's client with the resources that src/stripe uses. wrangler bundles this file instead of the
package ("alias" in wrangler.toml), and runs this command before it bundles.`;

if (import.meta.main) {
  acceptOnlyHelp('npm run bundle-stripe', help);
  const folder = join(repository, 'dist');
  await mkdir(folder, { recursive: true });
  // Renamed, because another build may read the file.
  const draft = join(folder, `.${process.pid}.stripe.js`);
  await writeFile(draft, await bundleStripe());
  await rename(draft, join(folder, 'stripe.js'));
}
