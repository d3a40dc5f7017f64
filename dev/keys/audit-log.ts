import type pg from 'pg';
import { asTenant } from './api-keys.ts';

export type AuditRow = {
  at: Date;
  actor: string;
  operation: string;
  subject: string | null;
  before: Record<string, unknown> | null;
  after: Record<string, unknown> | null;
};

/** The changes of a tenant's data, newest first; only those of one subject if given. Needs the database's owner. */
export async function readAuditLog(
  client: pg.Client,
  tenant: string,
  limit: number,
  subject?: string,
): Promise<AuditRow[]> {
  // The condition on the tenant is for superusers, who bypass row-level security.
  const statement = `select at, actor, operation, subject, before, after from audit.log
    where tenant_id = $1 and ($2::varchar is null or subject = $2) order by id desc limit $3`;
  const { rows } = await asTenant(client, tenant, () =>
    client.query<AuditRow>(statement, [tenant, subject ?? null, limit]),
  );
  return rows;
}

/** Formats each change: time, actor, operation, subject, and each changed field with its old and new value. */
export function formatAuditLog(rows: AuditRow[]): string {
  if (rows.length === 0) return 'no changes';
  return rows
    .map(({ at, actor, operation, subject, before, after }) => {
      const names = Object.keys({ ...before, ...after });
      const changed = names.filter((name) => JSON.stringify(before?.[name]) !== JSON.stringify(after?.[name]));
      const changes = changed.map((name) => {
        const [oldValue, newValue] = [before?.[name], after?.[name]].map((value) => JSON.stringify(value));
        return before === null || oldValue === undefined
          ? `${name}: ${newValue}`
          : `${name}: ${oldValue} → ${newValue}`;
      });
      return `${at.toISOString()}  ${actor}  ${operation}  ${subject ?? ''}\n    ${changes.join(', ')}`;
    })
    .join('\n');
}
