import type { Context } from '../../context.ts';
import type { WriteResult } from '../../db/client.ts';

/**
 * Reads with a function that checks whether the row is the shopper's. The policies of a read with a secret key know
 * tenants and scopes only.
 */
export async function readAsShopper<T>({ db, call }: Context, name: `${string}.${string}`, input: object): Promise<T> {
  const { answer } = await db.run<WriteResult<T>>(name, call, input);
  return answer;
}
