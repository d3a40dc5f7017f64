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

test('a part whose time is renewed is still limited by the whole', () => {
  vi.useFakeTimers();
  const whole = new Budget({ seconds: 10, calls: 5 });
  const part = whole.part(4, 2);
  expect(part.spend()).toBe(true);
  vi.advanceTimersByTime(2_000);
  expect(part.spend()).toBe(false);
  const renewed = part.renewTime();
  expect([renewed.calls, renewed.seconds]).toEqual([3, 2]);
  expect(renewed.spend()).toBe(true);
  expect(whole.calls).toBe(3);
  expect([whole.spend(3), renewed.spend()]).toEqual([true, false]);
});
