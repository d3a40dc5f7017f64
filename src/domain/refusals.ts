import { ApiError, type Fault, isCode } from '../base/errors.ts';

/** What a SQL function answers when it refuses: remembered under the idempotency key like any other answer. */
export type ErrorResult = { error: string; detail?: string; errors?: Fault[]; [member: string]: unknown };

/** A refusal of the database as the error that the client is told. */
export function toApiError(answer: ErrorResult, replayed = false): ApiError {
  const { error, detail, errors, ...members } = answer;
  if (!isCode(error)) throw new Error(`the database refused with ${error}, which is no code of the API`);
  return new ApiError(error, detail, { ...(errors ? { faults: errors } : {}), members, replayed });
}

/** For a resource that the body names: that it is not there is a fault of the body, and not of the path. */
export const notFoundAsFieldError =
  (pointer: string, detail: string) =>
  (error: unknown): never => {
    if (!(error instanceof ApiError) || error.code !== 'not_found') throw error;
    throw new ApiError('validation_failed', undefined, { faults: [{ pointer, detail }] });
  };
