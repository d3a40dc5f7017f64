import { expect, test } from 'vitest';
import queue from '../../bench/fixture/edge-queue.ts';

const message = (body: unknown) => ({ body: Buffer.from(JSON.stringify(body)).toString('base64') });

test('a paused queue delivers nothing; resumed, it delivers batches to two consumers at a time', async () => {
  const batches: unknown[][] = [];
  let [running, mostRunning] = [0, 0];
  const variables = {
    SETTINGS: { name: 'fusioncommerce-inventory', maxBatchSize: 100, maxRetries: 3, concurrency: 2 },
    CONSUMER: {
      async queue(_name: string, messages: { body: unknown }[]) {
        mostRunning = Math.max(mostRunning, ++running);
        await new Promise((resolve) => setTimeout(resolve, 1));
        batches.push(messages.map(({ body }) => body));
        running--;
        return { outcome: 'ok', retryBatch: { retry: false }, retryMessages: [] };
      },
    },
  };
  const pending: Promise<unknown>[] = [];
  const execution = { waitUntil: (work: Promise<unknown>) => void pending.push(work) };
  const post = (path: string, body: object = {}) =>
    queue.fetch(
      new Request(`http://queue${path}`, { method: 'POST', body: JSON.stringify(body) }),
      variables,
      execution,
    );
  await post('/pause');
  for (let from = 0; from < 500; from += 50) {
    await post('/batch', { messages: Array.from({ length: 50 }, (_, n) => message({ n: from + n })) });
  }
  await Promise.all(pending);
  expect(batches).toEqual([]);
  await post('/resume');
  await Promise.all(pending);
  expect(batches.map(({ length }) => length)).toEqual([100, 100, 100, 100, 100]);
  expect(
    batches
      .flat()
      .map((body) => (body as { n: number }).n)
      .sort((a, b) => a - b),
  ).toEqual([...Array(500).keys()]);
  expect(mostRunning).toBe(2);
});
