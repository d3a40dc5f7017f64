import type pg from 'pg';
import { type Kind, makeKey, originMessage, prefixOf, readOrigin, scopesOf } from '../../src/base/api-keys.ts';
import { defaultCell } from '../../src/base/cells.ts';
import { newId } from '../../src/base/ids.ts';
import { sha256 } from '../../src/base/sha256.ts';
import { inTransaction } from '../postgres/connection.ts';

export type KeyOptions = {
  tenant: string;
  kind: Kind;
  /** Default: all scopes that this kind of key may have. */
  scopes?: string[];
  /** The origins whose pages may use a publishable key, such as `https://shop.example`. Default: all. */
  origins?: string[];
  name?: string;
  expiresAt?: Date;
  /** The cell of the database, if it is not the default cell: the key carries its name. */
  cell?: string;
  /** A fixed key instead of a random one. Only for the local platform. */
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

/** Creates a tenant. Resolves with false if it exists already. */
export async function createTenant(client: pg.Client, id: string, name: string): Promise<boolean> {
  const statement = 'insert into platform.tenants (id, name) values ($1, $2) on conflict (id) do nothing';
  const { rowCount } = await asTenant(client, id, () => client.query(statement, [id, name]));
  return rowCount === 1;
}

/**
 * Sets whether a tenant's buyers may use payment methods that settle days later. False if the tenant does not exist.
 */
export async function allowDelayedPayments(client: pg.Client, id: string, allowed: boolean): Promise<boolean> {
  const statement = `update platform.tenants
    set delayed_payments = $2, version = platform.next_version(version), updated_at = now() where id = $1`;
  const { rowCount } = await asTenant(client, id, () => client.query(statement, [id, allowed]));
  return rowCount === 1;
}

/**
 * Creates a key and resolves with it. Only its SHA-256 is stored, so it cannot be shown again. If a fixed key exists
 * already, nothing changes. Throws if the tenant does not exist, or if this kind of key cannot have a scope.
 */
export async function createKey(client: pg.Client, options: KeyOptions): Promise<string> {
  const granted = options.scopes ?? scopesOf(options.kind);
  rejectOtherScopes(options.kind, granted);
  const origins = options.origins === undefined ? null : options.origins.map(toOrigin);
  if (origins !== null && options.kind === 'secret')
    throw new Error('a secret key can have no origins, because no page may use it: create a publishable key');
  const { rowCount } = await client.query('select from platform.tenants where id = $1', [options.tenant]);
  if (rowCount === 0)
    throw new Error(`there is no tenant ${options.tenant}: create it with "npm run keys -- tenant ${options.tenant}"`);
  const cell = options.cell ?? defaultCell;
  const key = options.key ?? makeKey(options.kind)(cell);
  await asTenant(client, options.tenant, () =>
    client.query(
      `insert into platform.api_keys (id, tenant_id, prefix, key_hash, kind, name, scopes, expires_at, origins)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (key_hash) do nothing`,
      [
        newId(new Date()),
        options.tenant,
        prefixOf(key, options.kind, cell),
        sha256(key),
        options.kind,
        options.name ?? null,
        granted,
        options.expiresAt ?? null,
        origins,
      ],
    ),
  );
  return key;
}

/** The keys of one tenant or of all tenants, grouped by tenant, oldest first. */
export async function listKeys(client: pg.Client, tenant?: string): Promise<KeyRow[]> {
  const tenants = await client.query<{ id: string }>('select id from platform.tenants order by id');
  const keys: KeyRow[] = [];
  for (const { id } of tenants.rows) {
    if (tenant !== undefined && tenant !== id) continue;
    // The condition on the tenant is for superusers, who bypass row-level security.
    const statement = `select id, tenant_id, prefix, kind, name, scopes, origins, created_at, expires_at, revoked_at
      from platform.api_keys where tenant_id = $1 order by id`;
    keys.push(...(await asTenant(client, id, () => client.query<KeyRow>(statement, [id]))).rows);
  }
  return keys;
}

/**
 * Revokes the key with this id or prefix at once. Throws if no key or several keys have it. A key that is revoked
 * already keeps its time of revocation.
 */
export async function revokeKey(client: pg.Client, idOrPrefix: string): Promise<KeyRow> {
  const key = await findKey(client, idOrPrefix);
  const statement = 'update platform.api_keys set revoked_at = now() where id = $1 and revoked_at is null';
  await asTenant(client, key.tenant_id, () => client.query(statement, [key.id]));
  return key;
}

/** Replaces the origins of a publishable key; null allows all. Throws if the key does not exist or is a secret key. */
export async function setKeyOrigins(client: pg.Client, idOrPrefix: string, origins: string[] | null): Promise<KeyRow> {
  const key = await findKey(client, idOrPrefix);
  if (key.kind === 'secret')
    throw new Error('a secret key can have no origins, because no page may use it: create a publishable key');
  const newOrigins = origins === null ? null : origins.map(toOrigin);
  const statement = 'update platform.api_keys set origins = $2 where id = $1';
  await asTenant(client, key.tenant_id, () => client.query(statement, [key.id, newOrigins]));
  return { ...key, origins: newOrigins };
}

/**
 * Adds scopes to a key. Throws if no key or several keys have this id or prefix, if the key is revoked, or if its kind
 * cannot have a scope.
 */
export async function grantScopes(client: pg.Client, idOrPrefix: string, added: string[]): Promise<KeyRow> {
  const key = await findKey(client, idOrPrefix);
  rejectOtherScopes(key.kind, added);
  if (key.revoked_at !== null) throw new Error(`the key ${key.prefix}… is revoked: create another one`);
  // Added in the statement, so that scopes which another operator adds at the same time stay.
  const statement = `update platform.api_keys k
    set scopes = k.scopes || array(select s from unnest($2::text[]) s where not s = any(k.scopes))
    where k.id = $1 returning k.scopes`;
  const { rows } = await asTenant(client, key.tenant_id, () =>
    client.query<Pick<KeyRow, 'scopes'>>(statement, [key.id, [...new Set(added)]]),
  );
  return { ...key, ...rows[0] };
}

/** Throws if this kind of key cannot have one of these scopes. */
function rejectOtherScopes(kind: Kind, wanted: string[]): void {
  const allowed = scopesOf(kind);
  const rejected = wanted.filter((scope) => !allowed.includes(scope));
  if (rejected.length > 0)
    throw new Error(`a ${kind} key cannot have ${rejected.join(', ')}: choose from ${allowed.join(', ')}`);
}

async function findKey(client: pg.Client, idOrPrefix: string): Promise<KeyRow> {
  const matches = (await listKeys(client)).filter(({ id, prefix }) => id === idOrPrefix || prefix === idOrPrefix);
  const [key] = matches;
  if (key === undefined)
    throw new Error(`there is no key with the id or prefix ${idOrPrefix}: "npm run keys -- list" shows all keys`);
  if (matches.length > 1) {
    throw new Error(
      `several keys have the prefix ${idOrPrefix}: use the id of one of them: ${matches.map(({ id }) => id).join(', ')}`,
    );
  }
  return key;
}

/** The origin as browsers send it. Throws for anything that is not an origin. */
function toOrigin(text: string): string {
  const origin = readOrigin(text);
  if (origin === undefined) throw new Error(`${text} ${originMessage}`);
  return origin;
}

/** Runs `work` as this tenant, since row-level security applies to the tables' owner too. */
export function asTenant<T>(client: pg.Client, tenant: string, work: () => Promise<T>): Promise<T> {
  return inTransaction(client, async () => {
    const statement = `select set_config('app.tenant_id', $1, true), set_config('app.operator', $2, true)`;
    await client.query(statement, [tenant, process.env.USER ?? '']); // for the audit log
    return work();
  });
}
