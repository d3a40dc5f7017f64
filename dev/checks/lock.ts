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

const packageName = (path: string): string => path.split('node_modules/').at(-1) ?? '';

/** Finds problems of package-lock.json. `allowed`: the packages whose install scripts package.json allows. */
export function findLockProblems(lock: Lock, allowed: Record<string, boolean>): string[] {
  return Object.entries(lock.packages)
    .filter(([path]) => path !== '')
    .flatMap(([path, { resolved, integrity, deprecated, hasInstallScript }]) => {
      const problems: string[] = [];
      const report = (problem: string): number => problems.push(`package-lock.json: ${path} ${problem}`);
      if (resolved !== undefined) {
        report('has an address. Use a version of the registry, and run npm install with the .npmrc of this folder.');
      } else if (integrity === undefined) {
        report('has no hash. Use a version of the registry, and run npm install.');
      }
      if (deprecated !== undefined) report(`is deprecated: ${deprecated}. Use another version or another package.`);
      if (hasInstallScript && !(packageName(path) in allowed)) {
        report(`has an install script. Read it, and name ${packageName(path)} in "allowScripts" of package.json.`);
      }
      return problems;
    });
}

/** The entries that differ between two locks. `libc` is ignored, since npm before 11 leaves it out. */
export function changedEntries(before: Lock, after: Lock): string[] {
  const textOf = (lock: Lock, path: string): string => JSON.stringify({ ...lock.packages[path], libc: undefined });
  const paths = new Set([...Object.keys(before.packages), ...Object.keys(after.packages)]);
  return [...paths]
    .filter((path) => textOf(before, path) !== textOf(after, path))
    .map((path) => path || 'the dependencies of package.json');
}

/** The lines of `npm ci` that say why it rejects a lock, or that warn about engines and peer dependencies. */
export const findNpmProblems = (output: string): string[] =>
  output
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
 * Checks that package-lock.json matches package.json, works with every registry, and needs no newer Node than this one.
 * With `committed`, it must also be the committed file, since `npm install` repairs a lock that does not match.
 */
export async function checkLock(root: string, committed: boolean): Promise<string> {
  const [lock, { allowScripts }] = (await Promise.all(
    ['package-lock.json', 'package.json'].map(async (name) => JSON.parse(await readFile(join(root, name), 'utf8'))),
  )) as [Lock, { allowScripts: Record<string, boolean> }];
  const problems = findLockProblems(lock, allowScripts);

  const result = await run('npm', ['ci', '--dry-run', '--no-audit', '--no-fund', '--loglevel=warn'], root);
  problems.push(...findNpmProblems(result.stderr));
  if (result.error) problems.push('npm ci rejects package-lock.json. Run npm install, and commit package-lock.json.');

  if (committed) {
    const { stdout, stderr, error } = await run('git', ['show', 'HEAD:package-lock.json'], root);
    if (error) throw new Error(`package-lock.json is not committed: ${stderr.trim()}`);
    const changed = changedEntries(JSON.parse(stdout) as Lock, lock);
    if (changed.length > 0) {
      problems.push(
        `npm install changed package-lock.json: ${changed.join(', ')}. Run npm install, and commit package-lock.json.`,
      );
    }
  }
  if (problems.length > 0) throw new Error(problems.join('\n'));
  return `${Object.keys(lock.packages).length - 1} packages`;
}
