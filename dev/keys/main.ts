import { parseArgs } from 'node:util';
import type pg from 'pg';
import { connectTo, describeFailure, readDatabaseUrl } from '../postgres/connection.ts';
import { listJobSecrets, makeJobSecret, readJobState, revokeJobSecret, sealJobs } from '../postgres/job-secrets.ts';
import {
  allowDelayedPayments,
  bindKey,
  createKey,
  createTenant,
  type KeyRow,
  type Kind,
  listKeys,
  publishableScopes,
  revokeKey,
  scopes,
} from './api-keys.ts';
import { readAuditLog, showAuditLog } from './audit-log.ts';

const help = `npm run keys -- <command>

  tenant <id> [--name text]       makes a tenant
         [--delayed-payments on|off]
                                  of a new or an existing tenant: whether its buyers may pay with methods that settle days
                                  later, such as bank debits. Default: on
  make --tenant <id>              makes a key and shows it, once: only its SHA-256 is stored
       --kind secret|publishable
       [--scopes a,b]             all that the kind may have, if not given
       [--origin https://…]       a page that may use it, if it is publishable; may be repeated; all, if not given
       [--expires 90d|12h|<ISO time>]
       [--name text]              what it is for
  list [--tenant <id>]            shows keys by their first characters
  origins <prefix or id>          gives a publishable key other pages; without --origin, all
       [--origin https://…]
  revoke <prefix or id>           ends a key at once
  jobs make [--name text]         makes a secret that proves jobs and consumers to the database, and shows it, once
  jobs list                       shows these secrets by their SHA-256
  jobs revoke <SHA-256>           ends one; its first characters are enough
  jobs seal                       refuses jobs that show no secret: once the Worker has DATABASE_JOB_SECRET
  log --tenant <id>               shows who changed what, newest first: products, stock by hand, campaigns, refunds,
       [--subject <id or SKU>]    replayed dead letters, keys
       [--limit 50]

Scopes of a secret key: ${scopes.join(' ')}
Of a publishable key: ${publishableScopes.join(' ')}

DATABASE_URL names the database, as its owner.`;

class UsageError extends Error {}

async function runCommand(client: pg.Client, args: string[]): Promise<string> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      tenant: { type: 'string' },
      kind: { type: 'string' },
      scopes: { type: 'string' },
      origin: { type: 'string', multiple: true },
      expires: { type: 'string' },
      subject: { type: 'string' },
      limit: { type: 'string', default: '50' },
      name: { type: 'string' },
      'delayed-payments': { type: 'string' },
    },
  });
  const [command, subject] = positionals;
  if (command === 'tenant') {
    if (subject === undefined) throw new UsageError('which tenant? npm run keys -- tenant <id>');
    const delayed = values['delayed-payments'];
    if (delayed !== undefined && delayed !== 'on' && delayed !== 'off') {
      throw new UsageError('--delayed-payments is on or off');
    }
    const made = await createTenant(client, subject, values.name ?? subject);
    if (delayed !== undefined) {
      await allowDelayedPayments(client, subject, delayed === 'on');
      return `${made ? 'made' : 'changed'} tenant ${subject}: delayed payments are ${delayed}`;
    }
    return made ? `made tenant ${subject}` : `there is a tenant ${subject} already`;
  }
  if (command === 'make') {
    const { tenant, kind } = values;
    if (tenant === undefined) throw new UsageError('--tenant is missing');
    if (kind !== 'secret' && kind !== 'publishable') throw new UsageError('--kind is secret or publishable');
    const key = await createKey(client, {
      tenant,
      kind,
      ...(values.scopes === undefined ? {} : { scopes: values.scopes.split(',').map((scope) => scope.trim()) }),
      ...(values.origin === undefined ? {} : { origins: values.origin }),
      ...(values.name === undefined ? {} : { name: values.name }),
      ...(values.expires === undefined ? {} : { expiresAt: readExpiry(values.expires) }),
    });
    return `${key}\n${advice(kind, values.origin)}`;
  }
  if (command === 'list') return showKeys(await listKeys(client, values.tenant));
  if (command === 'origins') {
    if (subject === undefined) throw new UsageError('which key? npm run keys -- origins <prefix or id>');
    const { prefix, origins } = await bindKey(client, subject.replace(/…$/, ''), values.origin ?? null);
    return `${prefix}… is for pages of ${origins?.join(', ') ?? 'any origin'}`;
  }
  if (command === 'revoke') {
    if (subject === undefined) throw new UsageError('which key? npm run keys -- revoke <prefix or id>');
    const { prefix, tenant_id } = await revokeKey(client, subject.replace(/…$/, '')); // as the list shows it
    return `revoked ${prefix}… of ${tenant_id}`;
  }
  if (command === 'jobs') return runJobsCommand(client, subject, positionals[2], values.name);
  if (command === 'log') {
    if (values.tenant === undefined) throw new UsageError('--tenant is missing');
    const limit = Number(values.limit);
    if (!Number.isInteger(limit) || limit < 1) throw new UsageError('--limit is a number of lines');
    return showAuditLog(await readAuditLog(client, values.tenant, limit, values.subject));
  }
  throw new UsageError(command === undefined ? help : `there is no command ${command}\n\n${help}`);
}

