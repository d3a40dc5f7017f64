import { afterEach, expect, test, vi } from 'vitest';
import { Budget } from '../../src/base/budget.ts';

afterEach(() => void vi.useRealTimers());

test('a part of a budget leaves calls and time of the whole', () => {
  vi.useFakeTimers();
  const whole = new Budget({ seconds: 10, calls: 5 });
  const few = whole.part(2);
  expect([few.spend(), few.spend(), few.spend()]).toEqual([true, true, false]);
  expect(whole.calls).toBe(3);
  const short = whole.part(3, 4);
  expect(short.spend()).toBe(true);
  vi.advanceTimersByTime(4_000);
  expect(short.spend()).toBe(false);
  expect(whole.spend()).toBe(true);
  vi.advanceTimersByTime(6_000);
  expect(whole.part(1, 60).spend()).toBe(false);
});
