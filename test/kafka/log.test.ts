import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { basic, manualClock, startKafkaFixture, TOPICS, temporaryDir, WEEK } from '../support/kafka/kafka.ts';

const valuesOf = (records: Iterable<{ value: string }>) => [...records].map((record) => record.value);

async function segmentsOf(dir: string, topic: string, partition = 0): Promise<string[]> {
  const folder = join(dir, 'topics', topic, String(partition));
  return (await readdir(folder)).toSorted().map((name) => join(folder, name));
}

async function lastSegmentOf(dir: string, topic: string): Promise<string> {
  const last = (await segmentsOf(dir, topic)).at(-1);
  if (last === undefined) throw new Error(`${topic} has no segment`);
  return last;
}

describe('a restart', () => {
  test('keeps records and continues with the next offset', async () => {
    const first = await startKafkaFixture();
    const headers = [{ key: 'ce_id', value: '1' }];
    await first.producer.produceMany([
      { topic: 'greetings', key: 'k', value: 'a "quoted"\nline \u{1F600}', headers },
      { topic: 'greetings', value: 'second' },
    ]);
    const before = [...first.server.read('greetings')];
    await first.server.close();

    const second = await startKafkaFixture({ dir: first.dir });
    expect(before).toHaveLength(2);
    expect([...second.server.read('greetings')]).toEqual(before);
    expect(await second.producer.produce('greetings', 'third')).toMatchObject({ offset: 2 });
  });

  test('keeps records of several files', async () => {
    const first = await startKafkaFixture({ segmentBytes: 200 });
    const values = Array.from({ length: 30 }, (_, n) => `value ${n}`);
    for (const value of values) await first.producer.produce('greetings', value);
    await first.server.close();
    expect((await segmentsOf(first.dir, 'greetings')).length).toBeGreaterThan(5);

    const second = await startKafkaFixture({ dir: first.dir });
    expect(valuesOf(second.server.read('greetings'))).toEqual(values);
    const position = { topic: 'greetings', partition: 0, offset: 17, timeout: 0 };
    expect((await second.consumer.fetch(position))[0]).toMatchObject({ offset: 17, value: 'value 17' });
  });

  test.each([
    ['half a record', '{"topic":"greetings","partition":0,"offset":2,"timestamp":17000'],
    ['zeros after a power cut', '\0'.repeat(100)],
    ['half a record with a line break', '{"topic":"greetings","partition":0,"offset":2,"time\n'],
    [
      'a record with a wrong offset',
      '{"topic":"greetings","partition":0,"offset":9,"timestamp":1,"key":"","value":""}\n',
    ],
  ])('removes %s and appends after the last complete record', async (_, tail) => {
    const first = await startKafkaFixture();
    await first.producer.produceMany(['a', 'b'].map((value) => ({ topic: 'greetings', value })));
    await first.server.close();
    await appendFile(await lastSegmentOf(first.dir, 'greetings'), tail);

    const second = await startKafkaFixture({ dir: first.dir });
    expect(valuesOf(second.server.read('greetings'))).toEqual(['a', 'b']);
    expect(await second.producer.produce('greetings', 'c')).toMatchObject({ offset: 2 });
    await second.server.close();

    const third = await startKafkaFixture({ dir: first.dir });
    expect(valuesOf(third.server.read('greetings'))).toEqual(['a', 'b', 'c']);
  });

  test('ignores a torn last commit and keeps the earlier ones', async () => {
    const first = await startKafkaFixture();
    await first.producer.produce('greetings', 'a');
    const group = { consumerGroupId: 'group', instanceId: 'one', topics: ['greetings'], timeout: 0 };
    await first.consumer.consume({ ...group, autoOffsetReset: 'earliest' });
    await first.consumer.commit(group);
    await first.server.close();
    await appendFile(join(first.dir, 'offsets.ndjson'), '["greetings/0/gro');

    const second = await startKafkaFixture({ dir: first.dir });
    const topicPartition = { topic: 'greetings', partition: 0 };
    expect(await second.admin.committedOffsets({ ...group, topicPartition })).toMatchObject([{ offset: 1 }]);
  });

  test('fails if a file other than the last is damaged', async () => {
    const first = await startKafkaFixture({ segmentBytes: 200 });
    for (let n = 0; n < 10; n += 1) await first.producer.produce('greetings', `value ${n}`);
    await first.server.close();
    const [oldest = ''] = await segmentsOf(first.dir, 'greetings');
    await truncate(oldest, (await readFile(oldest)).length - 5);

    await expect(startKafkaFixture({ dir: first.dir })).rejects.toThrow(oldest);
  });
});

