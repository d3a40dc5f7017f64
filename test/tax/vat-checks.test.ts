import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Reply, type Store, startStore, until } from '../support/harness.ts';
import { deliver } from '../support/outbox.ts';
import { jobSecret } from '../support/secrets.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());
beforeEach(() => store.vies.answers.clear());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const create = (fields: Record<string, unknown> = {}) =>
  store.send('POST', '/v1/customers', { email: `${randomUUID()}@example.com`, ...fields });
const read = async (id: string) => (await store.send('GET', `/v1/customers/${id}`)).body;
const patch = (id: string, body: unknown, headers: Record<string, string> = {}) =>
  store.send('PATCH', `/v1/customers/${id}`, body, { headers });
const has = (id: string, status: string | null) => until(async () => (await read(id)).vatStatus === status);
const eventsOf = (id: string) =>
  store.database.query<{ payload: object }>(
    `select payload from platform.events where topic = 'customer.vat.requested' and key = $1 order by seq`,
    [id],
  );
const checkedAt = async (id: string) =>
  (
    await store.database.query<{ at: Date | null }>('select vat_checked_at as at from orders.customers where id = $1', [
      id,
    ])
  )[0]?.at;

/** A promise that the test fulfils. */
function promised() {
  let fulfil: (value: string) => void = () => undefined;
  const value = new Promise<string>((resolve) => {
    fulfil = resolve;
  });
  return { value, fulfil };
}

