import type pg from 'pg';
import { decrypt, encrypt } from '../../src/base/encryption.ts';
import { credentialOwner } from '../../src/domain/carrier-accounts.ts';

type Stored = Record<string, Record<string, string>>;

/** Parses TENANT_SECRETS_KEY as the Worker does. Throws if a key is missing or not 32 bytes in base64. */
export function readSecretsKeys(variable: string | undefined): [string, ...string[]] {
  const [first, ...others] = (variable ?? '').split(',').map((key) => key.trim());
  for (const key of [first, ...others]) {
    if (Buffer.from(key ?? '', 'base64').length !== 32) {
      throw new Error('set TENANT_SECRETS_KEY to the keys of the Worker, the new one first: 32 bytes each, in base64');
    }
  }
  return [first ?? '', ...others];
}

/**
 * Encrypts the credentials of all tenants of this cell again, with the first key. Those of a tenant that has moved are
 * encrypted in its new cell. Credentials that a tenant changes at the same time stay as it sets them. Returns how many were encrypted, and those that no key decrypts, which stay as they are.
 */
export async function encryptAgain(
  client: Pick<pg.Client | pg.Pool, 'query'>,
  keys: [string, ...string[]],
): Promise<{ encrypted: number; lost: string[] }> {
  const { rows } = await client.query<{ id: string; stored: string }>(
    `select t.id, t.carrier_credentials as stored from platform.tenants t where t.carrier_credentials is not null
     and not exists (select from platform.tenant_moves m where m.id = t.id and m.state = 'moved') order by t.id`,
  );
  const result = { encrypted: 0, lost: [] as string[] };
  for (const { id, stored } of rows) {
    const next: Stored = JSON.parse(stored);
    let count = 0;
    for (const [carrier, fields] of Object.entries(next)) {
      for (const [field, text] of Object.entries(fields)) {
        const owner = credentialOwner(id, carrier, field);
        const secret = await decrypt(keys, owner, text);
        if (secret === undefined) result.lost.push(`${id} ${carrier} ${field}`);
        else {
          fields[field] = await encrypt(keys, owner, secret);
          count++;
        }
      }
    }
    const { rowCount } = await client.query(
      'update platform.tenants set carrier_credentials = $3 where id = $1 and carrier_credentials = $2',
      [id, stored, JSON.stringify(next)],
    );
    if (rowCount === 1) result.encrypted += count;
  }
  return result;
}

export function describeEncryption({ encrypted, lost }: Awaited<ReturnType<typeof encryptAgain>>): string {
  const lines = lost.map((name) => `  ${name}: no key decrypts it; its tenant has to set it again`);
  return [`encrypted ${encrypted} credentials with the first key`, ...lines].join('\n');
}
