import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { topics } from '../../src/events/topics.ts';
import type { Fixture } from '../fixture/fixture.ts';
import type { OrderUsage } from './costs.ts';
import { products, type System } from './system.ts';

type TopicTotals = { topic: string; n: number; bytes: number };

const eventsOf = async (fixture: Fixture): Promise<Map<string, TopicTotals>> => {
  const { rows } = await fixture.pool.query<TopicTotals>(
    'select topic, count(*)::int as n, sum(length(payload::text))::int as bytes from platform.events group by topic',
  );
  return new Map(rows.map((row) => [row.topic, row]));
};

async function deliveriesOf(fixture: Fixture): Promise<number> {
  const log = await readFile(fixture.workerLog, 'utf8');
  return log.split('\n').filter((line) => line.includes('"kind":"message"')).length;
}

const sizeOf = async (fixture: Fixture): Promise<number> =>
  Number(
    (await fixture.pool.query<{ bytes: string }>('select pg_database_size(current_database()) as bytes')).rows[0]
      ?.bytes,
  );

/** The approximate size of a record's headers and key, in bytes. README.md shows a record. */
const headerBytes = 350;

/**
 * Measures checkouts one at a time, as in a shop with a million orders a month (one every 2.6 s). Under load each
 * checkout costs less, because the relay and the queues process many orders at once.
 */
export async function measureSingleCheckouts(
  fixture: Fixture,
  shop: System,
  checkouts: number,
  signal: AbortSignal,
): Promise<OrderUsage> {
  await shop.settle();
  const before = {
    cpu: await fixture.cpu(),
    calls: await fixture.calls(),
    events: await eventsOf(fixture),
    deliveries: await deliveriesOf(fixture),
    requests: shop.requests(),
    bytes: await sizeOf(fixture),
  };
  let done = 0;
  for (; done < checkouts && !signal.aborted; done++) {
    await shop.checkout(1 + ((done * 7) % (products - 1)));
    await sleep(150); // until the relay and the consumers have finished the last checkout
  }
  const cpu = await fixture.cpu();
  await shop.settle();
  await sleep(500);
  const calls = await fixture.calls();
  const added = [...(await eventsOf(fixture))].map(([topic, { n, bytes }]) => ({
    consumers: topics[topic]?.consumers.length ?? 0,
    n: n - (before.events.get(topic)?.n ?? 0),
    bytes: bytes - (before.events.get(topic)?.bytes ?? 0),
  }));
  const sum = (pick: (topic: (typeof added)[number]) => number): number =>
    added.reduce((total, topic) => total + pick(topic), 0);
  const perCheckout = (total: number): number => total / Math.max(1, done);
  const records = sum(({ n }) => n);
  return {
    requests: perCheckout(shop.requests() - before.requests),
    deliveries: perCheckout((await deliveriesOf(fixture)) - before.deliveries),
    workerCpu: perCheckout(cpu.worker - before.cpu.worker),
    queueMessages: perCheckout(sum(({ n, consumers }) => n * consumers)),
    databaseCalls: perCheckout(calls.calls - before.calls.calls),
    databaseCpu: perCheckout(cpu.postgres - before.cpu.postgres),
    databaseBytes: perCheckout((await sizeOf(fixture)) - before.bytes),
    records: perCheckout(records),
    recordBytes: headerBytes + sum(({ bytes }) => bytes) / Math.max(1, records),
  };
}
