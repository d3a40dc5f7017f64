import { ApiError } from '../base/errors.ts';
import { sha256 } from '../base/sha256.ts';

const keyFormat = /^Bearer +((?:sk|pk)_[A-Za-z0-9_]{4,200})$/i;

/**
 * The SHA-256 of a request's key, in hex. Nothing else of the key is passed on. The database finds the key's tenant and
 * scopes in the operation's own call.
 * @throws ApiError unauthenticated, if there is no key or it has the wrong format
 */
export function keyOf(authorization: string | undefined): string {
  const key = keyFormat.exec(authorization ?? '')?.[1];
  if (key === undefined) throw new ApiError('unauthenticated');
  return sha256(key);
}

/** Whether the key has the format of a publishable key. */
export const isPublishable = (authorization: string | undefined): boolean => /^Bearer +pk_/i.test(authorization ?? '');

const liveTokenFormat = /^lt_[0-9a-f-]{36}_[0-9]{10}_[0-9a-f]{64}$/;

/**
 * The SHA-256 of a live token, which replaces a key to watch one campaign. The database checks that it is valid for
 * that campaign.
 * @throws ApiError unauthenticated, if it has the wrong format
 */
export function hashOfLiveToken(token: string): string {
  if (!liveTokenFormat.test(token)) {
    throw new ApiError(
      'unauthenticated',
      'The live token is not valid or has expired. Get a new one with `POST …/live-token`.',
    );
  }
  return sha256(token);
}
