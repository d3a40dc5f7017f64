import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { customer as customerSchema } from '../../src/domain/customers/customers.ts';
import { type Reply, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const pointers = (reply: Reply) => reply.body.errors?.map((error: { pointer: string }) => error.pointer);
const post = (body: unknown, key?: string) => store.send('POST', '/v1/customers', body, key ? { key } : {});
const patch = (id: string, body: unknown, headers: Record<string, string> = {}) =>
  store.send('PATCH', `/v1/customers/${id}`, body, { headers });
const find = async (email: string, key?: string) =>
  (await store.send('GET', `/v1/customers?email=${encodeURIComponent(email)}`, undefined, key ? { key } : {})).body
    .data;
const home = { line1: '1 Long Lane', city: 'London', country: 'GB' };

describe('a customer', () => {
  test('is returned as every read shows it, with its Location and an id for each address', async () => {
    const input = {
      email: 'ada@example.com',
      name: 'Ada',
      group: 'vip',
      addresses: [home, home],
      metadata: { a: 'b' },
    };
    const made = await post(input);
    expect(made.status).toBe(201);
    expect(Object.keys(made.body)).toEqual(Object.keys(customerSchema.shape));
    expect(made.body).toMatchObject({ ...input, phone: null });
    expect(new Set(made.body.addresses.map((each: { id: string }) => each.id)).size).toBe(2);
    expect(made.headers.get('location')).toBe(`/v1/customers/${made.body.id}`);
    const got = await store.send('GET', `/v1/customers/${made.body.id}`);
    expect([got.body, got.headers.get('etag')]).toEqual([made.body, made.headers.get('etag')]);
    expect((await store.send('GET', '/v1/customers?limit=1')).body.data).toEqual([made.body]);
  });

  test('is found by its e-mail address in upper or lower case, only in its tenant', async () => {
    const { body } = await post({ email: 'Grace.Hopper@Example.com' });
    expect(body.email).toBe('Grace.Hopper@Example.com');
    expect(await find('grace.hopper@EXAMPLE.COM')).toEqual([body]);
    expect(await find('grace@example.com')).toEqual([]);
    const other = await store.database.key({ tenant: 'acme' });
    expect(await find('grace.hopper@example.com', other)).toEqual([]);
    const hidden = await store.send('GET', `/v1/customers/${body.id}`, undefined, { key: other });
    expect(outcome(hidden)).toEqual([404, 'not_found']);
    expect((await post({ email: 'grace.hopper@example.com' }, other)).status).toBe(201);
  });

  test.each([
    ['no e-mail address', { name: 'X' }, '/email'],
    ['an e-mail address without @', { email: 'x.example.com' }, '/email'],
    ['an e-mail address with a space', { email: 'x y@example.com' }, '/email'],
    ['an unknown field', { email: 'x@example.com', id: 'x' }, '/id'],
    [
      'an address without a country',
      { email: 'x@example.com', addresses: [{ line1: 'a', city: 'b' }] },
      '/addresses/0/country',
    ],
  ])('with %s is rejected', async (_, body, pointer) => {
    const reply = await post(body);
    expect([outcome(reply), pointers(reply)]).toEqual([[422, 'validation_failed'], [pointer]]);
  });

  test('twenty times at once with one e-mail address exists once, and the others get email_taken', async () => {
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, n) => post({ email: n % 2 === 0 ? 'race@example.com' : 'RACE@example.com' })),
    );
    expect(replies.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(replies.filter(({ body }) => body.code === 'email_taken')).toHaveLength(19);
    expect(await find('race@example.com')).toHaveLength(1);
  });

  test('cannot change to the e-mail address of another one, even if both change at once', async () => {
    const ids: string[] = [];
    for (const n of [1, 2, 3, 4]) ids.push((await post({ email: `c${n}@example.com` })).body.id);
    expect(outcome(await patch(ids[0] ?? '', { email: 'C2@example.com' }))).toEqual([409, 'email_taken']);
    expect((await patch(ids[0] ?? '', { email: 'C1@example.com' })).body.email).toBe('C1@example.com');
    const replies = await Promise.all(ids.map((id) => patch(id, { email: 'new@example.com' })));
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409]);
    expect(await find('new@example.com')).toHaveLength(1);
  });

  test('changes only the fields of the request, and only in the version that If-Match names', async () => {
    const made = await post({ email: 'change@example.com', name: 'A', phone: '1', group: 'vip', addresses: [home] });
    const etag = made.headers.get('etag') ?? '';
    const { id } = made.body;
    const [kept] = made.body.addresses;
    const changed = await patch(
      id,
      { addresses: [{ ...home, city: 'York' }, kept], group: null },
      { 'if-match': etag },
    );
    expect(changed.body).toMatchObject({ email: 'change@example.com', name: 'A', phone: '1', group: null });
    expect(changed.body.addresses).toEqual([{ ...home, city: 'York', id: expect.any(String) }, kept]);
    expect(outcome(await patch(id, { name: 'B' }, { 'if-match': etag }))).toEqual([412, 'version_mismatch']);
    expect((await patch(id, { name: null })).body.name).toBeNull();
    const notes = Object.fromEntries(Array.from({ length: 250 }, (_, n) => [`note${n}`, 'x'.repeat(500)]));
    const large = await patch(id, { addresses: [{ ...home, ...notes }] });
    expect([outcome(large), pointers(large)]).toEqual([[422, 'validation_failed'], ['/addresses']]);
    const twice = await patch(id, { addresses: [kept, kept] });
    expect([outcome(twice), pointers(twice)]).toEqual([[422, 'validation_failed'], ['/addresses/1/id']]);
  });
});
