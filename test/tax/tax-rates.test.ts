import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { taxRate as taxRateSchema } from '../../src/domain/tax/tax-rates.ts';
import { type Reply, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const pointers = (reply: Reply) => reply.body.errors?.map((error: { pointer: string }) => error.pointer);
const rate = (more: Record<string, unknown> = {}) => ({ name: 'VAT', country: 'DE', rate: 19, ...more });
const post = (body: unknown, key?: string) => store.send('POST', '/v1/tax-rates', body, key ? { key } : {});
const read = (id: string, key?: string) => store.send('GET', `/v1/tax-rates/${id}`, undefined, key ? { key } : {});
const patch = (id: string, body: unknown, headers: Record<string, string> = {}) =>
  store.send('PATCH', `/v1/tax-rates/${id}`, body, { headers });
const remove = (id: string, headers: Record<string, string> = {}) =>
  store.send('DELETE', `/v1/tax-rates/${id}`, undefined, { headers });

describe('a tax rate', () => {
  test('is returned as every read shows it, with its Location, in one database call', async () => {
    const made = await post(rate({ region: 'de-by', category: 'books', rate: 7.1234 }));
    expect(made.status, JSON.stringify(made.body)).toBe(201);
    expect(Object.keys(made.body)).toEqual(Object.keys(taxRateSchema.shape));
    expect(made.body).toMatchObject({ name: 'VAT', country: 'DE', region: 'BY', category: 'books', rate: 7.1234 });
    expect(made.headers.get('location')).toBe(`/v1/tax-rates/${made.body.id}`);
    expect(made.headers.get('server-timing')).toContain('1 calls');
    const got = await read(made.body.id);
    expect([got.body, got.headers.get('etag')]).toEqual([made.body, made.headers.get('etag')]);
    expect((await store.send('GET', '/v1/tax-rates?limit=1')).body.data).toEqual([made.body]);
  });

  test.each([
    ['five decimals', { rate: 7.12345 }, '/rate'],
    ['a tiny share', { rate: 0.00001 }, '/rate'],
    ['more than 100 percent', { rate: 100.0001 }, '/rate'],
    ['a negative percentage', { rate: -1 }, '/rate'],
    ['a percentage as text', { rate: '19' }, '/rate'],
    ['an unknown country', { country: 'EU' }, '/country'],
    ['a country in lower case', { country: 'de' }, '/country'],
    ['the name of a region', { region: 'Bavaria' }, '/region'],
    ['a region of another country', { region: 'US-CA' }, '/region'],
    ['an unknown field', { id: 'x' }, '/id'],
  ])('with %s is rejected', async (_, fields, pointer) => {
    const reply = await post(rate(fields));
    expect([outcome(reply), pointers(reply)]).toEqual([[422, 'validation_failed'], [pointer]]);
  });

  test('of 0 and of 100 percent is stored as it was given', async () => {
    for (const percent of [0, 100]) {
      expect((await post(rate({ category: `p-${percent}`, rate: percent }))).body.rate).toBe(percent);
    }
  });

  test.each([
    ['a country', { country: 'FR' }, 'a tax rate for FR and products without a rate for their category'],
    ['a region', { country: 'US', region: 'CA' }, 'There is a tax rate for US-CA'],
    ['a category', { country: 'FR', category: 'books' }, 'the category "books"'],
    ['a category of a region', { country: 'US', region: 'US-NY', category: 'books' }, 'US-NY and the category "books"'],
  ])('for %s exists once, if twenty are created at once', async (_, fields, detail) => {
    const replies = await Promise.all(Array.from({ length: 20 }, () => post(rate(fields))));
    expect(replies.filter(({ status }) => status === 201)).toHaveLength(1);
    const refused = replies.filter(({ body }) => body.code === 'conflict');
    expect(refused).toHaveLength(19);
    for (const { status, body } of refused)
      expect([status, body.detail]).toEqual([409, expect.stringContaining(detail)]);
  });

  test('changes only the fields of the request, and only in the version that If-Match names', async () => {
    const made = await post(rate({ country: 'US', region: 'TX', category: 'food', rate: 6.25 }));
    const etag = made.headers.get('etag') ?? '';
    const { id } = made.body;
    const changed = await patch(id, { rate: 8.875 }, { 'if-match': etag });
    expect(changed.body).toEqual({ ...made.body, rate: 8.875, updatedAt: changed.body.updatedAt });
    expect(outcome(await patch(id, { rate: 1 }, { 'if-match': etag }))).toEqual([412, 'version_mismatch']);
    expect(outcome(await remove(id, { 'if-match': etag }))).toEqual([412, 'version_mismatch']);
    expect((await patch(id, { name: 'Tax', region: null, category: null, country: 'CA' })).body).toMatchObject({
      ...{ name: 'Tax', country: 'CA', region: null, category: null, rate: 8.875 },
    });
    expect(outcome(await patch(id, {}))).toEqual([422, 'validation_failed']);
  });

  test('does not keep its region in another country', async () => {
    const { id } = (await post(rate({ country: 'US', region: 'WA' }))).body;
    for (const change of [{ country: 'AU' }, { country: 'AU', region: 'US-WA' }, { region: 'AU-WA' }]) {
      const reply = await patch(id, change);
      expect([outcome(reply), pointers(reply)]).toEqual([[422, 'validation_failed'], ['/region']]);
    }
    expect((await patch(id, { country: 'AU', region: 'AU-WA' })).body).toMatchObject({ country: 'AU', region: 'WA' });
  });

  test('cannot take the place and category of another rate, even if several change at once', async () => {
    const ids: string[] = [];
    for (const category of ['a', 'b', 'c', 'd']) ids.push((await post(rate({ country: 'IT', category }))).body.id);
    expect(outcome(await patch(ids[0] ?? '', { category: 'b' }))).toEqual([409, 'conflict']);
    expect((await patch(ids[0] ?? '', { category: 'a', rate: 22 })).body.rate).toBe(22);
    const replies = await Promise.all(ids.map((id) => patch(id, { category: null })));
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409]);
  });

  test('is deleted once, and another one can take its place', async () => {
    const { id } = (await post(rate({ country: 'ES' }))).body;
    expect((await remove(id)).status).toBe(204);
    expect(outcome(await read(id))).toEqual([404, 'not_found']);
    expect(outcome(await remove(id))).toEqual([404, 'not_found']);
    expect((await post(rate({ country: 'ES' }))).status).toBe(201);
  });

  test('is listed by its country, page by page', async () => {
    for (const category of ['a', 'b', 'c']) await post(rate({ country: 'PT', category }));
    const first = await store.send('GET', '/v1/tax-rates?country=PT&limit=2');
    expect(first.body.data.map((each: { category: string }) => each.category)).toEqual(['c', 'b']);
    const next = `/v1/tax-rates?country=PT&limit=2&cursor=${encodeURIComponent(first.body.nextCursor)}`;
    const second = await store.send('GET', next);
    expect(second.body.data.map((each: { category: string }) => each.category)).toEqual(['a']);
    expect(second.body.nextCursor).toBeNull();
    const unknown = await store.send('GET', '/v1/tax-rates?country=pt');
    expect(outcome(unknown)).toEqual([422, 'validation_failed']);
  });

  test('is hidden from other tenants, which may have a rate for the same place and category', async () => {
    const { id } = (await post(rate({ country: 'NL' }))).body;
    const other = await store.database.key({ tenant: 'acme' });
    expect(outcome(await read(id, other))).toEqual([404, 'not_found']);
    const change = await store.send('PATCH', `/v1/tax-rates/${id}`, { rate: 1 }, { key: other });
    expect(outcome(change)).toEqual([404, 'not_found']);
    expect((await post(rate({ country: 'NL' }), other)).status).toBe(201);
    expect((await store.send('GET', '/v1/tax-rates', undefined, { key: other })).body.data).toHaveLength(1);
  });
});
