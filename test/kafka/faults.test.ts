import { expect, test } from 'vitest';
import type { Fault, FaultyRequest } from '../../dev/kafka/faults.ts';
import { startKafkaFixture } from '../support/kafka.ts';

const BATCH = ['a', 'b', 'c'].map((value) => ({ topic: 'greetings', value }));

/** A server on which `fail` decides what goes wrong, and a note of what it was asked. */
async function faultyKafka(fail: (request: FaultyRequest) => Fault | undefined) {
  const asked: FaultyRequest[] = [];
  const kafka = await startKafkaFixture({
    fault: (request) => {
      asked.push(request);
      return fail(request);
    },
  });
  return { ...kafka, asked, kept: () => [...kafka.server.read('greetings')].map((record) => record.value) };
}

test('a refused request accepts nothing', async () => {
  const { post, kept, asked } = await faultyKafka(() => ({ refuse: { status: 503, error: 'away' } }));
  expect(await post('/produce', BATCH)).toEqual({ status: 503, body: { status: 503, error: 'away' } });
  expect(kept()).toEqual([]);
  expect(asked).toEqual([{ method: 'POST', path: '/produce', records: BATCH }]);
});

test('a refused record is answered in its place and the others are accepted', async () => {
  const { post, kept } = await faultyKafka(() => ({ refuseRecords: [{ index: 1, status: 500 }] }));
  const { status, body } = await post('/produce', BATCH);
  expect(status).toBe(200);
  expect(body).toMatchObject([{ offset: 0 }, { status: 500, error: expect.any(String) }, { offset: 1 }]);
  expect(kept()).toEqual(['a', 'c']);
});

test('a connection that breaks before the request is handled leaves nothing', async () => {
  const { post, kept } = await faultyKafka(() => ({ drop: 'before' }));
  await expect(post('/produce', BATCH)).rejects.toThrow();
  expect(kept()).toEqual([]);
});

test('a connection that breaks before the answer leaves everything accepted', async () => {
  const { post, kept } = await faultyKafka(() => ({ drop: 'after' }));
  await expect(post('/produce', BATCH)).rejects.toThrow();
  expect(kept()).toEqual(['a', 'b', 'c']);
});

test('a delayed answer comes after the records are accepted, a delayed request before', async () => {
  const delays: Fault[] = [{ answerDelayMs: 20_000 }, { delayMs: 20_000 }];
  const { call, kept, asked } = await faultyKafka(() => delays.shift());
  const impatient = async (value: string) => {
    const given = new AbortController();
    const answer = call(`/produce/greetings/${value}`, { signal: given.signal });
    await expect.poll(() => asked.at(-1)?.path).toBe(`/produce/greetings/${value}`);
    given.abort();
    await expect(answer).rejects.toThrow();
  };
  await impatient('answered late');
  await impatient('handled late');
  expect((await call('/produce/greetings/now')).status).toBe(200);
  expect(kept()).toEqual(['answered late', 'now']);
});

test('a request without a fault is served, and one that produces nothing has no records', async () => {
  const { admin, asked } = await faultyKafka(() => undefined);
  expect(await admin.topics()).toHaveProperty('greetings');
  expect(asked).toEqual([{ method: 'GET', path: '/topics' }]);
});

test('the server closes while a consumer waits', async () => {
  const { server, call, admin } = await startKafkaFixture();
  const waiting = call('/consume/group/one/greetings?timeout=600000').catch(() => 'closed');
  await expect.poll(async () => (await admin.consumers()).length).toBe(1);
  await server.close();
  expect(await waiting).toBe('closed');
});
