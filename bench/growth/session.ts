import type pg from 'pg';
import { connectTo } from '../../dev/postgres/connection.ts';
import { addJobSecret, localJobSecret } from '../../dev/postgres/job-secrets.ts';
import { type CallPlan, readPlans } from './plan.ts';

/** What the Worker sends for one operation: a SQL function's call, or a read after `platform.authenticate`. */
export type Statement = { text: string; values: unknown[]; read?: { call: string; scope: string } };

/** A connection that does what the bridge does for the Worker, and can tell of each call how it was carried out. */
export type Session = {
  /** Resolves with the answer (the first row's `result`, if there is one) and the milliseconds that it took. */
  run: (statement: Statement) => Promise<{ result: unknown; ms: number }>;
  /** Runs it once more and resolves with what it touched. */
  explain: (statement: Statement) => Promise<CallPlan>;
  close: () => Promise<void>;
};

const planLines = 8;

/**
 * Opens one as `fusion_worker`, by way of the superuser, who alone may load auto_explain. Plans of SQL functions are cached
 * in it as in the bridge's connections.
 */
export async function openSession(adminUrl: string): Promise<Session> {
  const client = await connectTo(adminUrl);
  const notices: string[] = [];
  client.on('notice', ({ message }) => notices.push(message ?? ''));
  await addJobSecret(client, localJobSecret, 'growth');
  await client.query(`load 'auto_explain'`);
  await client.query(`
    set auto_explain.log_analyze = on; set auto_explain.log_buffers = on; set auto_explain.log_timing = off;
    set auto_explain.log_nested_statements = on; set auto_explain.log_format = json; set auto_explain.log_level = notice`);
  const explaining = (on: boolean) => client.query(`set auto_explain.log_min_duration = ${on ? 0 : -1}`);
  await explaining(false);
  await client.query('set session authorization fusion_worker');

  let entered = 0; // what was told before the read itself is of no interest
  /** As the Worker's batch: one transaction that begins by saying who calls, and reads as the role that can only read. */
  const runRead = async ({ text, values, read }: Required<Statement>): Promise<pg.QueryResult> => {
    await client.query('begin');
    try {
      await client.query(
        `select platform.authenticate($1::jsonb, $2) ->> 'tenant' as tenant, set_config('role', 'fusion_reader', true)`,
        [read.call, read.scope],
      );
      entered = notices.length;
      const answer = await client.query(text, values);
      await client.query('commit');
      return answer;
    } catch (error) {
      await client.query('rollback');
      throw error;
    }
  };
  const run: Session['run'] = async ({ text, values, read }) => {
    const started = performance.now();
    const answer = read === undefined ? await client.query(text, values) : await runRead({ text, values, read });
    return { result: (answer.rows[0] as { result?: unknown } | undefined)?.result, ms: performance.now() - started };
  };
  return {
    run,
    async explain(statement) {
      await client.query('reset session authorization');
      await explaining(true);
      await client.query('set session authorization fusion_worker');
      notices.length = 0;
      entered = 0;
      await run(statement);
      const seen = notices.slice(entered);
      await client.query('reset session authorization');
      await explaining(false);
      await client.query('set session authorization fusion_worker');
      return readPlans(seen, planLines);
    },
    close: () => client.end(),
  };
}
