import * as z from 'zod';
import {
  kinds,
  makeKey,
  originMessage,
  prefixOf,
  publishableScopes,
  readOrigin,
  scopes,
  scopesOf,
} from '../base/api-keys.ts';
import { id, instant, text, time } from '../base/fields.ts';
import { newId } from '../base/ids.ts';
import { sha256 } from '../base/sha256.ts';
import type { Context } from '../context.ts';
import { type KeyRow, keyPage } from '../db/platform/api-keys.ts';
import { type ErrorResult, toApiError } from './refusals.ts';

const shownFields = {
  id,
  prefix: z.string().meta({ description: 'The first characters of the key, to tell keys apart' }),
  kind: z.enum(kinds),
  name: z.string().nullable(),
  scopes: z.array(z.string()),
  origins: z
    .array(z.string())
    .nullable()
    .meta({ description: 'The origins whose pages may use a publishable key; null: all' }),
  createdAt: time,
  expiresAt: time.nullable(),
  revokedAt: time.nullable(),
};

export const apiKey = z.object(shownFields).meta({ id: 'ApiKey' });

export const createdKey = z
  .object({
    ...shownFields,
    key: z
      .string()
      .nullable()
      .meta({ description: 'The key itself. It is shown only here, and is null if the response is a repetition' }),
  })
  .meta({ id: 'CreatedApiKey' });

const origin = z
  .string()
  .max(300, { abort: true })
  .refine((value) => readOrigin(value) !== undefined, { error: originMessage, abort: true })
  .overwrite((value) => readOrigin(value) ?? value);

export const newKey = z
  .strictObject({
    kind: z.enum(kinds),
    name: text(255).optional(),
    scopes: z.array(z.enum(scopes)).min(1).max(scopes.length).optional().meta({
      description: 'Default for a secret key: those of the calling key; for a publishable key: all that it may have',
    }),
    origins: z
      .array(origin)
      .min(1)
      .max(50)
      .optional()
      .meta({ description: 'The origins whose pages may use a publishable key. Default: all' }),
    expiresAt: instant.optional(),
  })
  .superRefine((value, check) => {
    const allowed = scopesOf(value.kind);
    value.scopes?.forEach((scope, at) => {
      if (allowed.includes(scope)) return;
      const message = `a publishable key can only have ${allowed.join(', ')}`;
      check.addIssue({ code: 'custom', path: ['scopes', at], message });
    });
    if (value.kind === 'secret' && value.origins !== undefined) {
      const message = 'a secret key can have no origins, because no page may use it';
      check.addIssue({ code: 'custom', path: ['origins'], message });
    }
  });

const toKey = (row: KeyRow): z.infer<typeof apiKey> => ({
  id: row.id,
  prefix: row.prefix,
  kind: row.kind,
  name: row.name,
  scopes: row.scopes,
  origins: row.origins,
  createdAt: row.createdAt,
  expiresAt: row.expiresAt,
  revokedAt: row.revokedAt,
});

/** The keys of the caller's tenant, newest first. */
export async function listKeys(context: Context, before: string | undefined, limit: number) {
  const { rows } = await context.db.read(context.call, 'keys:read', (db) => keyPage(db, before, limit));
  return rows.map(({ key }) => toKey(key));
}

/**
 * Creates a key. The database gets only its SHA-256, so nothing that is stored contains the key, and a repetition has
 * null in its place.
 * @throws ApiError forbidden (a scope that the caller lacks), validation_failed
 */
export async function createKey(context: Context, input: z.infer<typeof newKey>) {
  const keyId = newId(context.now());
  const keyIn = makeKey(input.kind);
  const publishable = input.kind === 'publishable' ? publishableScopes : undefined;
  const { answer, replayed } = await context.db.run<{ answer: KeyRow | ErrorResult; replayed: boolean }>(
    'platform.create_key',
    context.call,
    // The key names its cell. If the tenant has moved, only the call itself finds out where it lives.
    (cell: string) => ({
      ...input,
      scopes: input.scopes === undefined ? publishable : [...new Set(input.scopes)],
      id: keyId,
      prefix: prefixOf(keyIn(cell), input.kind, cell),
      keyHash: sha256(keyIn(cell)),
    }),
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  // Compared by id: if our own first attempt was lost, its stored answer is of this very key.
  return { key: { ...toKey(answer), key: answer.id === keyId ? keyIn(context.db.cell) : null }, replayed };
}

/**
 * Revokes a key at once. One that is revoked already stays so.
 * @throws ApiError not_found, conflict (the last valid key with keys:write)
 */
export async function revokeKey(context: Context, keyId: string): Promise<void> {
  const { answer, replayed } = await context.db.run<{ answer: object | ErrorResult; replayed: boolean }>(
    'platform.revoke_key',
    context.call,
    { id: keyId },
  );
  if ('error' in answer) throw toApiError(answer, replayed);
}
