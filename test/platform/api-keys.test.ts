import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { scopes } from '../../src/base/api-keys.ts';
import { type Database, type Reply, type Store, startStore } from '../support/harness.ts';

let store: Store;
let loseFirst = false;
beforeAll(async () => {
  store = await startStore({
    cells: ['eu1'],
    neonFault: ({ statements }) => {
      if (!loseFirst || !statements.some(({ query }) => query.includes('create_key'))) return undefined;
      loseFirst = false;
      return { kind: 'lose-response' };
    },
  });
});
afterAll(() => store.close());

let addresses = 0;
/** Another address each time: one address may try only a few new keys a second. */
const fromNewAddress = () => ({ 'cf-connecting-ip': `10.0.${++addresses >> 8}.${addresses & 255}` });
const create = (body: unknown, options: { key?: string; idempotencyKey?: string } = {}) =>
  store.send('POST', '/v1/keys', body, { ...options, headers: fromNewAddress() });
const list = (query = '', key = store.key) => store.send('GET', `/v1/keys${query}`, undefined, { key });
const revoke = (id: string, key = store.key) =>
  store.send('DELETE', `/v1/keys/${id}`, undefined, { key, headers: fromNewAddress() });
const statusWith = async (key: string, path = '/v1/orders') =>
  (await store.send('GET', path, undefined, { key, headers: fromNewAddress() })).status;
const codeOf = ({ status, body }: Reply) => [status, body.code];

describe('a key that the API creates', () => {
  test('works at once with its scopes alone, is shown once, and only its hash is stored', async () => {
    const made = await create({ kind: 'secret', name: 'warehouse', scopes: ['orders:read'] });
    expect(made.status).toBe(201);
    const { key, ...shown } = made.body;
    expect(key).toMatch(/^sk_live_[0-9A-Za-z]{32}$/);
    expect(shown).toEqual({
      ...{ id: expect.any(String), prefix: key.slice(0, 12), kind: 'secret', name: 'warehouse' },
      ...{ scopes: ['orders:read'], origins: null, createdAt: expect.any(String), expiresAt: null, revokedAt: null },
    });
    expect(made.headers.get('server-timing')).toMatch(/db;desc="1 calls?"/);
    expect([await statusWith(key), await statusWith(key, '/v1/events')]).toEqual([200, 403]);
    expect((await list('?limit=100')).body.data).toContainEqual(shown);
    const tables = ['platform.api_keys', 'platform.idempotency', 'audit.log'];
    for (const table of tables) {
      const rows = await store.database.query(`select t::text from ${table} t`);
      expect(JSON.stringify(rows), table).not.toContain(key.slice(12));
    }
  });

  test('has all scopes of its creator if none are named, or those of a publishable key', async () => {
    const creator = await store.database.key({ scopes: ['keys:write', 'catalog:read', 'campaigns:read', 'tax:read'] });
    const secret = await create({ kind: 'secret' }, { key: creator });
    expect(secret.body.scopes).toEqual(['keys:write', 'catalog:read', 'campaigns:read', 'tax:read']);
    const origins = ['https://shop.example/', 'http://localhost:3000'];
    const publishable = await create({ kind: 'publishable', origins }, { key: creator });
    expect(publishable.body).toMatchObject({
      kind: 'publishable',
      scopes: ['catalog:read', 'campaigns:read'],
      origins: ['https://shop.example', 'http://localhost:3000'],
    });
    expect(publishable.body.key).toMatch(/^pk_live_/);
    expect(await statusWith(publishable.body.key, '/v1/products')).toBe(200);
  });

  test('cannot have a scope that its creator lacks', async () => {
    const creator = await store.database.key({ scopes: ['keys:write', 'orders:read'] });
    const wider = await create({ kind: 'secret', scopes: ['orders:read', 'tenant:write'] }, { key: creator });
    expect(codeOf(wider)).toEqual([403, 'forbidden']);
    expect(wider.body.detail).toContain('tenant:write');
    expect(wider.body.detail).not.toContain('orders:read');
    expect(codeOf(await create({ kind: 'publishable' }, { key: creator }))).toEqual([403, 'forbidden']);
    const powerless = await store.database.key({ scopes: scopes.filter((scope) => scope !== 'keys:write') });
    expect(codeOf(await create({ kind: 'secret' }, { key: powerless }))).toEqual([403, 'forbidden']);
  });

  test('ends at its time of expiry, which must be in the future', async () => {
    const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
    const { body } = await create({ kind: 'secret', expiresAt });
    expect(body.expiresAt).toBe(expiresAt);
    await store.database.query(`update platform.api_keys set expires_at = now() where id = $1`, [body.id]);
    expect(await statusWith(body.key)).toBe(401);
    const past = await create({ kind: 'secret', expiresAt: '2020-01-01T00:00:00Z' });
    expect([past.status, past.body.errors]).toEqual([
      422,
      [{ pointer: '/expiresAt', detail: 'must be in the future' }],
    ]);
  });

  test.each([
    ['/kind', {}],
    ['/kind', { kind: 'admin' }],
    ['/scopes', { kind: 'secret', scopes: [] }],
    ['/scopes/0', { kind: 'secret', scopes: ['everything'] }],
    ['/scopes/1', { kind: 'publishable', scopes: ['catalog:read', 'orders:read'] }],
    ['/origins', { kind: 'secret', origins: ['https://shop.example'] }],
    ['/origins/0', { kind: 'publishable', origins: ['https://shop.example/path'] }],
    ['/origins/0', { kind: 'publishable', origins: ['*'] }],
    ['/name', { kind: 'secret', name: '' }],
    ['/expiresAt', { kind: 'secret', expiresAt: 'tomorrow' }],
    ['/key', { kind: 'secret', key: 'sk_live_mine' }],
  ])('is rejected with a fault at %s for %j', async (pointer, body) => {
    const reply = await create(body);
    expect([reply.status, reply.body.errors?.map((fault: { pointer: string }) => fault.pointer)]).toEqual([
      422,
      [pointer],
    ]);
  });

  test('is not shown again by a repetition, which creates no other one', async () => {
    const idempotencyKey = randomUUID();
    const first = await create({ kind: 'secret', scopes: ['orders:read'] }, { idempotencyKey });
    const again = await create({ kind: 'secret', scopes: ['orders:read'] }, { idempotencyKey });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect([again.status, again.body]).toEqual([201, { ...first.body, key: null }]);
    const rows = await store.database.query('select from platform.api_keys where prefix = $1', [first.body.prefix]);
    expect(rows).toHaveLength(1);
    expect(await statusWith(first.body.key)).toBe(200);
  });

  test('is shown, and works, if the Worker’s own first attempt was lost after it took effect', async () => {
    loseFirst = true;
    const { status, body, headers } = await create({ kind: 'secret', scopes: ['orders:read'] });
    expect([loseFirst, status, headers.get('idempotent-replayed')]).toEqual([false, 201, null]);
    expect(await statusWith(body.key)).toBe(200);
  });

  test('carries the name of the cell where its tenant lives', async () => {
    const { body } = await create({ kind: 'secret', scopes: ['orders:read'] }, { key: store.cells.eu1?.key ?? '' });
    expect(body.key).toMatch(/^sk_live_eu1_[0-9A-Za-z]{32}$/);
    expect(body.prefix).toBe(body.key.slice(0, 'sk_live_eu1_'.length + 4));
    expect(await statusWith(body.key)).toBe(200);
  });
});

