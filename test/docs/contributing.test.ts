import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  anchorsOf,
  findAnchorProblems,
  findRecipeProblems,
  findSymbolProblems,
  findTitleProblems,
} from '../../dev/checks/doc-references.ts';
import { checkDocs } from '../../dev/checks/docs.ts';

const repository = join(import.meta.dirname, '..', '..');

/** Replaces a text that occurs exactly once in the file. */
async function replaceOnce(path: string, from: string, to: string): Promise<void> {
  const text = await readFile(path, 'utf8');
  if (text.split(from).length !== 2) throw new Error(`${path} must contain ${JSON.stringify(from)} exactly once`);
  await writeFile(path, text.replace(from, to));
}

describe('the table of CONTRIBUTING, followed on a copy of the code', () => {
  let copy: string;

  beforeAll(async () => {
    copy = await mkdtemp(join(tmpdir(), 'fusioncommerce-contributing-'));
    const parts = ['src', 'dev', 'bench', 'test', 'docs', 'schemas', 'migrations', 'tsconfig.json', 'package.json'];
    const pages = [
      'README.md',
      'CONTRIBUTING.md',
      'SECURITY.md',
      'CHANGELOG.md',
      'worker-configuration.d.ts',
      'LICENSE',
    ];
    const configuration = [
      'wrangler.toml',
      '.github',
      '.ci',
      'biome.json',
      'vitest.config.ts',
      'vitest.kafka.config.ts',
    ];
    for (const part of [...parts, ...pages, ...configuration]) {
      await cp(join(repository, part), join(copy, part), { recursive: true });
    }
    await symlink(join(repository, 'node_modules'), join(copy, 'node_modules'));
    const include = ['worker-configuration.d.ts', 'src'];
    await writeFile(join(copy, 'tsconfig.worker.json'), JSON.stringify({ extends: './tsconfig.json', include }));
  });
  afterAll(() => rm(copy, { recursive: true, force: true }));

  /** The errors that TypeScript reports for the Worker's sources. The text is empty if there are none. */
  const compileErrors = (): Promise<string> =>
    new Promise((resolve) => {
      const tsc = join(repository, 'node_modules', '.bin', 'tsc');
      execFile(tsc, ['--project', 'tsconfig.worker.json', '--pretty', 'false'], { cwd: copy }, (_error, stdout) =>
        resolve(stdout),
      );
    });

  test('an error code is complete once it is in the files that its row names, and not before', async () => {
    const row = (await readFile(join(copy, 'CONTRIBUTING.md'), 'utf8')).match(/^\| add an error code .*$/m)?.[0] ?? '';
    const [first = '', second = ''] = [...row.matchAll(/`(src\/[\w/-]+\.ts)`/g)].map(([, file = '']) => file);
    expect([first, second]).toEqual(['src/base/errors.ts', 'src/http/problem.ts']);

    await replaceOnce(
      join(copy, first),
      'export const statusOf = {',
      'export const statusOf = {\n  store_closed: 409,',
    );
    const missing = await compileErrors();
    expect(missing.split('\n').filter((line) => /^\S+\.ts\(/.test(line))).toEqual([
      expect.stringMatching(/^src\/http\/problem\.ts\(.*store_closed/),
    ]);

    await replaceOnce(
      join(copy, second),
      'Record<Code, { title: string; detail: string }> = {',
      "Record<Code, { title: string; detail: string }> = {\n  store_closed: { title: 'Closed', detail: 'Come back tomorrow.' },",
    );
    expect(await compileErrors()).toBe('');
  }, 180_000);

  test('a setting is complete once README names it, and not before', async () => {
    await replaceOnce(
      join(copy, 'src/env.ts'),
      '  DATABASE_URL: z',
      '  STORE_MOTTO: z.string().optional(),\n  DATABASE_URL: z',
    );
    expect(await checkDocs(copy)).toEqual([expect.stringContaining('STORE_MOTTO')]);
    await replaceOnce(
      join(copy, 'README.md'),
      '| `DATA_DIR`',
      '| `STORE_MOTTO` | printed on labels | | |\n| `DATA_DIR`',
    );
    expect(await checkDocs(copy)).toEqual([]);
  });
});

describe('the check of the documentation finds', () => {
  const files: Record<string, string> = {
    'src/orders.ts': 'export function placeOrder() {}',
    'test/orders.test.ts': "test('two buyers cannot take the last unit', …)",
  };
  const read = (path: string) => files[path];
  const page = (text: string, path = 'docs/a.md') => ({ path, text });

  test('a function that its file does not have', () => {
    expect(findSymbolProblems(page('`placeOrder` in `src/orders.ts`'), read)).toEqual([]);
    expect(findSymbolProblems(page('`placeOrder` and `place` in\n`src/orders.ts`'), read)).toEqual([
      expect.stringContaining('that place is in src/orders.ts'),
    ]);
    expect(findSymbolProblems(page('`placeOrder` in `src/gone.ts`'), read)).toHaveLength(1);
  });

  test('a test title that its file does not have', () => {
    expect(findTitleProblems(page('`test/orders.test.ts`: "two buyers cannot take the last unit"'), read)).toEqual([]);
    expect(findTitleProblems(page('`test/orders.test.ts`: "three buyers"'), read)).toHaveLength(1);
  });

  test('a link to a heading that its page does not have', () => {
    expect(anchorsOf('# I want to …\n## `a`: one, two\n### What’s **new**?')).toEqual([
      'i-want-to-',
      'a-one-two',
      'whats-new',
    ]);
    const pages = (anchor: string) => [
      page(`[b](b.md#${anchor}) [here](#top)\n# Top`),
      page('## One trip', 'docs/b.md'),
    ];
    expect(findAnchorProblems(pages('one-trip'))).toEqual([]);
    expect(findAnchorProblems(pages('two-trips'))).toHaveLength(1);
  });

  test('a row of "I want to …" that leads nowhere', () => {
    const head = '## I want to …\n\n| I want to … | go to … | run … |\n| --- | --- | --- |\n';
    const faultsOf = (row: string) => findRecipeProblems(page(`${head}${row}\n\n## Next`, 'CONTRIBUTING.md'), read);
    expect(faultsOf('| a | `src/orders.ts` | `npx vitest run test/orders.test.ts` |')).toEqual([]);
    expect(faultsOf('| a | somewhere | `npx vitest run test/orders.test.ts` |')).toHaveLength(1);
    expect(faultsOf('| a | `src/orders.ts` | nothing |')).toHaveLength(1);
    expect(faultsOf('| a | `src/orders.ts` | `npx vitest run test/gone.test.ts` |')).toHaveLength(1);
    expect(findRecipeProblems(page('# Nothing', 'CONTRIBUTING.md'), read)).toHaveLength(1);
  });
});
