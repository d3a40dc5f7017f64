import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';

type Entry = {
  resolved?: string;
  integrity?: string;
  deprecated?: string;
  hasInstallScript?: boolean;
  libc?: string[];
};
export type Lock = { packages: Record<string, Entry> };

const nameOf = (path: string): string => path.split('node_modules/').at(-1) ?? '';

/** What is wrong with a lock. `allowed` has the packages whose install scripts package.json allows. */
export function findLockFaults(lock: Lock, allowed: Record<string, boolean>): string[] {
  return Object.entries(lock.packages)
    .filter(([path]) => path !== '')
    .flatMap(([path, { resolved, integrity, deprecated, hasInstallScript }]) => {
      const faults: string[] = [];
      const say = (fault: string): number => faults.push(`package-lock.json: ${path} ${fault}`);
      if (resolved !== undefined) {
        say('has an address. Take a version from the registry, and run npm install with the .npmrc of this folder.');
      } else if (integrity === undefined) {
        say('has no hash. Take a version from the registry, and run npm install.');
      }
      if (deprecated !== undefined) say(`is deprecated: ${deprecated}. Take another version or another package.`);
      if (hasInstallScript && !(nameOf(path) in allowed)) {
        say(`has an install script. Read it, and name ${nameOf(path)} in "allowScripts" of package.json.`);
      }
      return faults;
    });
}

/** The entries in which two locks differ. npm before 11 leaves `libc` out, and installs the same versions. */
export function changedEntries(before: Lock, after: Lock): string[] {
  const textOf = (lock: Lock, path: string): string => JSON.stringify({ ...lock.packages[path], libc: undefined });
  const paths = new Set([...Object.keys(before.packages), ...Object.keys(after.packages)]);
  return [...paths]
    .filter((path) => textOf(before, path) !== textOf(after, path))
    .map((path) => path || 'the dependencies of package.json');
}

/** Of what npm ci prints: why it refuses a lock, and the warnings of engines and peer dependencies. */
export const faultLines = (printed: string): string[] =>
  printed
    .split('\n')
    .filter((line) => /^npm (?:warn (?:EBADENGINE|ERESOLVE)|(?:error|ERR!) (?:code|Missing|Invalid))\b/i.test(line));

function run(
  command: string,
  args: string[],
  root: string,
): Promise<{ stdout: string; stderr: string; error: boolean }> {
  const env = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ''}` };
  return new Promise((done) => {
    execFile(command, args, { cwd: root, env, maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) => {
      done({ stdout, stderr: stderr || (error?.message ?? ''), error: error !== null });
    });
  });
}

/**
 * Checks that the lock fits package.json, suits every registry, and needs no newer Node than the one that runs this.
 * With `committed`, that it is the committed one as well: `npm install` repairs a lock that does not fit.
 */
export async function checkLock(root: string, committed: boolean): Promise<string> {
  const [lock, { allowScripts }] = (await Promise.all(
    ['package-lock.json', 'package.json'].map(async (name) => JSON.parse(await readFile(join(root, name), 'utf8'))),
  )) as [Lock, { allowScripts: Record<string, boolean> }];
  const faults = findLockFaults(lock, allowScripts);

  const asked = await run('npm', ['ci', '--dry-run', '--no-audit', '--no-fund', '--loglevel=warn'], root);
  faults.push(...faultLines(asked.stderr));
  if (asked.error) faults.push('npm ci refuses package-lock.json. Run npm install, and commit package-lock.json.');

  if (committed) {
    const { stdout, stderr, error } = await run('git', ['show', 'HEAD:package-lock.json'], root);
    if (error) throw new Error(`package-lock.json is not committed: ${stderr.trim()}`);
    const changed = changedEntries(JSON.parse(stdout) as Lock, lock);
    if (changed.length > 0) {
      faults.push(
        `npm install changed package-lock.json: ${changed.join(', ')}. Run npm install, and commit package-lock.json.`,
      );
    }
  }
  if (faults.length > 0) throw new Error(faults.join('\n'));
  return `${Object.keys(lock.packages).length - 1} packages`;
}
