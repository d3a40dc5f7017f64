import { sql } from 'drizzle-orm';
import type { Kind } from '../../base/api-keys.ts';
import type { Reader } from '../client.ts';

/** A key as `platform.key_json` returns it. */
export type KeyRow = {
  id: string;
  prefix: string;
  kind: Kind;
  name: string | null;
  scopes: string[];
  origins: string[] | null;
  createdAt: string;
  expiresAt: string | null;
  revokedAt: string | null;
};

/** A page of the caller's keys, newest first: `limit` keys below the id `before`. */
export const keyPage = (db: Reader, before: string | undefined, limit: number) =>
  db.select({ key: sql<KeyRow>`k.key` }).from(sql`platform.key_page(${before ?? null}, ${limit}) k(key)`);