describe('the list of keys', () => {
  test('has pages from the newest to the oldest, with revoked keys, and none of another tenant', async () => {
    const key = await store.database.key({ tenant: 'acme' });
    const ids: string[] = [];
    for (let n = 0; n < 3; n++) ids.push((await create({ kind: 'publishable', name: `n${n}` }, { key })).body.id);
    await revoke(ids[2] ?? '', key);
    const seen: { id: string; revokedAt: string | null }[] = [];
    let query = '?limit=2';
    for (;;) {
      const { body } = await list(query, key);
      seen.push(...body.data);
      if (body.nextCursor === null) break;
      query = `?limit=2&cursor=${encodeURIComponent(body.nextCursor)}`;
    }
    expect(seen.map(({ id }) => id)).toEqual(
      seen
        .map(({ id }) => id)
        .toSorted()
        .toReversed(),
    );
    expect(seen.map(({ id }) => id)).toEqual(expect.arrayContaining(ids));
    expect(seen).toHaveLength(4);
    expect(seen.find(({ id }) => id === ids[2])?.revokedAt).not.toBeNull();
    expect(JSON.stringify(seen)).not.toContain('hash');
    const mine = (await list('?limit=100')).body.data.map(({ id }: { id: string }) => id);
    for (const id of ids) expect(mine).not.toContain(id);
  });

  test('needs the scope keys:read', async () => {
    const key = await store.database.key({ scopes: ['keys:write', 'tenant:read'] });
    expect((await list('', key)).status).toBe(403);
    expect((await list('', await store.database.key({ kind: 'publishable' }))).status).toBe(403);
  });
});

