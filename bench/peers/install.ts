import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type Program, runProgram } from './process.ts';

export type PeerName = 'vendure' | 'medusa';

/** The versions that are measured, exactly; what they depend on is what npm finds on the day of the installation. */
const dependencies: Record<PeerName, Record<string, string>> = {
  vendure: { '@vendure/core': '3.7.3', pg: '^8.16.0' },
  medusa: {
    '@medusajs/admin-sdk': '2.21.2',
    '@medusajs/cli': '2.21.2',
    '@medusajs/dashboard': '2.21.2',
    '@medusajs/framework': '2.21.2',
    '@medusajs/medusa': '2.21.2',
    '@swc/core': '^1.13.0',
    'ts-node': '^10.9.0',
    typescript: '^5.9.0',
  },
};

/** What Medusa wants to find in its own folder. */
const medusaFiles = {
  'medusa-config.cjs': 'medusa-config.js',
  'medusa-seed.cjs': join('src', 'scripts', 'seed.js'),
  'medusa-tsconfig.json': 'tsconfig.json',
};

export const versionOf = (peer: PeerName): string =>
  dependencies[peer][peer === 'vendure' ? '@vendure/core' : '@medusajs/medusa'] ?? '';

/** Beside the user's other caches: it outlives the repository, and can be deleted at any time. */
export const defaultFolder = (environment: Record<string, string | undefined>): string =>
  join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'fusioncommerce-peers');

/**
 * Installs a peer from npm into a folder of its own, if these versions are not there yet. Resolves with whether it had to.
 * @throws Error with what npm said
 */
export async function installPeer(
  root: string,
  peer: PeerName,
  started: (program: Program) => void,
): Promise<{ dir: string; fresh: boolean }> {
  const dir = join(root, peer);
  const wanted = `${JSON.stringify({ name: `${peer}-peer`, private: true, dependencies: dependencies[peer] }, null, 2)}\n`;
  await mkdir(join(dir, 'src', 'scripts'), { recursive: true });
  // Written last: a run that was stopped half-way is done again.
  const done = join(dir, 'installed.json');
  const fresh = (await readFile(done, 'utf8').catch(() => '')) !== wanted;
  if (fresh) {
    await writeFile(join(dir, 'package.json'), wanted);
    // Of a thousand packages none needs its install script: the binaries come as packages too.
    const flags = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    const npm = process.env.npm_execpath;
    await (npm === undefined
      ? runProgram('npm', flags, { cwd: dir, started })
      : runProgram(process.execPath, [npm, ...flags], { cwd: dir, started }));
    await writeFile(done, wanted);
  }
  if (peer === 'medusa') {
    for (const [from, to] of Object.entries(medusaFiles)) {
      await copyFile(join(import.meta.dirname, from), join(dir, to));
    }
  }
  return { dir, fresh };
}
