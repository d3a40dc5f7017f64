import { describe, expect, test } from 'vitest';
import { sharesOf } from '../../bench/reconcile/fill.ts';
import { readReconcileScaleOptions } from '../../bench/reconcile/options.ts';
import {
  describeRepair,
  findBrokenGuarantees,
  type LostWebhook,
  reportOf,
  type TurnFacts,
} from '../../bench/reconcile/report.ts';

const webhook = (fields: Partial<LostWebhook> = {}): LostWebhook => ({
  ...{ tenant: 'tenant-0', sku: 'LAST-0', orderId: 'o', paidAt: 0, holdEnds: 15_000, turnsBefore: 0 },
  ...{ turn: 1, repairedAt: 60_000, status: 'confirmed', ...fields },
});
const turnWithJob = (fields: object = {}): TurnFacts => ({
  ...{ at: 0, stripe: { 'GET /v1/events': 1 }, waiting: 9 },
  jobs: [{ name: 'hear-stripe', outcome: 'ok', dbCalls: 9, applied: 3, ...fields }],
});

describe('the report of lost webhooks', () => {
  test('shows when each was repaired, and no broken guarantee if all held', () => {
    expect(findBrokenGuarantees([webhook()], [turnWithJob()], [], [])).toEqual([]);
    expect(describeRepair(webhook())).toBe('45 s after the hold ended');
    expect(describeRepair(webhook({ repairedAt: 5_000 }))).toBe('10 s before the hold ended');
    expect(reportOf([webhook()], [turnWithJob()])).toMatch(
      /tenant-0 +LAST-0 +1 +1 +45 s after the hold ended +confirmed/,
    );
  });

  test.each<[string, Partial<LostWebhook>, object, string[], string[]]>([
    ['a paid order that failed', { status: 'failed' }, {}, [], []],
    ['a webhook that a later turn repaired', { turn: 2 }, {}, [], []],
    ['a job that failed', {}, { outcome: 'failed' }, [], []],
    ['a job that exceeds its budget', {}, { name: 'expire-holds', dbCalls: 61 }, [], []],
    ['a job that makes too many database calls for its events', {}, { dbCalls: 100 }, [], []],
    ['a unit that was sold twice', {}, {}, ['LAST-0'], []],
    ['stock that does not match', {}, {}, [], ['tenant-0 CROWD: 1 in stock']],
  ])('reports %s', (_, lost, job, soldTwice, inconsistencies) => {
    const broken = findBrokenGuarantees([webhook(lost)], [turnWithJob(job)], soldTwice, inconsistencies);
    expect(broken.length).toBeGreaterThan(0);
  });
});

test('one tenant has 90 % of the payments, and the shares add up to the requested number', () => {
  const shares = sharesOf(100_000, 10);
  expect(shares.reduce((sum, { count }) => sum + count, 0)).toBe(100_000);
  expect(shares[0]?.count).toBeGreaterThanOrEqual(90_000);
});

test.each([['--payments', '5'], ['--tenants', '1'], ['--turns', 'x'], ['--nothing']])(
  'the command rejects %s %s',
  (...args) => {
    expect(() => readReconcileScaleOptions(args)).toThrow();
  },
);
