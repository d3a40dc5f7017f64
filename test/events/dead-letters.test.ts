import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { startKafka } from '../../dev/kafka/server.ts';
import { topics } from '../../src/events/topics.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { deliver, emit, eventOf, startQueues, stopQueues } from '../support/outbox.ts';

type DeadLetter = {
  id: string;
  eventId: string;
  topic: string;
  key: string;
  reason: string;
  replayedAt: string | null;
};

const deadLettersOf = async (store: Store, key: string, status = 'open', apiKey = store.key): Promise<DeadLetter[]> => {
  const { body } = await store.send('GET', `/v1/dead-letters?limit=100&status=${status}`, undefined, { key: apiKey });
  return body.data.filter((deadLetter: DeadLetter) => deadLetter.key === key);
};

const replay = (store: Store, id: string | undefined, options: Parameters<Store['send']>[3] = {}) =>
  store.send('POST', `/v1/dead-letters/${id}/replay`, {}, options);

describe('an event whose topic is missing in Kafka', () => {
  const missing = 'inventory.reserved';
  let store: Store;
  beforeAll(async () => {
    store = await startStore({ kafkaTopics: Object.keys(topics).filter((topic) => topic !== missing) });
  });
  afterAll(() => store.close());

  test('becomes a dead letter that names the topic, does not stop the others, and is delivered once by its replay', async () => {
    await addProduct(store, 'TOPICLESS', 5);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('TOPICLESS'));
    await store.send('POST', `/v1/orders/${order.id}/cancel`);
    await store.settled();
    const event = await eventOf(store.database, order.id, missing);
    const deadLetters = await deadLettersOf(store, order.id);
    expect(deadLetters).toEqual([
      {
        id: expect.any(String),
        sink: 'kafka',
        eventId: event.id,
        topic: missing,
        key: order.id,
        message: event,
        reason: `${missing}: Topic '${missing}' does not exist`,
        attempts: 1,
        createdAt: expect.any(String),
        replayedAt: null,
      },
    ]);
    expect([...store.kafka.read('order.cancelled')].filter(({ key }) => key === order.id)).toHaveLength(1);
    expect([...store.kafka.read('inventory.released')].filter(({ key }) => key === order.id)).toHaveLength(1);
    expect((await store.send('GET', '/readyz')).body.deadLetters).toBe(deadLetters.length);

    // Replayed while the topic is still missing, it becomes a new dead letter.
    expect((await replay(store, deadLetters[0]?.id)).status).toBe(202);
    await store.settled();
    const [again, ...more] = await deadLettersOf(store, order.id);
    expect(more).toEqual([]);
    expect(again?.id).not.toBe(deadLetters[0]?.id);
    expect(await deadLettersOf(store, order.id, 'all')).toHaveLength(2);

    // Another Kafka at the same address, with the topic.
    const dir = await mkdtemp(join(tmpdir(), 'kafka-'));
    const { port } = store.kafka;
    await store.kafka.close();
    const kafka = await startKafka({
      port,
      dir,
      username: 'dev',
      password: 'dev',
      topics: [{ name: missing, partitions: 12, retentionMs: -1 }],
    });
    onTestFinished(async () => {
      await kafka.close();
      await rm(dir, { recursive: true, force: true });
    });
    const answers = await Promise.all([replay(store, again?.id), replay(store, again?.id), replay(store, again?.id)]);
    for (const answer of answers) {
      expect(answer.status).toBe(202);
      expect(answer.body).toEqual({ ...again, replayedAt: expect.any(String) });
      expect(answer.body).toEqual(answers[0]?.body);
    }
    await store.settled();
    await replay(store, again?.id);
    await store.settled();
    const records = [...kafka.read(missing)].filter(({ key }) => key === order.id);
    expect(records.map(({ value }) => JSON.parse(value))).toEqual([event.data]);
    expect(records[0]?.headers).toContainEqual({ key: 'ce_id', value: event.id });
    expect(await deadLettersOf(store, order.id)).toEqual([]);
    expect((await store.send('GET', '/readyz')).body.deadLetters).toBe(0);
  });
});

