import type pg from 'pg';
import { type Kind, publishableScopes, scopes } from '../../src/base/api-keys.ts';
import { defaultCell, readCellUrl, readCellUrls, variableOf } from '../cells/urls.ts';
import { describeFailure, withClient } from '../postgres/connection.ts';
import { listJobSecrets, makeJobSecret, readJobState, revokeJobSecret, sealJobs } from '../postgres/job-secrets.ts';
import { parseOptions, UsageError } from '../support/options.ts';
import {
  allowDelayedPayments,
  createKey,
  createTenant,
  grantScopes,
  type KeyRow,
  listKeys,
  revokeKey,
  setKeyOrigins,
} from './api-keys.ts';
import { formatAuditLog, readAuditLog } from './audit-log.ts';
import { describeEncryption, encryptAgain, readSecretsKeys } from './credentials.ts';

const help = `npm run keys -- <command>

  tenant <id> [--name text]       create a tenant
         [--delayed-payments on|off]
                                  for a new or an existing tenant: whether its buyers may use payment methods that
                                  settle days later, such as bank debits; default: on
  make --tenant <id>              create a key and print it; it is never shown again, since only its SHA-256 is stored
       --kind secret|publishable
       [--scopes a,b]             default: all scopes that this kind of key may have
       [--origin https://…]       an origin whose pages may use a publishable key; can be repeated; default: all
       [--expires 90d|12h|<ISO time>]
       [--name text]              a note on the use of the key
  list [--tenant <id>]            list keys by their first characters
  origins <prefix or id>          replace the origins of a publishable key; without --origin, allow all
       [--origin https://…]
  grant <prefix or id> <scope> …  add scopes to a key, such as tenant:write and keys:write to one of an earlier release
  revoke <prefix or id>           revoke a key at once
  jobs make [--name text]         create a job secret and print it once; the Worker needs it to run jobs and consumers
  jobs list                       list the job secrets by their SHA-256
  jobs revoke <SHA-256>           revoke a job secret; its first characters are enough
  jobs seal                       reject jobs without a job secret; do this once the Worker has DATABASE_JOB_SECRET
  credentials                     encrypt the credentials of all tenants again, with the first key of
                                  TENANT_SECRETS_KEY; do this before you remove the second one
  log --tenant <id>               print the audit log, newest first: changes of products, stock (by hand), campaigns,
       [--subject <id or SKU>]    refunds, replayed dead letters, settings and keys, and who made them
       [--limit 50]

Scopes of a secret key: ${scopes.join(' ')}
Scopes of a publishable key: ${publishableScopes.join(' ')}

  --cell <name>                   with any command: work in this cell. Its keys carry the name: sk_live_eu1_…

Set DATABASE_URL to the connection string of the database's owner, and DATABASE_URL_EU1 to that of the cell eu1.`;

const readArguments = () =>
  parseOptions('npm run keys', {
    allowPositionals: true,
    options: {
      cell: { type: 'string', default: defaultCell },
      tenant: { type: 'string' },
      kind: { type: 'string' },
      scopes: { type: 'string' },
      origin: { type: 'string', multiple: true },
      expires: { type: 'string' },
      subject: { type: 'string' },
      limit: { type: 'string', default: '50' },
      name: { type: 'string' },
      'delayed-payments': { type: 'string' },
      help: { type: 'boolean' },
    },
  });

type Arguments = ReturnType<typeof readArguments>;

