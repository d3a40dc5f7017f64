import pg from 'pg';
import { type Reply, type Store, until } from './harness.ts';

/**
 * Locks rows, sends the requests, and releases the rows when each request waits for a lock: then they go on at the same
 * moment.
 */
export async function sendTogether(
  store: Store,
  lock: string,
  ids: string[],
  requests: (() => Promise<Reply>)[],
): Promise<Reply[]> {
  const client = new pg.Client(store.database.url);
  await client.connect();
  try {
    await client.query('begin');
    await client.query(lock, [ids]);
    const replies = requests.map((request) => request());
    await until(async () => {
      const [waiting] = await store.database.query<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'`,
      );
      return waiting?.n === requests.length;
    });
    await client.query('commit');
    return await Promise.all(replies);
  } finally {
    await client.end();
  }
}
