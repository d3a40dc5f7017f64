import { createHash } from 'node:crypto';
import type { Account } from './account.ts';
import type { KeyRecord } from './store.ts';
import { StripeFailure } from './wire.ts';

const KEPT_MS = 24 * 3600_000;

type Answer = NonNullable<KeyRecord['answer']>;

function idempotencyError(status: 400 | 409, message: string, code?: string): StripeFailure {
  const body = { type: 'idempotency_error' as const, message, ...(code === undefined ? {} : { code }) };
  return new StripeFailure(status, body, { saved: false });
}

/**
 * Takes the key for a request, or gives the saved answer of the first one. Rules (docs: idempotent requests): kept 24
 * hours; another path or other parameters are an error; so is a request while the first one runs.
 */
export function claimKey(account: Account, key: string, method: string, path: string, body: string): Answer | null {
  forgetOld(account);
  if (key.length > 255) throw idempotencyError(400, 'Idempotency keys must be at most 255 characters long.');
  const params = createHash('sha256').update(body).digest('hex');
  const known = account.store.get('key', key);
  if (known === undefined) {
    account.store.put('key', { id: key, method, path, params, createdAt: account.now(), answer: null });
    return null;
  }
  const advice = `Try using a key other than '${key}' if you meant to execute a different request.`;
  if (known.path !== path || known.method !== method) {
    const paths = `('${path}' vs '${known.path}')`;
    const message = `Keys for idempotent requests can only be used for the same endpoint they were first used for ${paths}.`;
    throw idempotencyError(400, `${message} ${advice}`);
  }
  if (known.params !== params) {
    const message = 'Keys for idempotent requests can only be used with the same parameters they were first used with.';
    throw idempotencyError(400, `${message} ${advice}`);
  }
  if (known.answer !== null) return known.answer;
  throw idempotencyError(
    409,
    'There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, ' +
      `and the other request is still going through): ${key}. Please try again later.`,
    'idempotency_key_in_use',
  );
}

/**
 * Ends a claim. Stripe saves status and body of every request that its endpoint began to work on, 500s included; what
 * failed validation or was turned away before is not saved, and the key is free again.
 */
export function settleKey(account: Account, key: string, answer: Answer | null): void {
  const record = account.store.get('key', key);
  if (answer === null || record === undefined) account.store.drop('key', key);
  else account.store.put('key', { ...record, answer });
}

function forgetOld(account: Account): void {
  const limit = account.now() - KEPT_MS;
  for (;;) {
    const oldest = account.store.oldest('key');
    if (oldest === undefined || oldest.createdAt > limit) return;
    account.store.drop('key', oldest.id);
  }
}
