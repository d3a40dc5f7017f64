import { expect, test } from 'vitest';
import { planStory } from '../../dev/chaos/load.ts';
import { help, readOptions } from '../../dev/chaos/options.ts';
import { seededRandom } from '../../dev/chaos/random.ts';
import { faultKinds, planFaults } from '../../dev/chaos/schedule.ts';
import { UsageError } from '../../dev/support/options.ts';

const minute = 60_000;

test('the same seed plans the same faults and stories, and another seed plans others', () => {
  const stories = (seed: number) => Array.from({ length: 200 }, (_, index) => planStory(seed, index));
  expect(planFaults(7, minute)).toEqual(planFaults(7, minute));
  expect(stories(7)).toEqual(stories(7));
  expect(planFaults(8, minute)).not.toEqual(planFaults(7, minute));
  expect(stories(8)).not.toEqual(stories(7));
});

test('a longer run begins with the schedule of a shorter run of the same seed', () => {
  const short = planFaults(7, minute);
  expect(planFaults(7, 5 * minute).slice(0, short.length)).toEqual(short);
});

test('every kind of fault occurs before one occurs again', () => {
  for (let seed = 1; seed <= 50; seed++) {
    const first = planFaults(seed, 10 * minute).slice(0, faultKinds.length);
    expect(new Set(first.map(({ kind }) => kind)).size).toBe(faultKinds.length);
  }
});

test('the random numbers of one name do not depend on the use of another name', () => {
  const one = seededRandom(1, 'a');
  seededRandom(1, 'b').next();
  const other = seededRandom(1, 'a');
  expect([one.next(), one.next()]).toEqual([other.next(), other.next()]);
  expect(seededRandom(1, 'b').next()).not.toBe(seededRandom(1, 'a').next());
});

test('the command line is read, and unknown or invalid flags are rejected', () => {
  const randomSeed = () => 42;
  expect(readOptions([], randomSeed)).toMatchObject({ seed: 42, loadMs: minute, gapMs: 1_000 });
  expect(readOptions(['--minutes', '0.5', '--seed', '7', '--keep'])).toMatchObject({
    seed: 7,
    loadMs: 30_000,
    keep: true,
  });
  expect(readOptions(['--peace'], randomSeed)).toMatchObject({ gapMs: null });
  expect(readOptions(['--help'])).toBeNull();
  for (const flag of ['minutes', 'seed', 'people', 'gap', 'peace', 'keep', 'help']) expect(help).toContain(`--${flag}`);
  for (const wrong of [['--minutes', 'x'], ['--minutes', '0'], ['--people', '0'], ['--sed', '1'], ['more']]) {
    expect(() => readOptions(wrong), wrong.join(' ')).toThrow(UsageError);
  }
});
