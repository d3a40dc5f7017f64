import { ApiError, type Fault, isCode } from '../base/errors.ts';
import type { Context } from '../context.ts';
import type { WriteResult } from '../db/client.ts';

/** The error that a SQL function returns. Stored under the idempotency key like any other result. */
export type ErrorResult = { error: string; detail?: string; errors?: Fault[]; [member: string]: unknown };

/** Turns an error result of the database into the API error for the client. */
export function toApiError(result: ErrorResult, replayed = false): ApiError {
  const { error, detail, errors, ...members } = result;
  if (!isCode(error)) throw new Error(`the database returned the error ${error}, which is not a code of the API`);
  return new ApiError(error, detail, { ...(errors ? { faults: errors } : {}), members, replayed });
}

/**
 * Runs a write with the caller's key. `lines`: how many rows it locks (`Database.run`).
 * @throws ApiError that the database raised or returned
 */
export async function runWrite<T extends object>(
  { db, call }: Context,
  name: `${string}.${string}`,
  input: unknown,
  lines?: number,
): Promise<WriteResult<T>> {
  const { tenant, answer, replayed } = await db.run<WriteResult<T | ErrorResult>>(name, call, input, lines);
  if ('error' in answer) throw toApiError(answer, replayed);
  return { tenant, answer, replayed };
}

/**
 * For a resource that a body field names: turns `not_found` into a validation error of that field, because the path
 * exists.
 */
export const notFoundAsFieldError =
  (pointer: string, detail: string) =>
  (error: unknown): never => {
    if (!(error instanceof ApiError) || error.code !== 'not_found') throw error;
    throw new ApiError('validation_failed', undefined, { faults: [{ pointer, detail }] });
  };
