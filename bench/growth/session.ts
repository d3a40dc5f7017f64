import type pg from 'pg';
import { connectTo } from '../../dev/postgres/connection.ts';
import { addJobSecret, localJobSecret } from '../../dev/postgres/job-secrets.ts';
import { type CallPlan, readPlans, type Searches } from './plan.ts';

/**
 * The SQL that the Worker sends for one operation: a function call, or a query that follows `platform.authenticate`.
 */
export type Statement = { text: string; values: unknown[]; read?: { call: string; scope: string } };

/** A connection that runs statements as the bridge does for the Worker, and can explain how PostgreSQL ran them. */
export type Session = {
  /** Resolves with the column `result` of the first row, if any, and with the time in ms. */
  run: (statement: Statement) => Promise<{ result: unknown; ms: number }>;
  /** Runs the statement and resolves with its plan. */
  explain: (statement: Statement) => Promise<CallPlan>;
  close: () => Promise<void>;
};

const planLines = 8;

/**
 * Opens a session as `fusion_worker`. It connects as the superuser, since only a superuser may load auto_explain. It
 * caches the plans of SQL functions, as the bridge's connections do.
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
  await client.query('create extension if not exists pageinspect with schema public');
  /** How many blocks of the upper levels of B-trees this number of searches touches. Other kinds of index count 0. */
  const countLevels = async (searches: Searches): Promise<number> => {
    const { rows } = await client.query<{ name: string; levels: number }>(
      `select c.relname as name, (public.bt_metap(format('%I.%I', n.nspname, c.relname))).fastlevel::int as levels
       from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_am a on a.oid = c.relam
       where a.amname = 'btree' and c.relname = any($1)`,
      [[...searches.keys()]],
    );
    return rows.reduce((sum, { name, levels }) => sum + levels * (searches.get(name) ?? 0), 0);
  };
  const setExplain = (on: boolean) => client.query(`set auto_explain.log_min_duration = ${on ? 0 : -1}`);
  await setExplain(false);
  await client.query('set session authorization fusion_worker');

  let noticesBeforeRead = 0; // notices of the authentication are not part of the plan
  /** Reads as the Worker does: one transaction that authenticates the call and then reads as fusion_reader. */
  const runRead = async ({ text, values, read }: Required<Statement>): Promise<pg.QueryResult> => {
    await client.query('begin');
    try {
      await client.query(
        `select platform.authenticate($1::jsonb, $2) ->> 'tenant' as tenant, set_config('role', 'fusion_reader', true)`,
        [read.call, read.scope],
      );
      noticesBeforeRead = notices.length;
      const result = await client.query(text, values);
      await client.query('commit');
      return result;
    } catch (error) {
      await client.query('rollback');
      throw error;
    }
  };
  const run: Session['run'] = async ({ text, values, read }) => {
    const started = performance.now();
    const queryResult = read === undefined ? await client.query(text, values) : await runRead({ text, values, read });
    return {
      result: (queryResult.rows[0] as { result?: unknown } | undefined)?.result,
      ms: performance.now() - started,
    };
  };
  return {
    run,
    async explain(statement) {
      await client.query('reset session authorization');
      await setExplain(true);
      await client.query('set session authorization fusion_worker');
      notices.length = 0;
      noticesBeforeRead = 0;
      await run(statement);
      const planNotices = notices.slice(noticesBeforeRead);
      await client.query('reset session authorization');
      await setExplain(false);
      const { searches, ...plan } = readPlans(planNotices, planLines);
      const levels = await countLevels(searches);
      await client.query('set session authorization fusion_worker');
      return { ...plan, levels };
    },
    close: () => client.end(),
  };
}
