import { describe, expect, test } from 'vitest';
import { changedEntries, findLockProblems, findNpmProblems, type Lock } from '../../dev/checks/lock.ts';

const integrity = 'sha512-x';
const lockOf = (entry: object): Lock => ({ packages: { '': {}, 'node_modules/@a/b': entry } });

describe('a lock file', () => {
  test('with hashes and without download addresses passes', () => {
    expect(findLockProblems(lockOf({ integrity }), {})).toEqual([]);
    expect(findLockProblems(lockOf({ integrity, hasInstallScript: true }), { '@a/b': true })).toEqual([]);
  });

  test.each([
    ['an address', { integrity, resolved: 'https://registry.example/b.tgz' }, 'has an address'],
    ['no hash', {}, 'has no hash'],
    ['a deprecated package', { integrity, deprecated: 'Use c' }, 'is deprecated: Use c'],
    ['an install script that is not allowed', { integrity, hasInstallScript: true }, 'name @a/b in "allowScripts"'],
  ])('with %s is rejected, and the error names the package', (_, entry, message) => {
    const problems = findLockProblems(lockOf(entry), {});
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain('node_modules/@a/b');
    expect(problems[0]).toContain(message);
  });
});

test('the entries that npm install changed in a lock are named, except for a libc that an older npm leaves out', () => {
  const before = lockOf({ version: '1.0.0', integrity, libc: ['musl'] });
  expect(changedEntries(before, lockOf({ version: '1.0.0', integrity }))).toEqual([]);
  expect(changedEntries(before, lockOf({ version: '1.0.1', integrity }))).toEqual(['node_modules/@a/b']);
  expect(changedEntries(before, { packages: { '': {} } })).toEqual(['node_modules/@a/b']);
  const withDependency = { packages: { ...before.packages, '': { dependencies: { c: '1.0.0' } } } };
  expect(changedEntries(before, withDependency as Lock)).toEqual(['the dependencies of package.json']);
});

test('the errors of npm about the lock and its warnings about engines and peer dependencies are problems', () => {
  const problems = [
    'npm warn EBADENGINE Unsupported engine {',
    "npm warn EBADENGINE   package: 'wrangler@4.164.0',",
    'npm warn ERESOLVE overriding peer dependency',
    'npm error code EUSAGE',
    'npm error Missing: left-pad@1.3.0 from lock file',
  ];
  const harmless = ['npm warn Unknown user config "x"', 'npm error', 'npm error Clean install a project', ''];
  expect(findNpmProblems([...problems, ...harmless].join('\n'))).toEqual(problems);
});
