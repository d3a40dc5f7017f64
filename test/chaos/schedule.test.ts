import { expect, test } from 'vitest';
import { planOf } from '../../dev/chaos/load.ts';
import { ChaosUsage, help, readOptions } from '../../dev/chaos/options.ts';
import { drawOf } from '../../dev/chaos/random.ts';
import { faultKinds, scheduleOf } from '../../dev/chaos/schedule.ts';

const minute = 60_000;

test('the same seed plans the same faults and the same stories, another seed others', () => {
  const stories = (seed: number) => Array.from({ length: 200 }, (_, index) => planOf(seed, index));
  expect(scheduleOf(7, minute)).toEqual(scheduleOf(7, minute));
  expect(stories(7)).toEqual(stories(7));
  expect(scheduleOf(8, minute)).not.toEqual(scheduleOf(7, minute));
  expect(stories(8)).not.toEqual(stories(7));
});

test('a longer run begins as a shorter one of the same seed', () => {
  const short = scheduleOf(7, minute);
  expect(scheduleOf(7, 5 * minute).slice(0, short.length)).toEqual(short);
});

test('every kind of fault comes before one comes again', () => {
  for (let seed = 1; seed <= 50; seed++) {
    const first = scheduleOf(seed, 10 * minute).slice(0, faultKinds.length);
    expect(new Set(first.map(({ kind }) => kind)).size).toBe(faultKinds.length);
  }
});

test('draws of one name do not depend on how many there were of another', () => {
  const one = drawOf(1, 'a');
  drawOf(1, 'b').next();
  const other = drawOf(1, 'a');
  expect([one.next(), one.next()]).toEqual([other.next(), other.next()]);
  expect(drawOf(1, 'b').next()).not.toBe(drawOf(1, 'a').next());
});

test('a command line is read, and what cannot be understood is refused', () => {
  const drawn = () => 42;
  expect(readOptions([], drawn)).toMatchObject({ seed: 42, loadMs: minute, gapMs: 1_000 });
  expect(readOptions(['--minutes', '0.5', '--seed', '7', '--keep'])).toMatchObject({
    seed: 7,
    loadMs: 30_000,
    keep: true,
  });
  expect(readOptions(['--peace'], drawn)).toMatchObject({ gapMs: null });
  expect(readOptions(['--help'])).toBeNull();
  for (const flag of ['minutes', 'seed', 'people', 'gap', 'peace', 'keep', 'help']) expect(help).toContain(`--${flag}`);
  for (const wrong of [['--minutes', 'x'], ['--minutes', '0'], ['--people', '0'], ['--sed', '1'], ['more']]) {
    expect(() => readOptions(wrong), wrong.join(' ')).toThrow(ChaosUsage);
  }
});
