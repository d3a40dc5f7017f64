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

/** What was changed of a tenant and by whom, newest first; of one thing alone, if it is named. As the database's owner. */
export async function readAuditLog(
  client: pg.Client,
  tenant: string,
  limit: number,
  subject?: string,
): Promise<AuditRow[]> {
  // The tenant is asked for as well, since a superuser is held by no policy.
  const statement = `select at, actor, operation, subject, before, after from audit.log
    where tenant_id = $1 and ($2::varchar is null or subject = $2) order by id desc limit $3`;
  const { rows } = await asTenant(client, tenant, () =>
    client.query<AuditRow>(statement, [tenant, subject ?? null, limit]),
  );
  return rows;
}

/** A line a change: when, who, what, which, and each member that differs, as it was and as it is. */
export function showAuditLog(rows: AuditRow[]): string {
  if (rows.length === 0) return 'nothing was changed';
  return rows
    .map(({ at, actor, operation, subject, before, after }) => {
      const names = Object.keys({ ...before, ...after });
      const differing = names.filter((name) => JSON.stringify(before?.[name]) !== JSON.stringify(after?.[name]));
      const changes = differing.map((name) => {
        const [was, is] = [before?.[name], after?.[name]].map((value) => JSON.stringify(value));
        return before === null || was === undefined ? `${name}: ${is}` : `${name}: ${was} → ${is}`;
      });
      return `${at.toISOString()}  ${actor}  ${operation}  ${subject ?? ''}\n    ${changes.join(', ')}`;
    })
    .join('\n');
}
