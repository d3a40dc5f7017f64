import type pg from 'pg';

type Queryable = Pick<pg.Client | pg.Pool, 'query'>;

const publicFunctions = `
  select p.oid::regprocedure::text as name from pg_proc p
  where p.pronamespace = 'pg_catalog'::regnamespace and p.proname ~ '^(lo_|loread$|lowrite$)'
    and has_function_privilege('public', p.oid, 'EXECUTE') order by 1`;

/**
 * Revokes the large object functions from public, because any role that logs in could fill the disk with them. Only a
 * superuser can do this. For other roles PostgreSQL raises a warning and changes nothing.
 * @returns the functions that public can still call
 */
export async function revokeLargeObjects(client: Queryable): Promise<string[]> {
  const read = async (): Promise<string[]> =>
    (await client.query<{ name: string }>(publicFunctions)).rows.map(({ name }) => name);
  const before = await read();
  if (before.length === 0) return [];
  await client.query(`revoke execute on function ${before.join(', ')} from public`);
  return read();
}
