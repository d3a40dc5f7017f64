import pg from 'pg';

/**
 * Opens a pool of connections. The server may end one that is idle or being closed: a test restarts it, or drops the
 * database right after `pool.end`, which does not wait until its connections are closed. That is no error of the test.
 * A query that is running fails as usual.
 */
export function openPool(connectionString: string, max: number): pg.Pool {
  const pool = new pg.Pool({ connectionString, max });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}
