import { createHash } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  allowDelayedPayments,
  asTenant,
  createKey,
  createTenant,
  grantScopes,
  listKeys,
  revokeKey,
  setKeyOrigins,
} from '../../dev/keys/api-keys.ts';
import { readAuditLog } from '../../dev/keys/audit-log.ts';
import { acmeStripeAccount, connectAcme, seedSettings, seedTenants } from '../../dev/platform/seed.ts';
import { migrate } from '../../dev/postgres/migrate.ts';
import { type Postgres, startPostgres } from '../../dev/postgres/server.ts';
import { run } from '../../dev/support/process.ts';
import { publishableScopes, scopes } from '../../src/base/api-keys.ts';

let postgres: Postgres;
let owner: pg.Client;
let url: string;

beforeAll(async () => {
  postgres = await startPostgres({ dir: await mkdtemp(join(tmpdir(), 'fusion-keys-')), port: 0, durable: false });
  const superuser = new pg.Client({ connectionString: postgres.url('postgres') });
  await superuser.connect();
  await superuser.query(`create role owner_of_keys login createrole password 'owner'`);
  await superuser.query('create database keys owner owner_of_keys');
  await superuser.end();
  url = `postgres://owner_of_keys:owner@127.0.0.1:${postgres.port}/keys`;
  await migrate({ url });
  owner = new pg.Client({ connectionString: url });
  await owner.connect();
  await createTenant(owner, 'shop', 'The shop');
  await createTenant(owner, 'other', 'Another');
});

afterAll(async () => {
  await owner.end();
  await postgres.remove();
});

/** Authenticates a key for a scope as the API does. Returns its tenant or the error code. */
async function authenticate(key: string, scope: string): Promise<string> {
  const keyHash = createHash('sha256').update(key).digest('hex');
  const statement = `select platform.authenticate($1::jsonb, $2) ->> 'tenant' as tenant`;
  return owner.query<{ tenant: string }>(statement, [JSON.stringify({ keyHash }), scope]).then(
    ({ rows }) => rows[0]?.tenant ?? '',
    (error: Error) => error.message,
  );
}

test('a secret key has every scope of its tenant, and only its hash is stored', async () => {
  const key = await createKey(owner, { tenant: 'shop', kind: 'secret' });
  expect(key).toMatch(/^sk_live_[0-9A-Za-z]{32}$/);
  for (const scope of scopes) expect(await authenticate(key, scope)).toBe('shop');
  const [row] = await listKeys(owner, 'shop');
  expect(row).toMatchObject({ prefix: key.slice(0, 12), kind: 'secret', tenant_id: 'shop' });
  expect(JSON.stringify(row)).not.toContain(key);
});

test('a publishable key reads the catalog and campaigns, and cannot be created with other scopes', async () => {
  const key = await createKey(owner, { tenant: 'shop', kind: 'publishable' });
  expect(key).toMatch(/^pk_live_/);
  for (const scope of scopes) {
    expect(await authenticate(key, scope)).toBe(publishableScopes.includes(scope) ? 'shop' : 'forbidden');
  }
  const wider = { tenant: 'shop', kind: 'publishable', scopes: ['orders:read'] } as const;
  await expect(createKey(owner, { ...wider, scopes: [...wider.scopes] })).rejects.toThrow('cannot have orders:read');
});

test('a publishable key can be bound to page origins, and a secret key cannot', async () => {
  const origins = ['https://shop.example/', 'http://localhost:3000'];
  const key = await createKey(owner, { tenant: 'shop', kind: 'publishable', origins });
  const bound = async () => (await listKeys(owner, 'shop')).find((row) => row.prefix === key.slice(0, 12))?.origins;
  expect(await bound()).toEqual(['https://shop.example', 'http://localhost:3000']);
  await setKeyOrigins(owner, key.slice(0, 12), ['https://other.example']);
  expect(await bound()).toEqual(['https://other.example']);
  await setKeyOrigins(owner, key.slice(0, 12), null);
  expect(await bound()).toBeNull();
  for (const origin of ['shop.example', 'https://shop.example/page', 'https://*.example', 'null', '*', 'data:,x']) {
    const creation = createKey(owner, { tenant: 'shop', kind: 'publishable', origins: [origin] });
    await expect(creation, origin).rejects.toThrow('is not an origin');
  }
  const secret = await createKey(owner, { tenant: 'shop', kind: 'secret' });
  await expect(setKeyOrigins(owner, secret.slice(0, 12), ['https://shop.example'])).rejects.toThrow('no origins');
  await expect(createKey(owner, { tenant: 'shop', kind: 'secret', origins })).rejects.toThrow('no origins');
});

