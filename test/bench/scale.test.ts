import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { withTables } from '../../bench/scale/docs.ts';
import { ceilingsOf, loadOf, type Measured, ordersPerCu, settings } from '../../bench/scale/model.ts';
import { readNewestResults } from '../../bench/scale/results.ts';
import { topics } from '../../src/events/topics.ts';

const repositoryFile = (name: string) => readFile(join(import.meta.dirname, '..', '..', name), 'utf8');
const ofCase = (name: string, rate: number, postgres: number) => ({
  name,
  rate,
  cpu: { worker: 5, postgres },
  calls: 5,
});
const measured: Measured = {
  cases: [
    ofCase('checkout', 100, 10),
    ofCase('order-hot', 500, 1),
    ofCase('join', 400, 2),
    ofCase('relay', 12_000, 0.1),
  ],
  order: {
    ...{ requests: 4, deliveries: 2, workerCpu: 25, queueMessages: 3, databaseCalls: 9 },
    ...{ databaseCpu: 30, databaseBytes: 8_000, records: 6, recordBytes: 500 },
  },
};

test('the tables of docs/scale.md are those of the newest results; "npm run scale" writes them again', async () => {
  const page = await repositoryFile('docs/scale.md');
  expect(page).toBe(withTables(page, await readNewestResults()));
});

describe('the capacity model', () => {
  test('multiplies what one order takes by the rate', () => {
    expect(ordersPerCu(measured)).toBe(50);
    expect(loadOf(measured, 60_000)).toMatchObject({
      ...{ databaseCores: 10, computeUnits: 20, cells: 2, databaseCallsPerSecond: 5_000 },
      ...{ workerRequestsPerSecond: 6_000, workerCores: 5, queueMessagesPerSecond: 3_000, queueShards: 1 },
      ...{ kafkaRecordsPerSecond: 6_000, kafkaMegabytesPerSecond: 3, relays: 1, stripeRequestsPerSecond: 1_000 },
    });
    expect(loadOf(measured, 60_000).gigabytesPerDay).toBeCloseTo(691.2);
    expect(loadOf(measured, 60)).toMatchObject({ cells: 1, queueShards: 1, relays: 1 });
  });

  test('names the limit that is reached first', () => {
    const ceilings = ceilingsOf(measured);
    expect(ceilings[0]).toMatchObject({ basis: 'published', ordersPerMinute: 6_000 });
    const rates = ceilings.map(({ ordersPerMinute }) => ordersPerMinute);
    expect(rates).toEqual(rates.toSorted((a, b) => a - b));
    expect(rates).toEqual(expect.arrayContaining([24_000, 30_000, 48_000, 60_000, 100_000, 120_000, 168_000]));
  });

  test('says which case is missing in the results', () => {
    expect(() => loadOf({ ...measured, cases: [] }, 100)).toThrow('no case checkout: run "npm run bench"');
  });

  test('uses the settings of this repository', async () => {
    const wrangler = await repositoryFile('wrangler.toml');
    const [, requests, seconds] = /name = "KEY_LIMIT"[\s\S]*?limit = (\d+), period = (\d+)/.exec(wrangler) ?? [];
    expect(settings.keyRequestsPerSecond).toBe(Number(requests) / Number(seconds));
    expect(settings.partitions).toBe(topics['order.created']?.partitions);
  });
});
