import { createHash } from 'node:crypto';
import type { Account } from './account.ts';
import type { KeyRecord } from './store.ts';
import { StripeFailure } from './wire.ts';

const RETENTION_MS = 24 * 3600_000;

type SavedResponse = NonNullable<KeyRecord['answer']>;

function idempotencyError(status: 400 | 409, message: string, code?: string): StripeFailure {
  const body = { type: 'idempotency_error' as const, message, ...(code === undefined ? {} : { code }) };
  return new StripeFailure(status, body, { saved: false });
}

/**
 * Claims the key for a request, or returns the saved response of the first request with this key. Stripe keeps a key for
 * 24 hours. Another path, other parameters or a first request that still runs is an error.
 */
export function claimKey(
  account: Account,
  key: string,
  method: string,
  path: string,
  body: string,
): SavedResponse | null {
  deleteExpiredKeys(account);
  if (key.length > 255) throw idempotencyError(400, 'Idempotency keys must be at most 255 characters long.');
  const params = createHash('sha256').update(body).digest('hex');
  const record = account.store.get('key', key);
  if (record === undefined) {
    account.store.put('key', { id: key, method, path, params, createdAt: account.now(), answer: null });
    return null;
  }
  const advice = `Try using a key other than '${key}' if you meant to execute a different request.`;
  if (record.path !== path || record.method !== method) {
    const paths = `('${path}' vs '${record.path}')`;
    const message = `Keys for idempotent requests can only be used for the same endpoint they were first used for ${paths}.`;
    throw idempotencyError(400, `${message} ${advice}`);
  }
  if (record.params !== params) {
    const message = 'Keys for idempotent requests can only be used with the same parameters they were first used with.';
    throw idempotencyError(400, `${message} ${advice}`);
  }
  if (record.answer !== null) return record.answer;
  throw idempotencyError(
    409,
    'There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, ' +
      `and the other request is still going through): ${key}. Please try again later.`,
    'idempotency_key_in_use',
  );
}

/**
 * Ends a claim. Stripe saves the response of every request that reached its endpoint, including 500s. It does not save
 * a request that was rejected earlier or failed validation: the key can be used again.
 */
export function finishClaim(account: Account, key: string, answer: SavedResponse | null): void {
  const record = account.store.get('key', key);
  if (answer === null || record === undefined) account.store.drop('key', key);
  else account.store.put('key', { ...record, answer });
}

function deleteExpiredKeys(account: Account): void {
  const limit = account.now() - RETENTION_MS;
  for (;;) {
    const oldest = account.store.oldest('key');
    if (oldest === undefined || oldest.createdAt > limit) return;
    account.store.drop('key', oldest.id);
  }
}
