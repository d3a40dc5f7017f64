import { describe, expect, test } from 'vitest';
import { changedEntries, faultLines, findLockFaults, type Lock } from '../../dev/checks/lock.ts';

const integrity = 'sha512-x';
const lockOf = (entry: object): Lock => ({ packages: { '': {}, 'node_modules/@a/b': entry } });

describe('a lock', () => {
  test('with hashes, without addresses, passes', () => {
    expect(findLockFaults(lockOf({ integrity }), {})).toEqual([]);
    expect(findLockFaults(lockOf({ integrity, hasInstallScript: true }), { '@a/b': true })).toEqual([]);
  });

  test.each([
    ['an address', { integrity, resolved: 'https://registry.example/b.tgz' }, 'has an address'],
    ['no hash', {}, 'has no hash'],
    ['a deprecated package', { integrity, deprecated: 'Use c' }, 'is deprecated: Use c'],
    ['an install script nobody allowed', { integrity, hasInstallScript: true }, 'name @a/b in "allowScripts"'],
  ])('with %s is refused, by the name of the package', (_, entry, said) => {
    const faults = findLockFaults(lockOf(entry), {});
    expect(faults).toHaveLength(1);
    expect(faults[0]).toContain('node_modules/@a/b');
    expect(faults[0]).toContain(said);
  });
});

test('what npm install changed in a lock is named, except the libc that an older npm leaves out', () => {
  const before = lockOf({ version: '1.0.0', integrity, libc: ['musl'] });
  expect(changedEntries(before, lockOf({ version: '1.0.0', integrity }))).toEqual([]);
  expect(changedEntries(before, lockOf({ version: '1.0.1', integrity }))).toEqual(['node_modules/@a/b']);
  expect(changedEntries(before, { packages: { '': {} } })).toEqual(['node_modules/@a/b']);
  const wantsMore = { packages: { ...before.packages, '': { dependencies: { c: '1.0.0' } } } };
  expect(changedEntries(before, wantsMore as Lock)).toEqual(['the dependencies of package.json']);
});

test('of what npm prints, what refuses the lock is a fault, and what warns of engines and peers', () => {
  const faults = [
    'npm warn EBADENGINE Unsupported engine {',
    "npm warn EBADENGINE   package: 'wrangler@4.164.0',",
    'npm warn ERESOLVE overriding peer dependency',
    'npm error code EUSAGE',
    'npm error Missing: left-pad@1.3.0 from lock file',
  ];
  const others = ['npm warn Unknown user config "x"', 'npm error', 'npm error Clean install a project', ''];
  expect(faultLines([...faults, ...others].join('\n'))).toEqual(faults);
});
