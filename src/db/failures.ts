import { defaultCell } from '../base/cells.ts';
import { ApiError, isCode } from '../base/errors.ts';

export type DatabaseError = Error & { code?: string; detail?: string };

// Lock timeout (55P03) or statement timeout after lock waits (57014): the call only has to wait, until its deadline.
export const waitCodes = new Set(['55P03', '57014']);
// Serialization failure, deadlock, lock timeout, cancelled, too many connections, starting up: nothing was changed.
export const unchangedCodes = new Set(['40001', '40P01', '55P03', '57014', '53300', '57P03']);
/**
 * No such function. A migration may rename one while a call runs that needs it, and the next attempt finds the new
 * name.
 */
export const missingFunctionCode = '42883';
const connectionLostCode = /^(08|53|57P|58|XX)/;
// Wrong password or job secret. An operator must correct it: the request or message is not at fault.
export const authenticationCode = /^28/;

/** Whether the call may have taken effect: it has no SQLSTATE, or one that means that the connection was lost. */
export function isOutcomeUnknown({ code, name }: DatabaseError): boolean {
  return code === undefined ? name === 'NeonDbError' || name === 'SyntaxError' : connectionLostCode.test(code);
}

/** The driver's error, which Drizzle wraps. */
export function unwrap(error: unknown): DatabaseError | undefined {
  const inner = error instanceof Error && error.name !== 'NeonDbError' && error.cause ? error.cause : error;
  return inner instanceof Error ? inner : undefined;
}

type FailureDetail = {
  reason?: string;
  tenant?: string;
  cell?: string | null;
  /** Fields of the problem document. PostgreSQL logs them, so they have no personal data. */
  members?: Record<string, unknown>;
};

/** What a SQL function passed to `platform.fail`. */
const detailOf = ({ detail }: DatabaseError): FailureDetail => (detail ? JSON.parse(detail) : {});

/** The error that a SQL function raised with `platform.fail`, if it is one. */
export function toApiError(error: DatabaseError): ApiError | undefined {
  if (error.code !== 'FC000' || !isCode(error.message)) return undefined;
  const { reason, tenant, members } = detailOf(error);
  return new ApiError(error.message, reason, { tenant, ...(members && { members }) });
}

/** The cell to which the caller's tenant has moved, if that is what a SQL function raised. */
export const newCellOf = (error: DatabaseError): string | undefined =>
  error.code === 'FC000' && error.message === 'moved' ? (detailOf(error).cell ?? defaultCell) : undefined;
