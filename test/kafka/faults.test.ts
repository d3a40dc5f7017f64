import { expect, test } from 'vitest';
import type { Fault, FaultyRequest } from '../../dev/kafka/faults.ts';
import { startKafkaFixture } from '../support/kafka/kafka.ts';

const BATCH = ['a', 'b', 'c'].map((value) => ({ topic: 'greetings', value }));

/** Starts a server whose faults `chooseFault` decides, and records the requests. */
async function startFaultyKafka(chooseFault: (request: FaultyRequest) => Fault | undefined) {
  const requests: FaultyRequest[] = [];
  const kafka = await startKafkaFixture({
    fault: (request) => {
      requests.push(request);
      return chooseFault(request);
    },
  });
  return { ...kafka, requests, stored: () => [...kafka.server.read('greetings')].map((record) => record.value) };
}

test('a rejected request stores nothing', async () => {
  const { post, stored, requests } = await startFaultyKafka(() => ({ reject: { status: 503, error: 'away' } }));
  expect(await post('/produce', BATCH)).toEqual({ status: 503, body: { status: 503, error: 'away' } });
  expect(stored()).toEqual([]);
  expect(requests).toEqual([{ method: 'POST', path: '/produce', records: BATCH }]);
});

test('a rejected record has its error at its index, and the others are stored', async () => {
  const { post, stored } = await startFaultyKafka(() => ({ rejectRecords: [{ index: 1, status: 500 }] }));
  const { status, body } = await post('/produce', BATCH);
  expect(status).toBe(200);
  expect(body).toMatchObject([{ offset: 0 }, { status: 500, error: expect.any(String) }, { offset: 1 }]);
  expect(stored()).toEqual(['a', 'c']);
});

test('a connection that closes before the request is handled stores nothing', async () => {
  const { post, stored } = await startFaultyKafka(() => ({ drop: 'before' }));
  await expect(post('/produce', BATCH)).rejects.toThrow();
  expect(stored()).toEqual([]);
});

test('a connection that closes before the response stores everything', async () => {
  const { post, stored } = await startFaultyKafka(() => ({ drop: 'after' }));
  await expect(post('/produce', BATCH)).rejects.toThrow();
  expect(stored()).toEqual(['a', 'b', 'c']);
});

test('a delayed response has stored its records, a delayed request has not', async () => {
  const delays: Fault[] = [{ responseDelayMs: 20_000 }, { delayMs: 20_000 }];
  const { call, stored, requests } = await startFaultyKafka(() => delays.shift());
  const abortDuring = async (value: string) => {
    const controller = new AbortController();
    const response = call(`/produce/greetings/${value}`, { signal: controller.signal });
    await expect.poll(() => requests.at(-1)?.path).toBe(`/produce/greetings/${value}`);
    controller.abort();
    await expect(response).rejects.toThrow();
  };
  await abortDuring('answered late');
  await abortDuring('handled late');
  expect((await call('/produce/greetings/now')).status).toBe(200);
  expect(stored()).toEqual(['answered late', 'now']);
});

test('a request without a fault is handled, and a fault sees no records if the request produces none', async () => {
  const { admin, requests } = await startFaultyKafka(() => undefined);
  expect(await admin.topics()).toHaveProperty('greetings');
  expect(requests).toEqual([{ method: 'GET', path: '/topics' }]);
});

test('the server closes while a consumer waits', async () => {
  const { server, call, admin } = await startKafkaFixture();
  const waiting = call('/consume/group/one/greetings?timeout=600000').catch(() => 'closed');
  await expect.poll(async () => (await admin.consumers()).length).toBe(1);
  await server.close();
  expect(await waiting).toBe('closed');
});
