import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type Program, runProgram } from './process.ts';

export type PeerName = 'vendure' | 'medusa';

/** The exact versions that are measured. Their own dependencies are the newest that npm finds when it installs them. */
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

/** Files that Medusa needs in its folder. */
const medusaFiles = {
  'medusa-config.cjs': 'medusa-config.js',
  'medusa-seed.cjs': join('src', 'scripts', 'seed.js'),
  'medusa-tsconfig.json': 'tsconfig.json',
};

export const versionOf = (peer: PeerName): string =>
  dependencies[peer][peer === 'vendure' ? '@vendure/core' : '@medusajs/medusa'] ?? '';

/** A folder in the user's cache, outside of the repository. It can be deleted at any time. */
export const defaultFolder = (environment: Record<string, string | undefined>): string =>
  join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'fusioncommerce-peers');

/**
 * Installs a peer from npm into its own folder unless these versions are already there. `fresh`: it was installed now.
 * @throws Error with npm's last output
 */
export async function installPeer(
  root: string,
  peer: PeerName,
  started: (program: Program) => void,
): Promise<{ dir: string; fresh: boolean }> {
  const dir = join(root, peer);
  const packageJson = `${JSON.stringify({ name: `${peer}-peer`, private: true, dependencies: dependencies[peer] }, null, 2)}\n`;
  await mkdir(join(dir, 'src', 'scripts'), { recursive: true });
  // Written last, so that an interrupted installation is repeated.
  const marker = join(dir, 'installed.json');
  const fresh = (await readFile(marker, 'utf8').catch(() => '')) !== packageJson;
  if (fresh) {
    await writeFile(join(dir, 'package.json'), packageJson);
    // No package needs its install script, since binaries are packages too.
    const flags = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    const npm = process.env.npm_execpath;
    await (npm === undefined
      ? runProgram('npm', flags, { cwd: dir, started })
      : runProgram(process.execPath, [npm, ...flags], { cwd: dir, started }));
    await writeFile(marker, packageJson);
  }
  if (peer === 'medusa') {
    for (const [from, to] of Object.entries(medusaFiles)) {
      await copyFile(join(import.meta.dirname, from), join(dir, to));
    }
  }
  return { dir, fresh };
}