describe('a killed server', () => {
  test('has every acknowledged record exactly once', async () => {
    const dir = await temporaryDir();
    const { child, url } = await startProcess(dir);
    const acknowledged: string[] = [];
    const killed = once(child, 'exit');
    for (let n = 0; ; n += 1) {
      const records = Array.from({ length: 50 }, (_, i) => ({ topic: 'cities', key: `${i}`, value: `${n}-${i}` }));
      const headers = { authorization: basic('dev', 'dev') };
      const sent = fetch(`${url}/produce`, { method: 'POST', body: JSON.stringify(records), headers });
      if (n === 20) child.kill('SIGKILL');
      const response = await sent.catch(() => undefined);
      if (response?.ok !== true) break;
      acknowledged.push(...records.map((record) => record.value));
    }
    await killed;

    const { server } = await startKafkaFixture({ dir });
    const kept = valuesOf(server.read('cities'));
    expect(acknowledged.length).toBeGreaterThanOrEqual(20 * 50);
    expect(new Set(kept).size).toBe(kept.length);
    expect(acknowledged.filter((value) => !new Set(kept).has(value))).toEqual([]);
  });
});

describe('retention', () => {
  test('expired records are not returned, their files are deleted, and offsets continue', async () => {
    const clock = manualClock();
    const { dir, producer, server, admin, post } = await startKafkaFixture({ now: clock.now, segmentBytes: 300 });
    const produce = async (values: string[]) => {
      for (const value of values) await producer.produce('greetings', value);
    };
    const earliest = async () => {
      const topicPartition = { topic: 'greetings', partition: 0 };
      return (await admin.topicPartitionOffsets({ timestamp: 'earliest', topicPartition }))[0]?.offset;
    };
    await produce(['a', 'b', 'c', 'd', 'e']);
    clock.move(WEEK / 2);
    await produce(['f', 'g']);
    const files = await segmentsOf(dir, 'greetings');

    clock.move(WEEK / 2);
    expect(await earliest()).toBe(0);
    clock.move(1);
    expect(await earliest()).toBe(5);
    expect(valuesOf(server.read('greetings'))).toEqual(['f', 'g']);
    expect((await segmentsOf(dir, 'greetings')).length).toBeLessThan(files.length);
    const gone = await post('/fetch', { topic: 'greetings', partition: 0, offset: 0 });
    expect(gone).toMatchObject({ status: 400, body: { error: expect.stringContaining('5..7') } });

    clock.move(WEEK);
    expect(await earliest()).toBe(7);
    const left = await Promise.all((await segmentsOf(dir, 'greetings')).map((file) => readFile(file, 'utf8')));
    expect(left).toEqual(['']);
    await server.close();

    const again = await startKafkaFixture({ dir, now: clock.now });
    expect(await again.producer.produce('greetings', 'h')).toMatchObject({ offset: 7 });
  });

  test('records that expired while the server was down are deleted at the start', async () => {
    const clock = manualClock();
    const first = await startKafkaFixture({ now: clock.now });
    await first.producer.produce('greetings', 'old');
    await first.server.close();
    clock.move(WEEK + 1);
    const second = await startKafkaFixture({ now: clock.now, dir: first.dir });
    expect(await readFile(await lastSegmentOf(first.dir, 'greetings'), 'utf8')).toBe('');
    expect(valuesOf(second.server.read('greetings'))).toEqual([]);
  });

  test('a group whose next record has expired continues as its offset reset defines', async () => {
    const clock = manualClock();
    const { producer, consumer } = await startKafkaFixture({ now: clock.now });
    const group = { consumerGroupId: 'group', instanceId: 'one', topics: ['greetings'], timeout: 0 };
    await consumer.consume({ ...group, autoOffsetReset: 'earliest' });
    await producer.produceMany(['old', 'old too'].map((value) => ({ topic: 'greetings', value })));
    clock.move(WEEK + 1);
    await producer.produce('greetings', 'new');
    const found = await consumer.consume({ ...group, autoOffsetReset: 'earliest' });
    expect(found).toMatchObject([{ offset: 2, value: 'new' }]);
  });

  test('a negative retention keeps records forever', async () => {
    const clock = manualClock();
    const topics = [{ name: 'greetings', partitions: 1, retentionMs: -1 }];
    const { producer, server } = await startKafkaFixture({ now: clock.now, topics });
    await producer.produce('greetings', 'old');
    clock.move(1000 * WEEK);
    expect(valuesOf(server.read('greetings'))).toEqual(['old']);
  });
});

/** Starts the emulator in another process, which a test can kill. */
async function startProcess(dir: string): Promise<{ child: ChildProcess; url: string }> {
  const script = join(dir, 'kafka.mjs');
  const options = { port: 0, dir, username: 'dev', password: 'dev', topics: TOPICS };
  await writeFile(
    script,
    `import { startKafka } from ${JSON.stringify(new URL('../../dev/kafka/server.ts', import.meta.url).href)};
     const { url } = await startKafka(${JSON.stringify(options)});
     process.send(url);`,
  );
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const [url] = (await once(child, 'message')) as [string];
  return { child, url };
}