/** What to do with a new key: the database has only its SHA-256. */
function advice(kind: Kind, origins: string[] | undefined): string {
  if (kind === 'secret')
    return 'It is shown only once. Keep it with your other secrets: it does all that its scopes allow.';
  const pages = origins === undefined ? 'on any page' : `on pages of ${origins.join(', ')}`;
  return `It is shown only once. It is no secret: it only reads, and browsers may use it ${pages}.`;
}

async function runJobsCommand(
  client: pg.Client,
  verb: string | undefined,
  sha256: string | undefined,
  name = 'worker',
): Promise<string> {
  if (verb === 'make') {
    const secret = await makeJobSecret(client, name);
    return `${secret}\nIt is shown this once: npx wrangler secret put DATABASE_JOB_SECRET`;
  }
  if (verb === 'list') {
    const lines = (await listJobSecrets(client)).map(
      (row) => `${row.sha256.slice(0, 12)}…  ${row.created_at.toISOString().slice(0, 10)}  ${row.name}`,
    );
    const { sealed } = await readJobState(client);
    return [...lines, sealed ? 'sealed: jobs must show one of these' : 'NOT SEALED: jobs may show none'].join('\n');
  }
  if (verb === 'revoke') {
    if (sha256 === undefined) throw new UsageError('which secret? npm run keys -- jobs revoke <SHA-256>');
    const gone = await revokeJobSecret(client, sha256.replace(/…$/, ''));
    return `revoked ${gone.sha256.slice(0, 12)}… (${gone.name})`;
  }
  if (verb === 'seal') {
    await sealJobs(client);
    return 'sealed: jobs and consumers must show a secret from now on';
  }
  throw new UsageError('npm run keys -- jobs make, list, revoke or seal');
}

function readExpiry(text: string): Date {
  const match = /^(\d+)([dh])$/.exec(text);
  const hours = match ? Number(match[1]) * (match[2] === 'd' ? 24 : 1) : undefined;
  const expiresAt = hours === undefined ? new Date(text) : new Date(Date.now() + hours * 3_600_000);
  if (Number.isNaN(expiresAt.getTime())) throw new UsageError('--expires is like 90d, 12h or 2027-01-31T00:00:00Z');
  if (expiresAt.getTime() <= Date.now()) throw new UsageError('--expires is in the past');
  return expiresAt;
}

function showKeys(keys: KeyRow[]): string {
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
  const table = [['key', 'tenant', 'kind', 'state', 'made', 'id', 'name', 'scopes, origins'], ...rows];
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
  const args = process.argv.slice(2);
  if (args.length === 0 || args.includes('--help')) {
    console.log(help);
  } else {
    try {
      const client = await connectTo(readDatabaseUrl());
      try {
        console.log(await runCommand(client, args));
      } finally {
        await client.end();
      }
    } catch (error) {
      console.error(describeFailure(error));
      process.exitCode = 1;
    }
  }
}
