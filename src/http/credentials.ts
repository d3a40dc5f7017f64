import { cellOfKey, defaultCell } from '../base/cells.ts';
import { ApiError } from '../base/errors.ts';
import { sha256 } from '../base/sha256.ts';
import type { Cells } from '../db/cells.ts';
import type { Shopper } from './declaration.ts';

/** What the database needs to find the caller: the hash of the key or token, and the cell that it names. */
export type Credentials = { hash: string; cell: string };

const keyFormat = /^Bearer +((?:sk|pk|cs)_[A-Za-z0-9_]{4,200})$/i;

/**
 * The SHA-256 of a request's key, in hex, and its cell. Nothing else of the key is passed on. The cell's database finds
 * the key's tenant and scopes in the operation's own call.
 * @throws ApiError unauthenticated, if there is no key or it has the wrong format
 */
export function readKey(authorization: string | undefined, cells: Cells): Credentials {
  const key = keyFormat.exec(authorization ?? '')?.[1];
  if (key === undefined) throw new ApiError('unauthenticated');
  return { hash: sha256(key), cell: cells.size > 1 ? cellOfKey(key, cells) : defaultCell };
}

/** Whether the key has the format of a customer session's token. */
export const isSession = (authorization: string | undefined): boolean => /^Bearer +cs_/i.test(authorization ?? '');

/** The SHA-256 of a `Cart-Token` header; undefined without one. A token of any other form is no cart's. */
export const readCartToken = (header: string | undefined): string | undefined =>
  header === undefined ? undefined : sha256(header);

/** The kind of key, if it may be used in a browser. */
export function shopperOf(authorization: string | undefined): Shopper | undefined {
  if (isSession(authorization)) return 'session';
  return isPublishable(authorization) ? 'publishable' : undefined;
}

/** Whether the key has the format of a publishable key. */
const isPublishable = (authorization: string | undefined): boolean => /^Bearer +pk_/i.test(authorization ?? '');

const liveTokenFormat = /^lt_(?:([a-z][a-z0-9]{1,11})_)?([0-9a-f-]{36}_[0-9]{10}_[0-9a-f]{64})$/;

/**
 * Reads a live token, which replaces a key to watch one campaign or team: its hash, its cell, and the token as that cell's
 * database made it. The database checks that it is valid for that id.
 * @throws ApiError unauthenticated, if it has the wrong format or names a cell that does not exist
 */
export function readLiveToken(text: string, cells: Cells): Credentials & { token: string } {
  const [, cell = defaultCell, token] = liveTokenFormat.exec(text) ?? [];
  if (token === undefined || !cells.has(cell)) {
    throw new ApiError(
      'unauthenticated',
      'The live token is not valid or has expired. Get a new one with `POST …/live-token`.',
    );
  }
  return { hash: sha256(text), cell, token: `lt_${token}` };
}
