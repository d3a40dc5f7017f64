import { errors, jwtVerify } from 'jose';
import * as z from 'zod';
import { email, exact } from '../base/fields.ts';
import type { UrlRules } from '../base/public-url.ts';
import { keysOf, ProviderUnavailable } from './provider.ts';

/** Without `none` and without the algorithms with a shared secret. */
const algorithms = ['RS256', 'ES256', 'EdDSA'];
/** How far the clock of a provider may be ahead of ours. */
const toleranceSeconds = 30;

/** An ID token that proves nothing. The reason is for the client. */
export class RejectedToken extends Error {
  override readonly name = 'RejectedToken';
}

/** A person, as the provider knows them. `email`: only if the provider has verified it. */
export type Identity = { issuer: string; audience: string; subject: string; email?: string; expiresAt: Date };

const claims = z.object({
  sub: exact(255),
  exp: z.number(),
  email: z.unknown().optional(),
  email_verified: z.unknown().optional(),
  azp: z.unknown().optional(),
});

function explain(error: unknown): Error {
  if (error instanceof errors.JWTExpired) return new RejectedToken('The ID token has expired. Log in again.');
  if (error instanceof errors.JWTClaimValidationFailed) {
    const expected: Record<string, string> = {
      iss: 'The ID token is from another issuer than this shop’s.',
      aud: 'The ID token is for another audience than this shop’s.',
      nbf: 'The ID token is not valid yet.',
    };
    return new RejectedToken(expected[error.claim] ?? `The ID token’s claim ${error.claim} is missing or wrong.`);
  }
  if (error instanceof errors.JOSEAlgNotAllowed)
    return new RejectedToken(`The ID token must be signed with ${algorithms.join(', ')}.`);
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed)
    return new RejectedToken('The ID token is not signed with a key of this shop’s OpenID provider.');
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid)
    return new RejectedToken('The ID token is not a signed JWT.');
  if (error instanceof errors.JOSENotSupported || error instanceof errors.JWKSMultipleMatchingKeys)
    return new RejectedToken('The ID token does not say with which key it was signed, or needs an unknown extension.');
  if (error instanceof ProviderUnavailable) return error;
  return new ProviderUnavailable('It did not respond with its keys.');
}

/**
 * Checks an ID token (OpenID Connect Core 1.0, 3.1.3.7): signature, issuer, audience and times, at the time `now`.
 * @throws RejectedToken, ProviderUnavailable
 */
export async function readIdToken(
  token: string,
  { issuer, audience }: { issuer: string; audience: string },
  rules: UrlRules,
  now: Date,
): Promise<Identity> {
  const verified = await keysOf(issuer, rules, now)
    .then((keys) =>
      jwtVerify(token, keys, {
        ...{ issuer, audience, algorithms, currentDate: now, clockTolerance: toleranceSeconds },
        requiredClaims: ['sub', 'exp'],
      }),
    )
    .catch((error: unknown) => {
      throw explain(error);
    });
  const read = claims.safeParse(verified.payload);
  if (!read.success) throw new RejectedToken('The ID token’s subject is missing or longer than 255 characters.');
  const { sub: subject, exp, email: address, email_verified: isVerified, azp } = read.data;
  const expiresAt = new Date(Math.floor(exp * 1000));
  if (!(expiresAt.getTime() > now.getTime())) throw new RejectedToken('The ID token has expired. Log in again.');
  // A token for several audiences belongs to one of them.
  if (Array.isArray(verified.payload.aud) && verified.payload.aud.length > 1 && azp !== audience)
    throw new RejectedToken('The ID token was issued to another application than this shop’s.');
  const mail = isVerified === true || isVerified === 'true' ? email.safeParse(address).data : undefined;
  return { issuer, audience, subject, ...(mail === undefined ? {} : { email: mail }), expiresAt };
}