test('a key with some scopes is forbidden all others', async () => {
  const key = await createKey(owner, { tenant: 'shop', kind: 'secret', scopes: ['orders:read'] });
  expect(await authenticate(key, 'orders:read')).toBe('shop');
  expect(await authenticate(key, 'orders:write')).toBe('forbidden');
});

test('a revoked or expired key does not authenticate', async () => {
  const revoked = await createKey(owner, { tenant: 'other', kind: 'secret', name: 'to be revoked' });
  expect(await authenticate(revoked, 'orders:read')).toBe('other');
  expect(await revokeKey(owner, revoked.slice(0, 12))).toMatchObject({ name: 'to be revoked' });
  expect(await authenticate(revoked, 'orders:read')).toBe('unauthenticated');
  const expired = await createKey(owner, { tenant: 'other', kind: 'secret', expiresAt: new Date(Date.now() - 1000) });
  expect(await authenticate(expired, 'orders:read')).toBe('unauthenticated');
});

test('a prefix that fits two keys revokes neither', async () => {
  const keys = ['sk_live_sameA', 'sk_live_sameB'];
  for (const key of keys) await createKey(owner, { tenant: 'other', kind: 'secret', key });
  await expect(revokeKey(owner, 'sk_live_same')).rejects.toThrow('several keys');
  await expect(revokeKey(owner, 'sk_live_none')).rejects.toThrow('no key');
  for (const key of keys) expect(await authenticate(key, 'orders:read')).toBe('other');
});

test('a key needs an existing tenant', async () => {
  await expect(createKey(owner, { tenant: 'nobody', kind: 'secret' })).rejects.toThrow('no tenant nobody');
});

test('the seed creates the keys of the local platform once', async () => {
  await seedTenants(url);
  await seedTenants(url);
  expect(await authenticate('sk_dev_default', 'orders:write')).toBe('default');
  expect(await authenticate('pk_dev_acme', 'catalog:read')).toBe('acme');
  expect(await authenticate('pk_dev_acme', 'orders:read')).toBe('forbidden');
  expect(await listKeys(owner, 'acme')).toHaveLength(2);
});

test('the seed connects acme to its emulated Stripe account, and not to one of a real Stripe', async () => {
  await seedTenants(url);
  const accounts = async () =>
    (
      await owner.query<{ id: string; stripe_account: string }>(
        'select id, stripe_account from platform.tenants where stripe_account is not null',
      )
    ).rows;
  await connectAcme(url, false);
  expect(await accounts()).toEqual([]);
  await connectAcme(url, true);
  await connectAcme(url, true);
  expect(await accounts()).toEqual([{ id: 'acme', stripe_account: acmeStripeAccount }]);
  await connectAcme(url, false);
  expect(await accounts()).toEqual([]);
  await asTenant(owner, 'acme', () =>
    owner.query(`update platform.tenants set stripe_account = 'acct_real' where id = 'acme'`),
  );
  for (const emulated of [true, false]) await connectAcme(url, emulated);
  expect(await accounts()).toEqual([{ id: 'acme', stripe_account: 'acct_real' }]);
});

test('the seed gives both tenants different settings once, and keeps what was changed later', async () => {
  const rowOf = async (id: string) =>
    (
      await owner.query<{ row: Record<string, unknown> }>(
        'select to_jsonb(t) as row from platform.tenants t where id = $1',
        [id],
      )
    ).rows[0]?.row;
  await seedTenants(url);
  await seedSettings(url);
  const [one, two] = [await rowOf('default'), await rowOf('acme')];
  for (const field of [
    'name',
    'country',
    'currency',
    'ship_from',
    'parcel',
    'links',
    'storefront_url',
    'hold_seconds',
  ]) {
    expect(one?.[field], field).not.toEqual(two?.[field]);
  }
  await owner.query(
    `update platform.tenants set country = 'FR', hold_seconds = null, version = version + 1 where id = 'acme'`,
  );
  await seedTenants(url);
  await seedSettings(url);
  expect(await rowOf('acme')).toMatchObject({ name: two?.name, country: 'FR', hold_seconds: null });
  expect(await rowOf('default')).toEqual(one);
});

