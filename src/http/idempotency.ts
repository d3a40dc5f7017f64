import { ApiError } from '../base/errors.ts';
import { sha256 } from '../base/sha256.ts';
import type { Call } from '../db/client.ts';

/**
 * The client's Idempotency-Key, where the operation takes one.
 * @throws ApiError idempotency_key_required, validation_failed
 */
export function readIdempotencyKey(rule: 'required' | 'taken' | undefined, header: string | undefined) {
  if (!rule) return undefined;
  if (header === undefined || header === '') {
    if (rule === 'required') throw new ApiError('idempotency_key_required');
    return undefined;
  }
  if (header.length > 255 || !/^[\x20-\x7e]+$/.test(header)) {
    const faults = [{ pointer: 'Idempotency-Key', detail: 'must be 1 to 255 printable ASCII characters' }];
    throw new ApiError('validation_failed', undefined, { faults });
  }
  return header;
}

/**
 * Tells the database the key and the hash of the request, so that the operation's own transaction returns the first
 * response again, or rejects another request with the same key.
 */
export function rememberRequest(call: Call, key: string, method: string, path: string, body: unknown): void {
  call.idempotencyKey = key;
  call.requestHash = sha256(JSON.stringify([method.toLowerCase(), path, body]));
}
