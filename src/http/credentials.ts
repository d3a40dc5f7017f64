import { ApiError } from '../base/errors.ts';
import { sha256 } from '../base/sha256.ts';

const form = /^Bearer +((?:sk|pk)_[A-Za-z0-9_]{4,200})$/i;

/**
 * The SHA-256 of the key that a request shows, in hex: all of the key that goes any further. Whose it is and what it may
 * do, the database decides in the operation's own call.
 * @throws ApiError unauthenticated, if there is none or it cannot be one of ours
 */
export function keyOf(authorization: string | undefined): string {
  const key = form.exec(authorization ?? '')?.[1];
  if (key === undefined) throw new ApiError('unauthenticated');
  return sha256(key);
}

/** Whether a request shows a publishable key, by its form. */
export const isPublishable = (authorization: string | undefined): boolean => /^Bearer +pk_/i.test(authorization ?? '');

const liveTokenForm = /^lt_[0-9a-f-]{36}_[0-9]{10}_[0-9a-f]{64}$/;

/**
 * The SHA-256 of a token that takes a key's place where a campaign is watched. Whether it is good for that campaign, the
 * database decides.
 * @throws ApiError unauthenticated, if it cannot be one of ours
 */
export function hashOfLiveToken(token: string): string {
  if (!liveTokenForm.test(token)) {
    throw new ApiError(
      'unauthenticated',
      'The token is not valid, or no longer. Make a new one with `POST …/live-token`.',
    );
  }
  return sha256(token);
}
