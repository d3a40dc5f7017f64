import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Store, startStore } from '../support/harness.ts';
import { brokers, native, variables } from '../support/kafka/broker.ts';
import { createReplayFixture, type Fixture } from '../support/replay.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore({ variables });
});
afterAll(() => store.close());

const header = 'InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country';
const lines = Array.from(
  { length: 30 },
  (_, n) => `${536_000 + (n % 10)},SKU${n % 7},THING ${n % 7},${n + 1},2010-12-01 08:26:00,2.55,17850,United Kingdom`,
);

const runReplay = async (fixture: Fixture, file: string) => fixture.run(file, { kafkaBrokers: brokers });

test('a replay’s audit reads the brokers directly, and finds a record that is not an event', async () => {
  const fixture = await createReplayFixture(store);
  const file = await fixture.write([header, ...lines].join('\n'));
  const first = await runReplay(fixture, file);
  expect(first.text).toContain('All of it is there, once.');
  expect(first.text).toMatch(/Kafka: order\.created +10 +10 {2}ok/);
  expect(first.code).toBe(0);

  const [order] = await store.database.query<{ id: string }>('select id from orders.orders limit 1');
  const producer = native.producer();
  await producer.connect();
  const stray = { key: order?.id ?? '', value: '{}', headers: { ce_id: 'stray' } };
  await producer.send({ topic: 'order.created', messages: [stray] });
  await producer.disconnect();
  const second = await runReplay(fixture, file);
  expect(second.text).toContain(`stray of ${order?.id} is no event`);
  expect(second.code).toBe(1);
  await fixture.close();
});
