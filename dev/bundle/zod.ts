import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import * as zod from 'zod';
import { repository } from '../platform/settings.ts';
import { readTexts } from './texts.ts';

/** The names of zod that the Worker's files use, such as `object` in `z.object(…)`. `z.core` has types only. */
export const namesUsedIn = (texts: readonly string[]): string[] => {
  const names = new Set(texts.flatMap((text) => [...text.matchAll(/\bz\.(\w+)/g)].map(([, name = '']) => name)));
  return [...names].filter((name) => name in zod && name !== 'core').sort();
};

/** Every schema refers to the code that describes it as JSON Schema. Only the OpenAPI document needs that, not the Worker. */
const withoutJsonSchema: Plugin = {
  name: 'without-json-schema',
  setup(building) {
    building.onLoad({ filter: /zod[/\\]v4[/\\]core[/\\](json-schema-.*|to-json-schema)\.js$/ }, async ({ path }) => {
      const exported = [...(await readFile(path, 'utf8')).matchAll(/^export (?:class|const|function) (\w+)/gm)];
      return { contents: exported.map(([, name]) => `export const ${name} = () => undefined;`).join('\n') };
    });
  },
};

/** zod as one module, with only the functions that the Worker uses. */
export async function bundleZod(): Promise<string> {
  const names = namesUsedIn(await readTexts(join(repository, 'src'), '.ts'));
  const { outputFiles } = await build({
    stdin: { contents: `export { ${names.join(', ')} } from 'zod';`, resolveDir: repository },
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2024',
    plugins: [withoutJsonSchema],
    logLevel: 'error',
  });
  return outputFiles[0]?.text ?? '';
}
