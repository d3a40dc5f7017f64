import { describe, expect, test } from 'vitest';
import { containerCosts, marginalCosts, type OrderUsage, ourCosts, total } from '../../bench/peers/costs.ts';
import { CheckoutRejected } from '../../bench/peers/http.ts';
import { defaultFolder } from '../../bench/peers/install.ts';
import { median, quantile, runClients } from '../../bench/peers/load.ts';
import { peersOf, readPeersOptions } from '../../bench/peers/options.ts';
import { compare, printReport, summarise } from '../../bench/peers/report.ts';
import type { Round } from '../../bench/peers/system.ts';

const round = (perSecond: number, overrides: Partial<Round> = {}): Round => ({
  checkouts: 10,
  seconds: 10 / perSecond,
  perSecond,
  p50Ms: 1,
  p95Ms: 2,
  settleSeconds: 0,
  requests: 4,
  statements: 6,
  transactionStatements: 0,
  serverCpuMs: 3,
  postgresCpuMs: 2,
  databaseBytes: 5000,
  parts: {},
  waits: {},
  slowest: [],
  failures: {},
  ...overrides,
});

const usage: OrderUsage = {
  requests: 4,
  deliveries: 3,
  workerCpu: 5,
  queueMessages: 3,
  databaseCalls: 12,
  databaseCpu: 10,
  databaseBytes: 5000,
  records: 6,
  recordBytes: 500,
};

describe('the flags of bench:peers', () => {
  test('without flags both peers are measured and installed in the cache of the user', () => {
    const options = readPeersOptions([], { XDG_CACHE_HOME: '/cache' });
    expect(options).toMatchObject({
      dir: '/cache/fusioncommerce-peers',
      rounds: 3,
      clients: 16,
      buyers: 500,
      save: true,
    });
    expect(peersOf({ only: options?.only })).toEqual(['vendure', 'medusa']);
    expect(defaultFolder({ XDG_CACHE_HOME: '' })).toMatch(/\.cache.fusioncommerce-peers$/);
  });

  test('--only selects one peer or none', () => {
    expect(peersOf({ only: 'medusa' })).toEqual(['medusa']);
    expect(peersOf({ only: 'ours' })).toEqual([]);
  });

  test.each([
    ['--rounds', '0'],
    ['--clients', 'many'],
    ['--only', 'magento'],
    ['--colour', 'red'],
  ])('%s %s is rejected and the error names the flag', (flag, value) => {
    expect(() => readPeersOptions([flag, value], {})).toThrow(flag);
  });

  test('--help measures nothing', () => expect(readPeersOptions(['--help'], {})).toBeNull());
});

describe('the load', () => {
  test('every checkout is counted once, as completed or by the reason for its rejection', async () => {
    let left = 25;
    const load = await runClients(
      4,
      () => (left > 0 ? left-- : null),
      async (product) => {
        await Promise.resolve();
        if (product % 5 === 0) throw new CheckoutRejected('complete', `409 reservation ${1000 + product} is gone`);
      },
    );
    expect(load.latencies).toHaveLength(20);
    expect(load.failures).toEqual({ 'complete: … reservation … is gone': 5 });
  });

  test('medians and quantiles sort numbers as numbers, not as strings', () => {
    expect(median([10, 9, 100])).toBe(10);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(quantile([100, 9, 10], 0.95)).toBe(100);
    expect(median([])).toBeNaN();
  });
});

describe('the report', () => {
  const ours = summarise({ name: 'Ours', version: '1', rounds: [round(90), round(100), round(400)] });
  const theirs = summarise({
    name: 'Theirs',
    version: '2',
    rounds: [round(2, { serverCpuMs: 90, postgresCpuMs: 10, failures: { 'pay: 500': 3 } })],
    race: { buyers: 500, units: 100, sold: 500, seconds: 9, outcomes: { sold: 500 } },
  });

  test('the figure is the median of the rounds, so one fast round does not change it, and the spread is shown', () => {
    expect(ours).toMatchObject({ perSecond: 100, lowest: 90, highest: 400, checkouts: 30, failed: 0 });
    expect(theirs.failed).toBe(3);
  });

  test('the ratios compare rates, and the sum of server and database CPU', () => {
    expect(compare(ours, theirs)).toEqual({ rate: 50, cpu: 20 });
  });

  test('the report has each system, the ratio and the race', () => {
    const text = printReport([ours, theirs]);
    expect(text).toContain('Ours 1');
    expect(text).toContain('50 checkouts');
    expect(text).toContain('Theirs: 500 sold of 100 units');
  });
});

describe('the cost sheet', () => {
  const dollarsOf = (item: string, orders: number) =>
    ourCosts(orders, usage).find((line) => line.item === item)?.dollars;

  test('usage within the allowances of the plan costs nothing extra', () => {
    expect(dollarsOf('Workers plan', 1000)).toBe(5);
    for (const item of ['Workers requests', 'Workers CPU', 'Queues operations']) expect(dollarsOf(item, 1000)).toBe(0);
  });

  test('usage above the allowances is billed at the published prices', () => {
    // 10 million × (4 requests + 3 deliveries) + 44,530 crons, 10 million included, $0.30 per million.
    expect(dollarsOf('Workers requests', 10e6)).toBeCloseTo(60.04453 * 0.3, 6);
    expect(dollarsOf('Workers CPU', 10e6)).toBeCloseTo(20 * 0.02, 6);
    // Three operations per message.
    expect(dollarsOf('Queues operations', 10e6)).toBeCloseTo(89 * 0.4, 6);
  });

  test('a nearly idle database is billed all month at its smallest size', () => {
    expect(dollarsOf('Neon compute', 1000)).toBeCloseTo(730 * 0.25 * 0.106, 6);
    // 100 million × 10 ms at half of its CPU: 555.6 CU-hours.
    expect(dollarsOf('Neon compute', 100e6)).toBeCloseTo(((100e6 * 10) / 3.6e6 / 0.5) * 0.106, 6);
  });

  test('a server that needs more than one container pays for each all month', () => {
    const one = { serverCpu: 100, databaseCpu: 10, databaseBytes: 5000 };
    const containers = (orders: number) => containerCosts(orders, one)[0]?.dollars ?? 0;
    expect(containers(1e6)).toBeCloseTo(730 * (0.04048 + 2 * 0.004445), 6);
    // 100 million × 100 ms is 2,778 hours of CPU, at half of it 5,556: eight times 730.
    expect(containers(100e6) / containers(1e6)).toBeCloseTo(8, 6);
  });

  test('the marginal cost is the increase of the sheet once all allowances are used up', () => {
    const step = (total(ourCosts(2001e6, usage)) - total(ourCosts(2000e6, usage))) / 1;
    expect(step).toBeCloseTo(marginalCosts(usage), 4);
  });
});
