import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { auditPackages } from './audit.ts';
import { checkDocs } from './docs.ts';
import { checkLock } from './lock.ts';
import { findRuleFaults, readSources } from './rules.ts';

/** One thing that is true of the code as it lies there. `run` resolves with a word on it, and throws what is wrong. */
export type Check = { name: string; run: () => Promise<string> };

const root = resolve(import.meta.dirname, '..', '..');
/** Cloudflare takes 3 MB of gzip on its free plan; a small bundle is a fast first request. */
const mostBundleKiB = 250;

/** Runs a program of node_modules; resolves with what it printed, and throws just that if it fails. */
export function runTool(name: string, args: string[]): Promise<string> {
  const bin = join(root, 'node_modules', '.bin');
  const env = {
    ...process.env,
    PATH: `${bin}${delimiter}${process.env.PATH ?? ''}`, // the node there is newer than the system's may be
    NO_COLOR: '1',
    WRANGLER_SEND_METRICS: 'false',
    CLOUDFLARE_CF_FETCH_ENABLED: 'false',
  };
  return new Promise((done, fail) => {
    execFile(join(bin, name), args, { cwd: root, env, maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) => {
      const said = stripVTControlCharacters(`${stdout}${stderr}`).trim();
      if (error) fail(new Error(said || error.message));
      else done(said);
    });
  });
}

function refuseFaults(faults: string[]): void {
  if (faults.length > 0) throw new Error(faults.join('\n'));
}

async function measureBundle(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-verify-'));
  try {
    const said = await runTool('wrangler', ['deploy', '--dry-run', '--outdir', dir]);
    const size = Number(/gzip: ([\d.]+) KiB/.exec(said)?.[1]);
    if (Number.isNaN(size)) throw new Error(`wrangler does not tell the size of the bundle:\n${said}`);
    if (size > mostBundleKiB) throw new Error(`${size} KiB gzip are more than ${mostBundleKiB}`);
    return `${size} KiB gzip of ${mostBundleKiB}`;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** All that can be checked without starting anything. Each stands for itself; they may run at once. */
export const checks: Check[] = [
  {
    name: 'the code is formatted and the linter has nothing to say',
    run: async () => /Checked \d+ files/.exec(await runTool('biome', ['ci', '--colors=off', '.']))?.[0] ?? '',
  },
  {
    name: 'the generated types are those of wrangler.toml',
    run: async () => {
      await runTool('wrangler', ['types', '--strict-vars=false', '--check']).catch((error: Error) => {
        throw new Error(`${error.message}\n"npm run types" writes worker-configuration.d.ts anew.`);
      });
      return '';
    },
  },
  { name: 'every type fits', run: async () => runTool('tsc', ['--project', '.', '--noEmit', '--pretty', 'false']) },
  {
    name: 'every file keeps the rules of imports, tables and files',
    run: async () => {
      const files = await readSources(root);
      refuseFaults(findRuleFaults(files));
      return `${files.length} files`;
    },
  },
  {
    name: 'the documentation names nothing that is not there',
    run: async () => {
      refuseFaults(await checkDocs(root));
      return '';
    },
  },
  { name: 'the bundle stays small', run: measureBundle },
  {
    name: 'package-lock.json fits package.json and the Node that runs the scripts',
    run: () => checkLock(root, Boolean(process.env.CI)),
  },
  { name: 'no package has a grave finding that is not accepted', run: () => auditPackages(root) },
];
