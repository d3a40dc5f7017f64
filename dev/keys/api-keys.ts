import { createHash, randomInt } from 'node:crypto';
import type pg from 'pg';
import { newId } from '../../src/base/ids.ts';
import { inTransaction } from '../postgres/connection.ts';

const nouns = ['catalog', 'inventory', 'orders', 'campaigns', 'payments', 'shipping', 'events'];

/** Every scope there is. A secret key may have any of them; a publishable one, which browsers show, may read these. */
export const scopes = nouns.flatMap((noun) => [`${noun}:read`, `${noun}:write`]);
export const publishableScopes = ['catalog:read', 'campaigns:read'];

export type Kind = 'secret' | 'publishable';

export type KeyOptions = {
  tenant: string;
  kind: Kind;
  /** All that the kind may have, if not given. */
  scopes?: string[];
  /** Of a publishable key: the pages that may use it, as `https://shop.example`; all, if not given. */
  origins?: string[];
  name?: string;
  expiresAt?: Date;
  /** A key of the caller's own making, for the local platform alone. */
  key?: string;
};

export type KeyRow = {
  id: string;
  tenant_id: string;
  prefix: string;
  kind: Kind;
  name: string | null;
  scopes: string[];
  origins: string[] | null;
  created_at: Date;
  expires_at: Date | null;
  revoked_at: Date | null;
};

/** Makes a tenant; false if it is there already. */
export async function createTenant(client: pg.Client, id: string, name: string): Promise<boolean> {
  const statement = 'insert into platform.tenants (id, name) values ($1, $2) on conflict (id) do nothing';
  const { rowCount } = await asTenant(client, id, () => client.query(statement, [id, name]));
  return rowCount === 1;
}

/** Sets whether buyers of a tenant may pay with methods that settle days later. False if there is no such tenant. */
export async function allowDelayedPayments(client: pg.Client, id: string, allowed: boolean): Promise<boolean> {
  const statement = 'update platform.tenants set delayed_payments = $2 where id = $1';
  const { rowCount } = await asTenant(client, id, () => client.query(statement, [id, allowed]));
  return rowCount === 1;
}

/**
 * Makes a key and resolves with it; only its SHA-256 is stored, so this is the one time that it can be shown. A key of
 * the caller's own is left as it is if it is there already. Throws on an unknown tenant or scope.
 */
export async function createKey(client: pg.Client, options: KeyOptions): Promise<string> {
  const allowed = options.kind === 'secret' ? scopes : publishableScopes;
  const wanted = options.scopes ?? allowed;
  const refused = wanted.filter((scope) => !allowed.includes(scope));
  if (refused.length > 0) {
    throw new Error(`a ${options.kind} key cannot have ${refused.join(', ')}; there are: ${allowed.join(', ')}`);
  }
  const origins = options.origins === undefined ? null : options.origins.map(readOrigin);
  if (origins !== null && options.kind === 'secret') throw new Error('a secret key has no origins: no page may use it');
  const { rowCount } = await client.query('select from platform.tenants where id = $1', [options.tenant]);
  if (rowCount === 0) throw new Error(`there is no tenant ${options.tenant}: make it with "npm run keys -- tenant"`);
  const key = options.key ?? randomKey(options.kind);
  await asTenant(client, options.tenant, () =>
    client.query(
      `insert into platform.api_keys (id, tenant_id, prefix, key_hash, kind, name, scopes, expires_at, origins)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (key_hash) do nothing`,
      [
        newId(new Date()),
        options.tenant,
        key.slice(0, 12),
        createHash('sha256').update(key).digest('hex'),
        options.kind,
        options.name ?? null,
        wanted,
        options.expiresAt ?? null,
        origins,
      ],
    ),
  );
  return key;
}

/** The keys of a tenant, or of all; oldest first within each. */
export async function listKeys(client: pg.Client, tenant?: string): Promise<KeyRow[]> {
  const tenants = await client.query<{ id: string }>('select id from platform.tenants order by id');
  const keys: KeyRow[] = [];
  for (const { id } of tenants.rows) {
    if (tenant !== undefined && tenant !== id) continue;
    // The tenant is asked for as well, since a superuser is held by no policy.
    const statement = `select id, tenant_id, prefix, kind, name, scopes, origins, created_at, expires_at, revoked_at
      from platform.api_keys where tenant_id = $1 order by id`;
    keys.push(...(await asTenant(client, id, () => client.query<KeyRow>(statement, [id]))).rows);
  }
  return keys;
}

/**
 * Revokes the key of that id or prefix at once. Throws if there is none, or more than one. A key that is revoked
 * already keeps the time at which it was.
 */
export async function revokeKey(client: pg.Client, idOrPrefix: string): Promise<KeyRow> {
  const key = await findKey(client, idOrPrefix);
  const statement = 'update platform.api_keys set revoked_at = now() where id = $1 and revoked_at is null';
  await asTenant(client, key.tenant_id, () => client.query(statement, [key.id]));
  return key;
}

/** Gives a publishable key other origins, or (null) all. Throws if there is no such key, or it is a secret one. */
export async function bindKey(client: pg.Client, idOrPrefix: string, origins: string[] | null): Promise<KeyRow> {
  const key = await findKey(client, idOrPrefix);
  if (key.kind === 'secret') throw new Error('a secret key has no origins: no page may use it');
  const wanted = origins === null ? null : origins.map(readOrigin);
  const statement = 'update platform.api_keys set origins = $2 where id = $1';
  await asTenant(client, key.tenant_id, () => client.query(statement, [key.id, wanted]));
  return { ...key, origins: wanted };
}

async function findKey(client: pg.Client, idOrPrefix: string): Promise<KeyRow> {
  const found = (await listKeys(client)).filter(({ id, prefix }) => id === idOrPrefix || prefix === idOrPrefix);
  const [key] = found;
  if (key === undefined) throw new Error(`there is no key with the id or prefix ${idOrPrefix}`);
  if (found.length > 1) {
    throw new Error(`several keys have the prefix ${idOrPrefix}; name one by its id: ${found.map(({ id }) => id)}`);
  }
  return key;
}

/** As a browser sends it. Throws on what none would send: a path, a pattern, a name without https:// before it. */
function readOrigin(text: string): string {
  const origin = URL.canParse(text) ? new URL(text).origin : 'null';
  if (!/^https?:\/\/[\w.:[\]-]+$/.test(origin) || text.replace(/\/$/, '') !== origin) {
    throw new Error(
      `${text} is not an origin, as https://shop.example is: scheme, host and a port that is not the usual`,
    );
  }
  return origin;
}

/** Row-level security holds the tables' owner too: it reads and writes as one tenant at a time. */
export function asTenant<T>(client: pg.Client, tenant: string, work: () => Promise<T>): Promise<T> {
  return inTransaction(client, async () => {
    const statement = `select set_config('app.tenant_id', $1, true), set_config('app.operator', $2, true)`;
    await client.query(statement, [tenant, process.env.USER ?? '']); // the audit log names who
    return work();
  });
}

function randomKey(kind: Kind): string {
  const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  const secret = Array.from({ length: 32 }, () => alphabet[randomInt(alphabet.length)]).join('');
  return `${kind === 'secret' ? 'sk' : 'pk'}_live_${secret}`;
}
