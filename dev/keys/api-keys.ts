import { createHash, randomInt } from 'node:crypto';
import type pg from 'pg';
import { newId } from '../../src/base/ids.ts';
import { inTransaction } from '../postgres/connection.ts';

const resources = [
  ...['catalog', 'inventory', 'orders', 'campaigns', 'payments', 'shipping', 'events', 'customers', 'discounts', 'tax'],
  ...['organizations', 'invoices', 'quotes', 'webhooks', 'tenant', 'keys'],
];

/**
 * All scopes. A secret key may have any of them. A publishable key is visible in browsers, so it may only read these.
 */
export const scopes = resources.flatMap((resource) => [`${resource}:read`, `${resource}:write`]);
export const publishableScopes = ['catalog:read', 'campaigns:read'];

export type Kind = 'secret' | 'publishable';

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
  const statement = 'update platform.tenants set delayed_payments = $2 where id = $1';
  const { rowCount } = await asTenant(client, id, () => client.query(statement, [id, allowed]));
  return rowCount === 1;
}

/**
 * Creates a key and resolves with it. Only its SHA-256 is stored, so it cannot be shown again. If a fixed key exists
 * already, nothing changes. Throws if the tenant does not exist, or if this kind of key cannot have a scope.
 */
export async function createKey(client: pg.Client, options: KeyOptions): Promise<string> {
  const allowed = options.kind === 'secret' ? scopes : publishableScopes;
  const granted = options.scopes ?? allowed;
  const rejected = granted.filter((scope) => !allowed.includes(scope));
  if (rejected.length > 0) {
    throw new Error(`a ${options.kind} key cannot have ${rejected.join(', ')}: choose from ${allowed.join(', ')}`);
  }
  const origins = options.origins === undefined ? null : options.origins.map(readOrigin);
  if (origins !== null && options.kind === 'secret')
    throw new Error('a secret key can have no origins, because no page may use it: create a publishable key');
  const { rowCount } = await client.query('select from platform.tenants where id = $1', [options.tenant]);
  if (rowCount === 0)
    throw new Error(`there is no tenant ${options.tenant}: create it with "npm run keys -- tenant ${options.tenant}"`);
  const start = startOfKey(options.kind, options.cell);
  const key = options.key ?? start + randomPart();
  await asTenant(client, options.tenant, () =>
    client.query(
      `insert into platform.api_keys (id, tenant_id, prefix, key_hash, kind, name, scopes, expires_at, origins)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (key_hash) do nothing`,
      [
        newId(new Date()),
        options.tenant,
        key.slice(0, start.length + shownCharacters),
        createHash('sha256').update(key).digest('hex'),
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
  const newOrigins = origins === null ? null : origins.map(readOrigin);
  const statement = 'update platform.api_keys set origins = $2 where id = $1';
  await asTenant(client, key.tenant_id, () => client.query(statement, [key.id, newOrigins]));
  return { ...key, origins: newOrigins };
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

/** The origin as browsers send it. Throws for a URL with a path, a pattern, or a name without a scheme. */
function readOrigin(text: string): string {
  const origin = URL.canParse(text) ? new URL(text).origin : 'null';
  if (!/^https?:\/\/[\w.:[\]-]+$/.test(origin) || text.replace(/\/$/, '') !== origin) {
    throw new Error(
      `${text} is not an origin: give the scheme, the host, and the port if it is not the default, such as https://shop.example`,
    );
  }
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

/** What a key begins with. The database of a request is found by it, so `src/base/cells.ts` must read it again. */
const startOfKey = (kind: Kind, cell?: string): string =>
  `${kind === 'secret' ? 'sk' : 'pk'}_live_${cell === undefined ? '' : `${cell}_`}`;

/** How many characters of a key's random part are stored, so that a person can tell keys apart. */
const shownCharacters = 4;

/** It has no underscore, so that nobody takes it for the name of a cell. */
function randomPart(): string {
  const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  return Array.from({ length: 32 }, () => alphabet[randomInt(alphabet.length)]).join('');
}