async function runCommand(client: pg.Client, { values, positionals }: Arguments): Promise<string> {
  const [command, subject] = positionals;
  if (command === 'tenant') {
    if (subject === undefined) throw new UsageError('the tenant id is missing: npm run keys -- tenant <id>');
    const delayedPayments = values['delayed-payments'];
    if (delayedPayments !== undefined && delayedPayments !== 'on' && delayedPayments !== 'off') {
      throw new UsageError('--delayed-payments must be on or off');
    }
    await rejectOtherCells(client, subject, values.cell);
    const created = await createTenant(client, subject, values.name ?? subject);
    if (delayedPayments !== undefined) {
      await allowDelayedPayments(client, subject, delayedPayments === 'on');
      return `${created ? 'created' : 'changed'} the tenant ${subject}: delayed payments are ${delayedPayments}`;
    }
    return created ? `created the tenant ${subject}` : `the tenant ${subject} exists already`;
  }
  if (command === 'make') {
    const { tenant, kind } = values;
    if (tenant === undefined) throw new UsageError('--tenant <id> is missing');
    if (kind !== 'secret' && kind !== 'publishable') throw new UsageError('--kind must be secret or publishable');
    const key = await createKey(client, {
      tenant,
      kind,
      ...(values.cell === defaultCell ? {} : { cell: values.cell }),
      ...(values.scopes === undefined ? {} : { scopes: values.scopes.split(',').map((scope) => scope.trim()) }),
      ...(values.origin === undefined ? {} : { origins: values.origin }),
      ...(values.name === undefined ? {} : { name: values.name }),
      ...(values.expires === undefined ? {} : { expiresAt: readExpiry(values.expires) }),
    });
    return `${key}\n${describeNewKey(kind, values.origin)}`;
  }
  if (command === 'list') return formatKeys(await listKeys(client, values.tenant));
  if (command === 'origins') {
    if (subject === undefined) throw new UsageError('the key is missing: npm run keys -- origins <prefix or id>');
    const { prefix, origins } = await setKeyOrigins(client, subject.replace(/…$/, ''), values.origin ?? null);
    return `pages of ${origins?.join(', ') ?? 'any origin'} may use ${prefix}…`;
  }
  if (command === 'grant') {
    const added = positionals.slice(2).flatMap((text) => text.split(','));
    if (subject === undefined || added.length === 0)
      throw new UsageError('the key or its scopes are missing: npm run keys -- grant <prefix or id> <scope> …');
    const { prefix, tenant_id } = await grantScopes(client, subject.replace(/…$/, ''), added);
    return `${prefix}… of the tenant ${tenant_id} has ${added.join(', ')}`;
  }
  if (command === 'revoke') {
    if (subject === undefined) throw new UsageError('the key is missing: npm run keys -- revoke <prefix or id>');
    const { prefix, tenant_id } = await revokeKey(client, subject.replace(/…$/, '')); // the list prints prefixes with …
    return `revoked ${prefix}… of the tenant ${tenant_id}`;
  }
  if (command === 'jobs') return runJobsCommand(client, values.cell, subject, positionals[2], values.name);
  if (command === 'credentials') {
    return describeEncryption(await encryptAgain(client, readSecretsKeys(process.env.TENANT_SECRETS_KEY)));
  }
  if (command === 'log') {
    if (values.tenant === undefined) throw new UsageError('--tenant <id> is missing');
    const limit = Number(values.limit);
    if (!Number.isInteger(limit) || limit < 1) throw new UsageError('--limit must be a whole number from 1');
    return formatAuditLog(await readAuditLog(client, values.tenant, limit, values.subject));
  }
  throw new UsageError(command === undefined ? help : `unknown command ${command}\n\n${help}`);
}

/**
 * Throws if the tenant is new here and exists in another cell. The Worker tells them apart, but a tenant can move only to
 * a cell that has no other tenant with its id, and people mix them up.
 */
async function rejectOtherCells(client: pg.Client, tenant: string, cell: string): Promise<void> {
  const exists = async (connection: pg.Client): Promise<boolean> =>
    (await connection.query('select from platform.tenants where id = $1', [tenant])).rowCount === 1;
  if (await exists(client)) return;
  const others = [...(process.env.DATABASE_URL ? readCellUrls() : [])].filter(([name]) => name !== cell);
  for (const [name, url] of others) {
    if (await withClient(url, exists)) {
      throw new Error(`the cell ${name} has a tenant ${tenant}: choose another id`);
    }
  }
}

