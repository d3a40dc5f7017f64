import { afterEach, expect, test, vi } from 'vitest';
import { isDue, startClock } from '../../dev/platform/clock.ts';

afterEach(() => {
  vi.useRealTimers();
});

// This day is a Friday.
const at = (time: string): Date => new Date(`2026-01-30T${time}:00.000Z`);

test.each([
  ['* * * * *', '12:34', true],
  ['17 * * * *', '12:17', true],
  ['17 * * * *', '12:18', false],
  ['*/15 * * * *', '00:45', true],
  ['*/15 * * * *', '00:46', false],
  ['5-10/5,30 * * * *', '03:10', true],
  ['5-10/5,30 * * * *', '03:30', true],
  ['5-10/5,30 * * * *', '03:06', false],
  ['50/5 * * * *', '03:55', true],
  ['0 9 * * MON-FRI', '09:00', true],
  ['0 9 * * SUN,7', '09:00', false],
  ['0 9 30 jan *', '09:00', true],
  ['0 9 31 1 *', '09:00', false],
  ['0 9 1 * 5', '09:00', true],
])('the cron %s at %s is due: %s', (cron, time, expected) => {
  expect(isDue(cron, at(time))).toBe(expected);
});

test('Sunday is day 0 and day 7 of the week', () => {
  const sunday = new Date('2026-02-01T00:00:00.000Z');
  expect([isDue('0 0 * * 0', sunday), isDue('0 0 * * 7', sunday), isDue('0 0 * * 1', sunday)]).toEqual([
    true,
    true,
    false,
  ]);
});

test.each(['* * * *', '60 * * * *', '5-1 * * * *', '*/0 * * * *', 'x * * * *', '* * L * *'])(
  'the invalid expression %s is rejected',
  (cron) => {
    expect(() => isDue(cron, at('00:00'))).toThrow(cron);
    expect(() => startClock([cron], () => undefined)).toThrow(cron);
  },
);

test('a cron fires once in each minute that it matches, with that time, until the clock is stopped', () => {
  vi.useFakeTimers({ now: at('11:58').getTime() + 20_000 });
  const fired: string[] = [];
  const stop = startClock(['* * * * *', '0 * * * *'], (cron, minute) => fired.push(`${cron} ${minute.toISOString()}`));
  vi.advanceTimersByTime(39_999);
  expect(fired).toEqual([]);
  vi.advanceTimersByTime(2 * 60_000);
  stop();
  vi.advanceTimersByTime(3_600_000);
  expect(fired).toEqual([
    '* * * * * 2026-01-30T11:59:00.000Z',
    '* * * * * 2026-01-30T12:00:00.000Z',
    '0 * * * * 2026-01-30T12:00:00.000Z',
  ]);
});
