import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { auditPackages } from './audit.ts';
import { checkDocs } from './docs.ts';
import { checkLock } from './lock.ts';
import { findRuleViolations, readSources } from './rules.ts';
import { checkSchema } from './schema.ts';

/** One check of the code, named as a guarantee. `run` resolves with a short result, or throws the problems. */
export type Check = { name: string; run: () => Promise<string> };

const root = resolve(import.meta.dirname, '..', '..');
/** Cloudflare's free plan allows 3 MB (gzip). A small bundle makes the first request fast. */
const maxBundleKiB = 288;

/** Runs a program of node_modules in a folder. Resolves with its output; rejects with its output if it fails. */
export function runTool(name: string, args: string[], cwd = root): Promise<string> {
  const bin = join(root, 'node_modules', '.bin');
  const env = {
    ...process.env,
    PATH: `${bin}${delimiter}${process.env.PATH ?? ''}`, // contains a newer Node than the system may have
    NO_COLOR: '1',
    WRANGLER_SEND_METRICS: 'false',
    CLOUDFLARE_CF_FETCH_ENABLED: 'false',
  };
  return new Promise((done, fail) => {
    execFile(join(bin, name), args, { cwd, env, maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) => {
      const output = stripVTControlCharacters(`${stdout}${stderr}`).trim();
      if (error) fail(new Error(output || error.message));
      else done(output);
    });
  });
}

function throwProblems(problems: string[]): void {
  if (problems.length > 0) throw new Error(problems.join('\n'));
}

async function measureBundle(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-verify-'));
  try {
    const output = await runTool('wrangler', ['deploy', '--dry-run', '--outdir', dir]);
    const size = Number(/gzip: ([\d.]+) KiB/.exec(output)?.[1]);
    if (Number.isNaN(size)) throw new Error(`wrangler did not print the size of the bundle:\n${output}`);
    if (size > maxBundleKiB)
      throw new Error(
        `the bundle has ${size} KiB (gzip), more than the limit of ${maxBundleKiB} KiB (maxBundleKiB in dev/checks/checks.ts)`,
      );
    return `${size} of at most ${maxBundleKiB} KiB (gzip)`;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** The checks are independent and may run at the same time. */
export const checks: Check[] = [
  {
    name: 'the code is formatted and has no lint errors',
    run: async () => /Checked \d+ files/.exec(await runTool('biome', ['ci', '--colors=off', '.']))?.[0] ?? '',
  },
  {
    name: 'the generated types match wrangler.toml',
    run: async () => {
      await runTool('wrangler', ['types', '--strict-vars=false', '--check']).catch((error: Error) => {
        throw new Error(`${error.message}\nRun "npm run types" to write worker-configuration.d.ts again.`);
      });
      return '';
    },
  },
  {
    name: 'the types are correct',
    run: async () => runTool('tsc', ['--project', '.', '--noEmit', '--pretty', 'false']),
  },
  {
    name: 'every file follows the rules for imports, tables and files',
    run: async () => {
      const files = await readSources(root);
      throwProblems(findRuleViolations(files));
      return `${files.length} files`;
    },
  },
  {
    name: 'everything that the documentation names exists',
    run: async () => {
      throwProblems(await checkDocs(root));
      return '';
    },
  },
  { name: 'docs/schema.sql is the schema of a migrated database', run: checkSchema },
  { name: 'the bundle stays small', run: measureBundle },
  {
    name: 'package-lock.json matches package.json and the Node version that runs the scripts',
    run: () => checkLock(root, Boolean(process.env.CI)),
  },
  { name: 'no package has a high or critical finding that is not accepted', run: () => auditPackages(root) },
];
