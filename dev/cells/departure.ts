import { randomUUID } from 'node:crypto';
import { asMover, type Cell } from './session.ts';

// The steps of a move in the old cell, which the tenant leaves.

/**
 * Begins a move: from now on the tenant's writes are answered `unavailable`, and jobs skip it. Resolves with the id of
 * the move.
 */
export async function pauseTenant({ client }: Cell, tenant: string, to: string): Promise<string> {
  const moveId = randomUUID();
  await asMover(client, tenant, async () => {
    // Fails if another run has begun a move: the tenant is the primary key.
    await client.query(
      `insert into platform.tenant_moves (id, state, cell, move_id, forwards) values ($1, 'moving', $2, $3, true)`,
      [tenant, to, moveId],
    );
    await client.query('update platform.api_keys set away = true where tenant_id = $1', [tenant]);
    await addAuditRow(client, tenant, 'move', to);
  });
  return moveId;
}

export async function recordStep({ client }: Cell, tenant: string, moveId: string, step: string): Promise<void> {
  await client.query(
    `update platform.tenant_moves set steps = steps || jsonb_build_object($3::text, now()) where id = $1 and move_id = $2`,
    [tenant, moveId, step],
  );
}

/** Stops reads too, until the other cell serves the tenant. False if another run was faster. */
export async function closeTenant({ client }: Cell, tenant: string, moveId: string): Promise<boolean> {
  const { rowCount } = await client.query(
    `update platform.tenant_moves set state = 'switching' where id = $1 and move_id = $2 and state = 'moving'`,
    [tenant, moveId],
  );
  return rowCount === 1;
}

/** The other cell serves the tenant: its keys are forwarded. */
export async function forwardTenant({ client }: Cell, tenant: string, moveId: string): Promise<void> {
  await client.query(
    `update platform.tenant_moves set state = 'moved', moved_at = now() where id = $1 and move_id = $2 and state = 'switching'`,
    [tenant, moveId],
  );
}

/** Lets a cell forward the tenant to another cell than before. */
export async function redirectTenant({ client }: Cell, tenant: string, before: string, to: string): Promise<void> {
  await client.query(`update platform.tenant_moves set cell = $3 where id = $1 and state = 'moved' and cell = $2`, [
    tenant,
    before,
    to,
  ]);
}

/** Ends a move that has not switched: the tenant is served here again. */
export async function reopenTenant({ client }: Cell, tenant: string, moveId: string): Promise<void> {
  await asMover(client, tenant, async () => {
    const { rowCount } = await client.query(
      `delete from platform.tenant_moves where id = $1 and move_id = $2 and state in ('moving', 'switching')`,
      [tenant, moveId],
    );
    if (rowCount !== 1) return;
    await client.query('update platform.api_keys set away = false where tenant_id = $1', [tenant]);
    await addAuditRow(client, tenant, 'move undone', null);
  });
}

/** Writes to the audit log. Triggers do this for changes of rows, but a move is not a change of one row. */
async function addAuditRow(client: Cell['client'], tenant: string, operation: string, to: string | null) {
  await client.query(
    `insert into audit.log (tenant_id, actor, operation, subject, after)
     values ($1, concat_ws(' ', session_user, nullif(current_setting('app.operator', true), '')), 'tenant ' || $2, $1, $3)`,
    [tenant, operation, to === null ? null : JSON.stringify({ cell: to })],
  );
}
