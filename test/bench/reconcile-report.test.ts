import { describe, expect, test } from 'vitest';
import { sharesOf } from '../../bench/reconcile/fill.ts';
import { readReconcileScaleOptions } from '../../bench/reconcile/options.ts';
import { brokenPromises, type LostWebhook, relative, reportOf, type TurnFacts } from '../../bench/reconcile/report.ts';

const webhook = (change: Partial<LostWebhook> = {}): LostWebhook => ({
  ...{ tenant: 'tenant-0', sku: 'LAST-0', orderId: 'o', paidAt: 0, holdEnds: 15_000, turnsBefore: 0 },
  ...{ turn: 1, repairedAt: 60_000, status: 'confirmed', ...change },
});
const turnOf = (change: object = {}): TurnFacts => ({
  ...{ at: 0, stripe: { 'GET /v1/events': 1 }, waiting: 9 },
  jobs: [{ name: 'hear-stripe', outcome: 'ok', dbCalls: 9, applied: 3, ...change }],
});

describe('the report of lost webhooks', () => {
  test('says how each was made up for, and that all promises were kept', () => {
    expect(brokenPromises([webhook()], [turnOf()], [], [])).toEqual([]);
    expect(relative(webhook())).toBe('the hold waited 45 s');
    expect(relative(webhook({ repairedAt: 5_000 }))).toBe('10 s before the end');
    expect(reportOf([webhook()], [turnOf()])).toMatch(/tenant-0 +LAST-0 +1 +1 +the hold waited 45 s +confirmed/);
  });

  test.each<[string, Partial<LostWebhook>, object, string[], string[]]>([
    ['an order that failed', { status: 'failed' }, {}, [], []],
    ['one that waited for a later turn', { turn: 2 }, {}, [], []],
    ['a job that failed', {}, { outcome: 'failed' }, [], []],
    ['a job beyond its budget', {}, { name: 'expire-holds', dbCalls: 61 }, [], []],
    ['a reading that costs more than its events', {}, { dbCalls: 100 }, [], []],
    ['a unit that was sold twice', {}, {}, ['LAST-0'], []],
    ['stock that does not add up', {}, {}, [], ['tenant-0 CROWD: 1 in stock']],
  ])('names %s', (_, lost, job, twice, astray) => {
    const broken = brokenPromises([webhook(lost)], [turnOf(job)], twice, astray);
    expect(broken.length).toBeGreaterThan(0);
  });
});

test('one tenant has 90 % of the payments, and all together are as many as asked for', () => {
  const shares = sharesOf(100_000, 10);
  expect(shares.reduce((sum, { count }) => sum + count, 0)).toBe(100_000);
  expect(shares[0]?.count).toBeGreaterThanOrEqual(90_000);
});

test.each([['--payments', '5'], ['--tenants', '1'], ['--turns', 'x'], ['--nothing']])(
  'the command refuses %s %s',
  (...args) => {
    expect(() => readReconcileScaleOptions(args)).toThrow();
  },
);