describe('revoking a key', () => {
  test('ends it at once, can be repeated, and leaves other tenants’ keys alone', async () => {
    const { body } = await create({ kind: 'secret', scopes: ['orders:read'] });
    const other = await store.database.key({ tenant: 'acme' });
    expect(codeOf(await revoke(body.id, other))).toEqual([404, 'not_found']);
    expect(await statusWith(body.key)).toBe(200);
    expect((await revoke(body.id)).status).toBe(204);
    expect(await statusWith(body.key)).toBe(401);
    const revokedAt = async () =>
      (await list('?limit=100')).body.data.find(({ id }: { id: string }) => id === body.id).revokedAt;
    const first = await revokedAt();
    expect((await revoke(body.id)).status).toBe(204);
    expect(await revokedAt()).toBe(first);
    expect(codeOf(await revoke(randomUUID()))).toEqual([404, 'not_found']);
  });

  describe('with keys:write', () => {
    let tenant: string;
    const keyOf = async (options: Parameters<Database['key']>[0] = {}) => {
      const key = await store.database.key({ tenant, scopes: ['keys:write', 'keys:read'], ...options });
      const [row] = await store.database.query<{ id: string }>(
        `select id from platform.api_keys where key_hash = encode(sha256($1::bytea), 'hex')`,
        [key],
      );
      return { key, id: row?.id ?? '' };
    };
    beforeEach(async () => {
      tenant = `t-${randomUUID()}`;
      await store.database.query('insert into platform.tenants (id, name) values ($1, $1)', [tenant]);
    });
    const countLive = async () =>
      (
        await store.database.query(
          `select from platform.api_keys where tenant_id = $1 and revoked_at is null and 'keys:write' = any(scopes)`,
          [tenant],
        )
      ).length;

    test('is refused for the last valid one', async () => {
      const last = await keyOf();
      await keyOf({ expiresAt: new Date(Date.now() - 1_000) });
      await keyOf({ revokedAt: new Date(Date.now() - 1_000) });
      await keyOf({ scopes: ['orders:read'] });
      const reply = await revoke(last.id, last.key);
      expect(codeOf(reply)).toEqual([409, 'conflict']);
      const next = await keyOf();
      expect((await revoke(last.id, last.key)).status).toBe(204);
      expect(codeOf(await revoke(next.id, next.key))).toEqual([409, 'conflict']);
    });

    test('two keys that revoke each other at once leave one', async () => {
      for (let round = 0; round < 15; round++) {
        const [one, two] = [await keyOf(), await keyOf()];
        const replies = await Promise.all([revoke(two.id, one.key), revoke(one.id, two.key)]);
        expect(await countLive()).toBe(1);
        const statuses = replies.map(({ status }) => status).toSorted();
        expect(statuses[0]).toBe(204);
        expect([401, 409]).toContain(statuses[1]);
        await store.database.query('update platform.api_keys set revoked_at = now() where tenant_id = $1', [tenant]);
      }
    });

    test('many keys that revoke each other at once leave one', async () => {
      const keys = await Promise.all(Array.from({ length: 8 }, () => keyOf()));
      await Promise.all(keys.map(({ key }, at) => revoke(keys[(at + 1) % keys.length]?.id ?? '', key)));
      expect(await countLive()).toBeGreaterThan(0);
      await Promise.all(keys.flatMap(({ key }) => keys.map(({ id }) => revoke(id, key))));
      expect(await countLive()).toBe(1);
    });

    test('a key that is being revoked leaves no new one behind', async () => {
      for (let round = 0; round < 10; round++) {
        const [admin, leaked] = [await keyOf(), await keyOf()];
        const [revoked, made] = await Promise.all([
          revoke(leaked.id, admin.key),
          create({ kind: 'secret' }, { key: leaked.key }),
        ]);
        expect(revoked.status).toBe(204);
        // Each time is the start of its transaction, and the later one may have waited for the other.
        const [row] = await store.database.query<{ before: boolean }>(
          `select m.created_at <= l.revoked_at + interval '1 second' as before from platform.api_keys m, platform.api_keys l
           where m.id = $1 and l.id = $2`,
          [made.body.id ?? '', leaked.id],
        );
        expect([201, 401]).toContain(made.status);
        if (made.status === 201) expect(row?.before).toBe(true);
      }
    });
  });
});
