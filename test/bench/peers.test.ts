import { describe, expect, test } from 'vitest';
import { containerCosts, marginalCosts, type OrderUse, ourCosts, total } from '../../bench/peers/costs.ts';
import { Refused } from '../../bench/peers/http.ts';
import { defaultFolder } from '../../bench/peers/install.ts';
import { median, quantile, runClients } from '../../bench/peers/load.ts';
import { peersOf, readPeersOptions } from '../../bench/peers/options.ts';
import { compare, printReport, summarise } from '../../bench/peers/report.ts';
import type { Round } from '../../bench/peers/system.ts';

const round = (perSecond: number, more: Partial<Round> = {}): Round => ({
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
  ...more,
});

const use: OrderUse = {
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
  test('without flags both peers are measured, in the cache of the user', () => {
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

  test('one peer, or none, can be left', () => {
    expect(peersOf({ only: 'medusa' })).toEqual(['medusa']);
    expect(peersOf({ only: 'ours' })).toEqual([]);
  });

  test.each([
    ['--rounds', '0'],
    ['--clients', 'many'],
    ['--only', 'magento'],
    ['--colour', 'red'],
  ])('%s %s is refused with its name', (flag, value) => {
    expect(() => readPeersOptions([flag, value], {})).toThrow(flag);
  });

  test('asking for help measures nothing', () => expect(readPeersOptions(['--help'], {})).toBeNull());
});

describe('the load', () => {
  test('every checkout that is begun is counted once, as made or by why it was refused', async () => {
    let left = 25;
    const load = await runClients(
      4,
      () => (left > 0 ? left-- : null),
      async (product) => {
        await Promise.resolve();
        if (product % 5 === 0) throw new Refused('complete', `409 reservation ${1000 + product} is gone`);
      },
    );
    expect(load.latencies).toHaveLength(20);
    expect(load.failures).toEqual({ 'complete: … reservation … is gone': 5 });
  });

  test('medians and quantiles are those of sorted numbers, not of strings', () => {
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
    race: { buyers: 500, units: 100, sold: 500, seconds: 9, answers: { sold: 500 } },
  });

  test('one lucky round does not make the figure: the median does, and the spread is shown', () => {
    expect(ours).toMatchObject({ perSecond: 100, lowest: 90, highest: 400, checkouts: 30, failed: 0 });
    expect(theirs.failed).toBe(3);
  });

  test('the ratio compares rates, and CPU of server and database together', () => {
    expect(compare(ours, theirs)).toEqual({ rate: 50, cpu: 20 });
  });

  test('the screen names each system, the ratio and the race', () => {
    const text = printReport([ours, theirs]);
    expect(text).toContain('Ours 1');
    expect(text).toContain('50 checkouts');
    expect(text).toContain('Theirs: 500 sold of 100');
  });
});

describe('the cost sheet', () => {
  const dollarsOf = (what: string, orders: number) => ourCosts(orders, use).find((line) => line.what === what)?.dollars;

  test('what the plan includes costs nothing beside the plan', () => {
    expect(dollarsOf('Workers plan', 1000)).toBe(5);
    for (const what of ['Workers requests', 'Workers CPU', 'Queues operations']) expect(dollarsOf(what, 1000)).toBe(0);
  });

  test('ten million orders are billed above the allowances at the published prices', () => {
    // 10 million × (4 requests + 3 deliveries) + 44,530 crons, 10 million included, $0.30 a million.
    expect(dollarsOf('Workers requests', 10e6)).toBeCloseTo(60.04453 * 0.3, 6);
    expect(dollarsOf('Workers CPU', 10e6)).toBeCloseTo(20 * 0.02, 6);
    // Three operations a message.
    expect(dollarsOf('Queues operations', 10e6)).toBeCloseTo(89 * 0.4, 6);
  });

  test('a database that hardly works still runs all month at its smallest size', () => {
    expect(dollarsOf('Neon compute', 1000)).toBeCloseTo(730 * 0.25 * 0.106, 6);
    // 100 million × 10 ms at half of its CPU: 555.6 CU-hours.
    expect(dollarsOf('Neon compute', 100e6)).toBeCloseTo(((100e6 * 10) / 3.6e6 / 0.5) * 0.106, 6);
  });

  test('a server that one container cannot hold needs more of them, all month', () => {
    const one = { serverCpu: 100, databaseCpu: 10, databaseBytes: 5000 };
    const containers = (orders: number) => containerCosts(orders, one)[0]?.dollars ?? 0;
    expect(containers(1e6)).toBeCloseTo(730 * (0.04048 + 2 * 0.004445), 6);
    // 100 million × 100 ms is 2,778 hours of CPU, at half of it 5,556: eight times 730.
    expect(containers(100e6) / containers(1e6)).toBeCloseTo(8, 6);
  });

  test('the marginal price is what the sheet comes to when allowances no longer count', () => {
    const step = (total(ourCosts(2001e6, use)) - total(ourCosts(2000e6, use))) / 1;
    expect(step).toBeCloseTo(marginalCosts(use), 4);
  });
});