describe('a message that its queue gives up', () => {
  let store: Store;
  beforeAll(async () => {
    store = await startStore({ queueRetries: 1 });
    await store.database.query(`create function public.refuse() returns trigger language plpgsql as $$
      begin raise exception 'refused'; end $$`);
    await store.database.query(
      'create trigger refuse before update on inventory.reservations for each row execute function public.refuse()',
    );
  });
  afterAll(() => store.close());

  test('goes through the dead-letter queue into the table, and a replay sends it to the consumer again', async () => {
    await addProduct(store, 'GIVEN-UP', 5);
    await addProduct(store, 'SHORT', 0);
    const headers = { prefer: 'respond-async' };
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('GIVEN-UP'), { headers });
    await until(async () => (await deadLettersOf(store, order.id)).length > 0);
    const event = await eventOf(store.database, order.id, 'order.created');
    const deadLetters = await deadLettersOf(store, order.id);
    expect(deadLetters).toEqual([
      expect.objectContaining({
        sink: 'inventory',
        eventId: event.id,
        topic: 'order.created',
        message: event,
        reason: expect.stringMatching(/^Not applied after \d+ deliveries from the queue\.$/),
      }),
    ]);
    await store.database.query('drop trigger refuse on inventory.reservations');
    expect((await replay(store, deadLetters[0]?.id)).status).toBe(202);
    await until(async () => {
      const { body } = await store.send('GET', `/v1/orders/${order.id}`);
      return body.reservation?.status === 'held';
    });
    expect(await deadLettersOf(store, order.id)).toEqual([]);
    // Kafka has received the event already, so the replay does not send it there again.
    expect([...store.kafka.read('order.created')].filter(({ key }) => key === order.id)).toHaveLength(1);
  });
});

describe('dead letters', () => {
  const dlq = 'fusioncommerce-inventory-dlq';
  let store: Store;
  beforeAll(async () => {
    store = await startStore();
  });
  afterAll(() => store.close());

  /** A dead letter of an event that no service acts on. */
  async function createDeadLetter() {
    const key = randomUUID();
    await emit(store.database, key, { topic: 'order.created' });
    const event = await eventOf(store.database, key, 'order.created');
    await deliver(store, dlq, [{ id: 'm', body: event, attempts: 31 }]);
    const [deadLetter] = await deadLettersOf(store, key);
    return { key, event, deadLetter };
  }

  test('are stored once for a message that is delivered again, and once more after a replay', async () => {
    const { key, event, deadLetter } = await createDeadLetter();
    const twice = [
      { id: 'a', body: event },
      { id: 'b', body: event },
    ];
    expect((await deliver(store, dlq, twice)).acknowledged).toEqual(['a', 'b']);
    expect(await deadLettersOf(store, key)).toHaveLength(1);
    await stopQueues(store.database);
    await replay(store, deadLetter?.id);
    await deliver(store, dlq, twice);
    expect(await deadLettersOf(store, key)).toHaveLength(1);
    expect(await deadLettersOf(store, key, 'all')).toHaveLength(2);
    await startQueues(store.database);
  });

  test('are listed newest first, page by page', async () => {
    const made: string[] = [];
    for (let index = 0; index < 5; index++) made.push((await createDeadLetter()).deadLetter?.id ?? '');
    const seen: string[] = [];
    let cursor = '';
    do {
      const { body } = await store.send('GET', `/v1/dead-letters?limit=2${cursor && `&cursor=${cursor}`}`);
      seen.push(...body.data.map(({ id }: DeadLetter) => id));
      cursor = body.nextCursor;
    } while (cursor);
    expect(seen.slice(0, 5)).toEqual([...made].reverse());
    expect(new Set(seen).size).toBe(seen.length);
    const invalid = await store.send('GET', '/v1/dead-letters?cursor=nonsense');
    expect([invalid.status, invalid.body.code]).toEqual([400, 'invalid_cursor']);
  });

  test('are visible and replayable only for their tenant', async () => {
    const { key, deadLetter } = await createDeadLetter();
    const acme = await store.database.key({ tenant: 'acme' });
    expect(await deadLettersOf(store, key, 'all', acme)).toEqual([]);
    const stranger = await replay(store, deadLetter?.id, { key: acme });
    expect([stranger.status, stranger.body.code]).toEqual([404, 'not_found']);
    expect((await deadLettersOf(store, key))[0]?.replayedAt).toBeNull();
    const reader = await store.database.key({ scopes: ['events:read'] });
    expect((await replay(store, deadLetter?.id, { key: reader })).status).toBe(403);
    const buyer = await store.database.key({ kind: 'publishable' });
    expect((await store.send('GET', '/v1/dead-letters', undefined, { key: buyer })).status).toBe(403);
    expect((await replay(store, randomUUID())).status).toBe(404);
  });

  test('that are not events of this store are listed, but cannot be replayed', async () => {
    const { event } = await createDeadLetter();
    const { sequence: _none, ...unnumbered } = event;
    for (const foreign of [unnumbered, { ...event, sequence: '999999999' }, event]) {
      const subject = randomUUID();
      await deliver(store, dlq, [{ id: 'm', body: { ...foreign, id: randomUUID(), subject } }]);
      const [deadLetter] = await deadLettersOf(store, subject);
      const refused = await replay(store, deadLetter?.id);
      expect([refused.status, refused.body.code]).toEqual([409, 'conflict']);
      expect((await deadLettersOf(store, subject))[0]?.replayedAt).toBeNull();
    }
  });
});
