import * as z from 'zod';
import { makeKey } from '../../base/api-keys.ts';
import { ApiError } from '../../base/errors.ts';
import { exact, id, time } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import { sha256 } from '../../base/sha256.ts';
import type { Context } from '../../context.ts';
import type { WriteResult } from '../../db/client.ts';
import { type Identity, RejectedToken, readIdToken } from '../../oidc/id-token.ts';
import { ProviderUnavailable } from '../../oidc/provider.ts';
import { notFoundAsFieldError } from '../refusals.ts';

export const newSession = z
  .strictObject({
    customerId: id.optional().meta({ description: 'Needs a secret key' }),
    idToken: exact(16_384).optional().meta({
      description: 'An ID token of the OpenID provider that the tenant’s `oidc` names, for its audience',
    }),
  })
  .refine(({ customerId, idToken }) => (customerId === undefined) !== (idToken === undefined), {
    error: 'must have either customerId or idToken',
  });

export const session = z
  .object({
    token: z.string().nullable().meta({
      description: 'The session itself, for `Authorization: Bearer cs_…`. null if the response is a repetition',
    }),
    expiresAt: time,
    customerId: id,
  })
  .meta({ id: 'CustomerSession' });

export type Provider = { issuer: string; audience: string };

/**
 * The OpenID provider of the caller's tenant.
 * @throws ApiError unauthenticated, forbidden (the tenant has none)
 */
export async function findProvider({ db, call }: Context): Promise<Provider> {
  const { answer } = await db.run<WriteResult<{ oidc: Provider | null }>>('platform.read_oidc', call, {});
  if (answer.oidc === null)
    throw new ApiError('forbidden', 'This shop has no OpenID provider: set `oidc` with PATCH /v1/tenant.');
  return answer.oidc;
}

/**
 * Checks who an ID token identifies. The database cannot check it, so the session is opened in another call.
 * @throws ApiError unauthenticated (the token proves nothing), unavailable (the provider does not respond)
 */
async function identify(context: Context, provider: Provider, idToken: string): Promise<Identity> {
  const rules = { allowLoopback: context.settings.ALLOW_LOOPBACK_URLS };
  try {
    return await readIdToken(idToken, provider, rules, context.now());
  } catch (error) {
    if (error instanceof RejectedToken) throw new ApiError('unauthenticated', error.message);
    if (!(error instanceof ProviderUnavailable)) throw error;
    throw new ApiError('unavailable', `The shop’s OpenID provider is unavailable. ${error.message}`);
  }
}

async function open(context: Context, input: object) {
  const tokenIn = makeKey('session');
  const { answer, replayed } = await context.db.run<WriteResult<{ customerId: string; expiresAt: string }>>(
    'orders.create_session',
    { ...context.call, vouched: true },
    // The token names its cell. If the tenant has moved, only the call itself finds out where it lives.
    (cell: string) => ({ ...input, tokenHash: sha256(tokenIn(cell)) }),
  );
  const { customerId, expiresAt } = answer;
  return { session: { token: replayed ? null : tokenIn(context.db.cell), expiresAt, customerId }, replayed };
}

/**
 * Opens a session of a customer for an hour, with a secret key.
 * @throws ApiError forbidden, validation_failed (no such customer)
 */
export const openSession = (context: Context, customerId: string) =>
  open(context, { customerId }).catch(notFoundAsFieldError('/customerId', 'There is no such customer.'));

/**
 * Logs a customer in with an ID token, for an hour or until the token expires. The customer is the one that is bound to
 * the token's issuer and subject, or has its verified e-mail address; without one a customer is created.
 * @throws ApiError unauthenticated, forbidden (nobody to log in), unavailable
 */
export async function logIn(context: Context, provider: Provider, idToken: string) {
  const { expiresAt, ...identity } = await identify(context, provider, idToken);
  return open(context, { identity, until: expiresAt.toISOString(), newId: newId(context.now()) });
}
