import { ApiError } from '../base/errors.ts';
import { sha256 } from '../base/sha256.ts';
import type { Call } from '../db/client.ts';

/**
 * The client's Idempotency-Key, where the operation takes one.
 * @throws ApiError idempotency_key_required, validation_failed
 */
export function readIdempotencyKey(rule: 'required' | 'optional' | undefined, header: string | undefined) {
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
 * Adds the key and the hash of the request to the database call. The operation's own transaction then returns the first
 * response again, or rejects a different request with the same key.
 */
export function addIdempotencyKey(call: Call, key: string, method: string, path: string, body: unknown): void {
  call.idempotencyKey = key;
  call.requestHash = sha256(JSON.stringify([method.toLowerCase(), path, body]));
}
