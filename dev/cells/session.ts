import type pg from 'pg';
import { inTransaction } from '../postgres/connection.ts';

/** A cell: a database that serves a group of tenants. The connection is its owner's. */
export type Cell = { name: string; client: pg.Client };

// Both cells must print a value in the same way, because rows are copied and compared as text.
const settings: Record<string, string> = {
  timezone: 'UTC',
  datestyle: 'ISO, YMD',
  intervalstyle: 'postgres',
  bytea_output: 'hex',
  extra_float_digits: '1',
  statement_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  lock_timeout: '10s',
};

/**
 * Runs `work` in a transaction that sees and writes the rows of this tenant only, since row-level security applies to
 * the owner too. The audit log ignores its changes, and the keys of a tenant that is away may be changed.
 */
export function asMover<T>(client: pg.Client, tenant: string, work: () => Promise<T>): Promise<T> {
  return inTransaction(client, async () => {
    const all = { ...settings, 'app.tenant_id': tenant, 'app.copying': 'on', 'app.operator': process.env.USER ?? '' };
    const entries = Object.entries(all);
    const calls = entries.map((_, place) => `set_config($${2 * place + 1}, $${2 * place + 2}, true)`);
    await client.query(`select ${calls.join(', ')}`, entries.flat());
    return work();
  });
}
