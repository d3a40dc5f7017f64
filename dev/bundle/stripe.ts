import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { repository } from '../platform/settings.ts';
import { readTexts } from './texts.ts';

const client = join(repository, 'node_modules', 'stripe', 'esm');

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

/** Stripe's client as one module, with only the resources that the Worker uses. */
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
