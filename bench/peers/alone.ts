import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { topics } from '../../src/events/topics.ts';
import type { Fixture } from '../fixture/fixture.ts';
import type { OrderUse } from './costs.ts';
import { products, type System } from './system.ts';

type Written = { topic: string; n: number; bytes: number };

const eventsOf = async (fixture: Fixture): Promise<Map<string, Written>> => {
  const { rows } = await fixture.pool.query<Written>(
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

/** Headers and key of a record, in bytes, about: README.md shows one. */
const envelope = 350;

/**
 * What one checkout takes when it is alone, as in a shop that sells a million in a month: one each 2.6 s. Under load,
 * relays and queues take many orders at a time, and each costs less.
 */
export async function measureAlone(
  fixture: Fixture,
  ours: System,
  checkouts: number,
  signal: AbortSignal,
): Promise<OrderUse> {
  await ours.settle();
  const before = {
    cpu: await fixture.cpu(),
    calls: await fixture.calls(),
    events: await eventsOf(fixture),
    deliveries: await deliveriesOf(fixture),
    requests: ours.requests(),
    bytes: await sizeOf(fixture),
  };
  let done = 0;
  for (; done < checkouts && !signal.aborted; done++) {
    await ours.checkout(1 + ((done * 7) % (products - 1)));
    await sleep(150); // so that relay and consumers of the last have ended
  }
  const cpu = await fixture.cpu();
  await ours.settle();
  await sleep(500);
  const calls = await fixture.calls();
  const grown = [...(await eventsOf(fixture))].map(([topic, { n, bytes }]) => ({
    consumers: topics[topic]?.consumers.length ?? 0,
    n: n - (before.events.get(topic)?.n ?? 0),
    bytes: bytes - (before.events.get(topic)?.bytes ?? 0),
  }));
  const sum = (of: (each: (typeof grown)[number]) => number): number => grown.reduce((all, each) => all + of(each), 0);
  const each = (all: number): number => all / Math.max(1, done);
  const records = sum(({ n }) => n);
  return {
    requests: each(ours.requests() - before.requests),
    deliveries: each((await deliveriesOf(fixture)) - before.deliveries),
    workerCpu: each(cpu.worker - before.cpu.worker),
    queueMessages: each(sum(({ n, consumers }) => n * consumers)),
    databaseCalls: each(calls.calls - before.calls.calls),
    databaseCpu: each(cpu.postgres - before.cpu.postgres),
    databaseBytes: each((await sizeOf(fixture)) - before.bytes),
    records: each(records),
    recordBytes: envelope + sum(({ bytes }) => bytes) / Math.max(1, records),
  };
}