describe('the VAT number of a customer', () => {
  test('is pending until VIES has confirmed it, and its event holds the id alone', async () => {
    const answer = promised();
    store.vies.answers.set('DE136695976', answer.value);
    const made = await create({ vatNumber: 'de 136 695 976' });
    expect(made.body).toMatchObject({ vatNumber: 'DE136695976', vatStatus: 'pending' });
    expect(await eventsOf(made.body.id)).toEqual([{ payload: { customerId: made.body.id } }]);
    await until(() => store.vies.requests.includes('DE136695976'));
    expect((await read(made.body.id)).vatStatus).toBe('pending');
    answer.fulfil('VALID');
    await has(made.body.id, 'valid');
    expect(await checkedAt(made.body.id)).toBeInstanceOf(Date);
  });

  test.each(['INVALID', 'INVALID_INPUT'])('that VIES calls %s is invalid', async (answer) => {
    store.vies.answers.set('IT00743110157', answer);
    const { body } = await create({ vatNumber: 'IT00743110157' });
    await has(body.id, 'invalid');
  });

  test('is asked for with the prefix of VIES: EL for Greece, XI for Northern Ireland', async () => {
    const greek = await create({ vatNumber: 'GR094259216' });
    expect(greek.body.vatNumber).toBe('EL094259216');
    const irish = await create({ vatNumber: 'XI434031494' });
    await has(greek.body.id, 'valid');
    await has(irish.body.id, 'valid');
    expect(store.vies.requests).toEqual(expect.arrayContaining(['EL094259216', 'XI434031494']));
  });

  test.each([
    ['of a wrong form', 'DE12345', 'must be written as a number of DE, such as DE136695976'],
    ['with a wrong check digit', 'DE136695977', 'has a wrong check digit: look for a mistyped or missing character'],
    ['of no member state', 'CHE123456788', expect.stringContaining('must begin with the code of a member state')],
    ['that is no text', 136695976, expect.any(String)],
  ])('%s is rejected, and VIES is not asked', async (_, vatNumber, detail) => {
    const asked = store.vies.requests.length;
    const { id } = (await create()).body;
    for (const reply of [await create({ vatNumber }), await patch(id, { vatNumber })]) {
      expect(outcome(reply)).toEqual([422, 'validation_failed']);
      expect(reply.body.errors).toEqual([{ pointer: '/vatNumber', detail }]);
    }
    expect(store.vies.requests).toHaveLength(asked);
  });

  test('cannot be declared valid by a client', async () => {
    const reply = await create({ vatNumber: 'DE136695976', vatStatus: 'valid' });
    expect([outcome(reply), reply.body.errors[0].pointer]).toEqual([[422, 'validation_failed'], '/vatStatus']);
  });

  test('is checked again if it changes, and only then', async () => {
    const { id } = (await create({ vatNumber: 'DE136695976' })).body;
    await has(id, 'valid');
    for (const change of [{ vatNumber: 'DE 136695976' }, { name: 'Ada' }]) {
      expect((await patch(id, change)).body.vatStatus).toBe('valid');
    }
    expect(await eventsOf(id)).toHaveLength(1);
    expect((await patch(id, { vatNumber: 'FR40303265045' })).body.vatStatus).toBe('pending');
    expect(await checkedAt(id)).toBeNull();
    await has(id, 'valid');
    expect(await eventsOf(id)).toHaveLength(2);
    expect((await patch(id, { vatNumber: null })).body).toMatchObject({ vatNumber: null, vatStatus: null });
    expect(await eventsOf(id)).toHaveLength(2);
  });

  test('that is changed while VIES is asked does not get the status of the old one', async () => {
    const slow = promised();
    store.vies.answers.set('ATU13585627', slow.value);
    store.vies.answers.set('DK13585628', 'INVALID');
    const { id } = (await create({ vatNumber: 'ATU13585627' })).body;
    await until(() => store.vies.requests.includes('ATU13585627'));
    await patch(id, { vatNumber: 'DK13585628' });
    slow.fulfil('VALID');
    await has(id, 'invalid');
    await until(async () => {
      const applied = await store.database.query(
        `select from platform.inbox i join platform.events e on e.id::text = i.event_id where e.key = $1`,
        [id],
      );
      return applied.length === 2;
    });
    expect(await read(id)).toMatchObject({ vatNumber: 'DK13585628', vatStatus: 'invalid' });
  });

  test('keeps the version of its customer when VIES answers, so that a change with If-Match succeeds', async () => {
    const made = await create({ vatNumber: 'DE136695976' });
    const etag = made.headers.get('etag') ?? '';
    await has(made.body.id, 'valid');
    const unchanged = await store.send('GET', `/v1/customers/${made.body.id}`, undefined, {
      headers: { 'if-none-match': etag },
    });
    expect(unchanged.status).toBe(200);
    expect((await patch(made.body.id, { name: 'Ada' }, { 'if-match': etag })).status).toBe(200);
  });

  test.each(['MS_UNAVAILABLE', 'MS_MAX_CONCURRENT_REQ', 'TIMEOUT'])(
    'waits while VIES says %s, and is confirmed by a later delivery',
    async (answer) => {
      store.vies.answers.set('PL8567346215', answer);
      const { id } = (await create({ vatNumber: 'PL8567346215' })).body;
      const failed = () => store.logs().filter(({ error }) => error === 'PartlyApplied').length;
      const before = failed();
      await until(() => failed() > before);
      expect((await read(id)).vatStatus).toBe('pending');
      store.vies.answers.delete('PL8567346215');
      await has(id, 'valid');
      expect(await store.database.query('select from platform.dead_letters where key = $1', [id])).toEqual([]);
    },
  );

  test('becomes no dead letter while VIES is unavailable: the queue waits longer each time, then leaves it to the cron', async () => {
    store.vies.answers.set('MT11679112', 'MS_UNAVAILABLE');
    const { id } = (await create({ vatNumber: 'MT11679112' })).body;
    const [row] = await store.database.query<{ body: object }>(
      'select platform.envelope(e) as body from platform.events e where key = $1',
      [id],
    );
    const attempt = (attempts: number) =>
      deliver(store, 'fusioncommerce-orders', [{ id: 'm', body: row?.body, attempts }]);
    const waits: (number | undefined)[] = [];
    for (let attempts = 1; attempts < 10; attempts++) waits.push((await attempt(attempts)).retried.m);
    expect(waits).toEqual([2, 4, 8, 16, 32, 64, 128, 256, 300]);
    expect(await attempt(10)).toEqual({ outcome: 'ok', acknowledged: ['m'], retried: {} });
    expect(await store.database.query('select from platform.dead_letters where key = $1', [id])).toEqual([]);
    expect((await read(id)).vatStatus).toBe('pending');
    store.vies.answers.clear();
    await store.cron('* * * * *', new Date(Date.now() + 1_860_000));
    await has(id, 'valid');
  });

  test('is confirmed for 30 customers at once', async () => {
    const made = await Promise.all(Array.from({ length: 30 }, () => create({ vatNumber: 'HU12892312' })));
    for (const { body } of made) await has(body.id, 'valid');
  });

  test('whose message was lost is asked for again by the cron, once', async () => {
    const { id } = (await create({ vatNumber: 'SI50223054' })).body;
    await has(id, 'valid');
    await store.database.query(
      `update orders.customers set vat_status = 'pending', vat_requested_at = now() - interval '29 minutes' where id = $1`,
      [id],
    );
    await store.cron();
    expect((await read(id)).vatStatus).toBe('pending');
    const answer = promised();
    store.vies.answers.set('SI50223054', answer.value);
    const later = new Date(Date.now() + 60_000);
    await store.cron('* * * * *', later);
    await store.cron('* * * * *', later);
    expect(await eventsOf(id)).toHaveLength(2);
    answer.fulfil('VALID');
    await has(id, 'valid');
  });

  test('of a customer of another tenant does not change', async () => {
    const { id } = (await create({ vatNumber: 'LU15027442' })).body;
    await has(id, 'valid');
    await store.database.query(`update orders.customers set vat_status = 'pending' where id = $1`, [id]);
    const [{ result } = { result: undefined }] = await store.database.query<{ result: object }>(
      'select orders.find_vat_checks($1, $2) as result',
      [{ jobSecret: jobSecret }, { tenant: 'acme', messages: [{ eventId: randomUUID(), customerId: id }] }],
    );
    expect(result).toEqual({ checks: [] });
  });
});