test('the operator can grant scopes to an existing key, and the audit log shows it', async () => {
  const key = await createKey(owner, { tenant: 'shop', kind: 'secret', scopes: ['orders:read'] });
  const { id } = (await listKeys(owner, 'shop')).find(({ prefix }) => prefix === key.slice(0, 12)) ?? { id: '' };
  const script = join(import.meta.dirname, '..', '..', 'dev', 'keys', 'main.ts');
  const grant = async (...args: string[]) =>
    (await run(process.execPath, [script, 'grant', ...args], { env: { ...process.env, DATABASE_URL: url } })).output;
  expect(await grant(`${key.slice(0, 12)}…`, 'tenant:write', 'keys:write')).toContain('has tenant:write, keys:write');
  expect(await authenticate(key, 'tenant:write')).toBe('shop');
  await Promise.all(
    ['tenant:read', 'keys:read', 'tenant:read'].map(async (scope) => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      await grantScopes(client, id, [scope]).finally(() => client.end());
    }),
  );
  const row = (await listKeys(owner, 'shop')).find((each) => each.id === id);
  expect(row?.scopes.toSorted()).toEqual(['keys:read', 'keys:write', 'orders:read', 'tenant:read', 'tenant:write']);
  const [entry] = (await readAuditLog(owner, 'shop', 10, key.slice(0, 12))).toReversed().slice(1);
  expect(entry).toMatchObject({
    operation: 'key update',
    before: { scopes: ['orders:read'] },
    after: { scopes: ['orders:read', 'tenant:write', 'keys:write'] },
  });
  expect(await grant(id, 'everything')).toContain('a secret key cannot have everything');
  expect(await grant(id)).toContain('npm run keys -- grant');
  const publishable = await createKey(owner, { tenant: 'shop', kind: 'publishable' });
  await expect(grantScopes(owner, publishable.slice(0, 12), ['orders:read'])).rejects.toThrow(
    'cannot have orders:read',
  );
  await revokeKey(owner, id);
  await expect(grantScopes(owner, id, ['tax:read'])).rejects.toThrow('is revoked');
});

test('the command says to keep a secret key secret, and on which pages browsers may use a publishable key', async () => {
  const script = join(import.meta.dirname, '..', '..', 'dev', 'keys', 'main.ts');
  const make = async (...args: string[]) => {
    const command = [script, 'make', '--tenant', 'shop', ...args];
    return (await run(process.execPath, command, { env: { ...process.env, DATABASE_URL: url } })).output;
  };
  expect(await make('--kind', 'secret')).toMatch(/^sk_live_\w+\n.*Keep it with your other secrets/);
  const publishable = await make('--kind', 'publishable', '--origin', 'https://shop.example');
  expect(publishable).toMatch(/^pk_live_\w+\n.*It is no secret.*https:\/\/shop\.example/);
  expect(await make('--kind', 'publishable')).toMatch(/^pk_live_\w+\n.*any page/);
});

test('the operator can turn delayed payment methods on and off for each tenant', async () => {
  const allowed = async () =>
    (await owner.query<{ id: string; delayed_payments: boolean }>('select id, delayed_payments from platform.tenants'))
      .rows;
  expect(await allowDelayedPayments(owner, 'shop', false)).toBe(true);
  expect(await allowed()).toContainEqual({ id: 'shop', delayed_payments: false });
  expect(await allowed()).toContainEqual({ id: 'other', delayed_payments: true });
  expect(await allowDelayedPayments(owner, 'shop', true)).toBe(true);
  expect(await allowed()).toContainEqual({ id: 'shop', delayed_payments: true });
  expect(await allowDelayedPayments(owner, 'nobody', false)).toBe(false);
});
