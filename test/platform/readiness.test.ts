import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Store, startStore, until } from '../support/harness.ts';
import { deliver, emit, eventOf } from '../support/outbox.ts';

let store: Store;
let kafkaUnavailable = false;
beforeAll(async () => {
  store = await startStore({
    kafkaFault: () => (kafkaUnavailable ? { reject: { status: 503, error: 'unavailable' } } : undefined),
  });
});
afterAll(() => store.close());

let requestCount = 0;
/** Each request comes from another address, because an address may ask for /readyz only so often. */
const ready = () => {
  requestCount++;
  return store.send('GET', '/readyz', undefined, {
    key: null,
    headers: { 'cf-connecting-ip': `192.0.2.${requestCount % 256}` },
  });
};

describe('GET /readyz', () => {
  test('needs no key, makes one database call, and reports the age of the outbox: degraded after five minutes', async () => {
    const idle = await ready();
    expect(idle.status).toBe(200);
    expect(idle.body).toEqual({
      ...{ status: 'ok', outboxAgeSeconds: 0, outboxCount: 0, deadLetters: 0, problems: [] },
      cells: [{ cell: 'default', status: 'ok' }],
    });
    expect(idle.headers.get('server-timing')).toContain('"1 calls"');
    kafkaUnavailable = true;
    const [oldest = 0] = await emit(store.database, randomUUID(), { count: 3 });
    await store.cron();
    await store.database.query(`update platform.events set time = now() - interval '299 seconds' where seq = $1`, [
      oldest,
    ]);
    const waiting = await ready();
    expect(waiting.status).toBe(200);
    expect(waiting.body).toMatchObject({ status: 'ok', outboxCount: 3 });
    expect(waiting.body.outboxAgeSeconds).toBeGreaterThanOrEqual(299);
    await store.database.query(`update platform.events set time = now() - interval '1 hour' where seq = $1`, [oldest]);
    const late = await ready();
    expect([late.status, late.body.status]).toEqual([200, 'degraded']);
    expect(late.body.problems).toEqual([
      {
        code: 'outbox_late',
        detail: expect.stringMatching(
          /^The oldest event for kafka has waited for 36\d\d s\. It has failed [1-9]\d* times/,
        ),
      },
    ]);
    expect(late.body.outboxAgeSeconds).toBeGreaterThanOrEqual(3_600);
    kafkaUnavailable = false;
    await until(async () => {
      await store.cron();
      return (await ready()).body.status === 'ok';
    });
  });

  test('counts the dead letters that are not replayed yet', async () => {
    const before = (await ready()).body.deadLetters;
    const key = randomUUID();
    await emit(store.database, key);
    const body = await eventOf(store.database, key, 'order.confirmed');
    await deliver(store, 'fusioncommerce-orders-dlq', [{ id: 'm', body }]);
    expect((await ready()).body).toMatchObject({
      status: 'degraded',
      deadLetters: before + 1,
      problems: [{ code: 'dead_letters', detail: expect.stringMatching(/^Dead letters not replayed: 1\./) }],
    });
    const { body: page } = await store.send('GET', '/v1/dead-letters?limit=1');
    await store.send('POST', `/v1/dead-letters/${page.data[0].id}/replay`, {});
    expect((await ready()).body.deadLetters).toBe(before);
  });

  test('returns 503 unavailable while the database is unavailable, and GET /healthz still returns 200', async () => {
    await store.bridge.refuse();
    const refused = await ready();
    const alive = await store.send('GET', '/healthz', undefined, { key: null });
    await store.bridge.accept();
    expect(refused.status).toBe(503);
    expect(refused.headers.get('content-type')).toBe('application/problem+json');
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
    expect(refused.body).toMatchObject({ status: 503, code: 'unavailable', instance: '/readyz' });
    expect([alive.status, alive.body]).toEqual([200, { status: 'ok' }]);
    expect(alive.headers.get('server-timing')).toBeNull();
    expect((await ready()).status).toBe(200);
  });
});
