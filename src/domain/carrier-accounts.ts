import { decrypt, encrypt } from '../base/encryption.ts';
import { ApiError } from '../base/errors.ts';
import { type Carrier, CarrierError } from '../carriers/carrier.ts';
import { makeCarrier, parseSecrets, selectCarrier } from '../carriers/select.ts';
import type { AccountRow, EncryptedCredentials } from '../db/shipping/queries.ts';
import type { Settings } from '../env.ts';

/** A credential is bound to its tenant, carrier and field: copied elsewhere, it does not decrypt. */
export const credentialOwner = (tenant: string, provider: string, field: string) => [
  'carrier',
  tenant,
  provider,
  field,
];

/**
 * Encrypts a tenant's credentials for a carrier. A field that is null or absent stays so.
 * @throws ApiError unavailable, without TENANT_SECRETS_KEY
 */
export async function encryptCredentials(
  { TENANT_SECRETS_KEY: keys }: Settings,
  tenant: string,
  provider: string,
  credentials: { [field in keyof EncryptedCredentials]?: string | null | undefined },
): Promise<Record<string, string | null>> {
  const encrypted: Record<string, string | null> = {};
  for (const field of ['apiKey', 'webhookSecret'] as const) {
    const secret = credentials[field];
    if (secret === undefined) continue;
    if (secret !== null && keys === undefined) {
      const detail = 'This store cannot keep secrets of tenants. Its operator must set TENANT_SECRETS_KEY.';
      throw new ApiError('unavailable', detail);
    }
    encrypted[field] =
      secret === null || !keys ? null : await encrypt(keys, credentialOwner(tenant, provider, field), secret);
  }
  return encrypted;
}

/** The operator or the tenant can correct it, and the message says how. */
const missingKey = 'This shop has no API key for this carrier any more. Set it in `carrier` of the tenant.';
const unreadableKey =
  'The API key of this shop cannot be decrypted. The operator must restore the earlier TENANT_SECRETS_KEY, or the shop must set its key again.';

/** Whether the error is about a tenant's own credentials, not about the carrier. Its message may be shown. */
export const isAboutCredentials = (error: CarrierError): boolean => error.code === 'credentials';

/**
 * The carrier of an account: with the operator's credentials, or with the tenant's own present ones for that carrier.
 * @throws CarrierError (permanent if the tenant has no key for it any more)
 */
export async function openCarrier(settings: Settings, tenant: string, account: AccountRow): Promise<Carrier> {
  const name = account.provider ?? settings.CARRIER;
  if (!account.isOwn) return selectCarrier(name, settings);
  if (name === 'manual') return makeCarrier(name, { apiKey: '', webhookSecrets: [] }, settings);
  const encrypted = account.credentials?.apiKey;
  if (encrypted === undefined) throw new CarrierError(name, missingKey, true, { code: 'credentials' });
  const apiKey = await decrypt(settings.TENANT_SECRETS_KEY ?? [], credentialOwner(tenant, name, 'apiKey'), encrypted);
  if (apiKey === undefined) throw new CarrierError(name, unreadableKey, false, { code: 'credentials' });
  return makeCarrier(name, { apiKey, webhookSecrets: [] }, settings);
}

/** A tenant's own carrier that only verifies and parses webhooks. Without a secret that decrypts it rejects them. */
export async function openWebhooks(settings: Settings, tenant: string, name: string, encrypted: string | null) {
  const owner = credentialOwner(tenant, name, 'webhookSecret');
  const secret = encrypted === null ? '' : await decrypt(settings.TENANT_SECRETS_KEY ?? [], owner, encrypted);
  return makeCarrier(name, { apiKey: '', webhookSecrets: parseSecrets(secret ?? '') }, settings);
}