/** Tells the operator how to treat a new key. */
function describeNewKey(kind: Kind, origins: string[] | undefined): string {
  if (kind === 'secret')
    return 'This key is shown only once. Keep it with your other secrets: it can do everything that its scopes allow.';
  const pages = origins === undefined ? 'on any page' : `on pages of ${origins.join(', ')}`;
  return `This key is shown only once. It is no secret: it only reads, and browsers may use it ${pages}.`;
}

async function runJobsCommand(
  client: pg.Client,
  cell: string,
  verb: string | undefined,
  sha256: string | undefined,
  name = 'worker',
): Promise<string> {
  if (verb === 'make') {
    const secret = await makeJobSecret(client, name);
    const variable = variableOf('DATABASE_JOB_SECRET', cell);
    return `${secret}\nThis secret is shown only once. Give it to the Worker: npx wrangler secret put ${variable}`;
  }
  if (verb === 'list') {
    const lines = (await listJobSecrets(client)).map(
      (row) => `${row.sha256.slice(0, 12)}…  ${row.created_at.toISOString().slice(0, 10)}  ${row.name}`,
    );
    const { sealed } = await readJobState(client);
    return [...lines, sealed ? 'sealed: jobs need one of these secrets' : 'NOT SEALED: jobs need no secret'].join('\n');
  }
  if (verb === 'revoke') {
    if (sha256 === undefined) throw new UsageError('the SHA-256 is missing: npm run keys -- jobs revoke <SHA-256>');
    const revoked = await revokeJobSecret(client, sha256.replace(/…$/, ''));
    return `revoked ${revoked.sha256.slice(0, 12)}… (${revoked.name})`;
  }
  if (verb === 'seal') {
    await sealJobs(client);
    return 'sealed: jobs and consumers need a job secret from now on';
  }
  throw new UsageError('unknown command: use "npm run keys -- jobs" with make, list, revoke or seal');
}

function readExpiry(text: string): Date {
  const match = /^(\d+)([dh])$/.exec(text);
  const hours = match ? Number(match[1]) * (match[2] === 'd' ? 24 : 1) : undefined;
  const expiresAt = hours === undefined ? new Date(text) : new Date(Date.now() + hours * 3_600_000);
  if (Number.isNaN(expiresAt.getTime()))
    throw new UsageError('--expires must look like 90d, 12h or 2027-01-31T00:00:00Z');
  if (expiresAt.getTime() <= Date.now()) throw new UsageError('--expires must be in the future');
  return expiresAt;
}

function formatKeys(keys: KeyRow[]): string {
  if (keys.length === 0) return 'no keys';
  const rows = keys.map((key) => [
    `${key.prefix}…`,
    key.tenant_id,
    key.kind,
    stateOf(key),
    key.created_at.toISOString().slice(0, 10),
    key.id,
    key.name ?? '',
    [key.scopes.length === scopes.length ? 'all scopes' : key.scopes.join(' '), ...(key.origins ?? [])].join(' '),
  ]);
  const table = [['key', 'tenant', 'kind', 'state', 'created', 'id', 'name', 'scopes, origins'], ...rows];
  const widths = table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  return table
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function stateOf({ expires_at, revoked_at }: KeyRow): string {
  if (revoked_at !== null) return `revoked ${revoked_at.toISOString().slice(0, 16)}Z`;
  if (expires_at === null) return 'active';
  return `${expires_at.getTime() <= Date.now() ? 'expired' : 'until'} ${expires_at.toISOString().slice(0, 16)}Z`;
}

if (import.meta.main) {
  try {
    const parsed = readArguments();
    if (parsed.values.help || process.argv.length === 2) console.log(help);
    else console.log(await withClient(readCellUrl(parsed.values.cell), (client) => runCommand(client, parsed)));
  } catch (error) {
    console.error(describeFailure(error));
    process.exitCode = 1;
  }
}
