import * as z from 'zod';
import { ApiError } from '../base/errors.ts';
import { id } from '../base/fields.ts';
import { fromCursor, toCursor } from './cursor.ts';
import type { Answer, Http } from './route.ts';

/** The list that a cursor belongs to: the path and every filter, so that it cannot be used for another. */
export function listName(http: Http): string {
  const url = new URL(http.req.url);
  const filters = [...url.searchParams].filter(([name]) => name !== 'cursor' && name !== 'limit').sort();
  return `${url.pathname}?${new URLSearchParams(filters)}`;
}

/** Where a list of rows with our ids goes on. */
export const byId = id;
/** Where a list of stock goes on: an older SKU may have a form that is no longer taken. */
export const bySku = z
  .string()
  .max(255)
  .refine((value) => value.isWellFormed() && !value.includes('\0'));
/** Where a list of events goes on: a sequence number. */
export const bySequence = z
  .string()
  .regex(/^(0|[1-9]\d{0,14})$/)
  .transform(Number);

/**
 * The position in a cursor. Its checksum has no key, so a forged one is held against the form of the list's positions.
 * @throws ApiError invalid_cursor
 */
export function positionOf<T>(http: Http, cursor: string | undefined, form: z.ZodType<T>): T | undefined {
  const position = fromCursor(listName(http), cursor);
  if (position === undefined) return undefined;
  const { success, data } = form.safeParse(position);
  if (!success) throw new ApiError('invalid_cursor');
  return data;
}

/** A page of a list that was asked for one row more than `limit`: that row tells whether there is a next page. */
export function pageOf<T>(http: Http, rows: T[], limit: number, position: (row: T) => string): Answer & { rows: T[] } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const nextCursor = rows.length > limit && last !== undefined ? toCursor(listName(http), position(last)) : null;
  const headers: Record<string, string> = {};
  if (nextCursor !== null) {
    const { pathname, searchParams } = new URL(http.req.url);
    searchParams.set('cursor', nextCursor);
    // Relative (RFC 8288): the request's Host is the client's word.
    headers.Link = `<${pathname}?${searchParams}>; rel="next"`;
  }
  return { status: 200, rows: shown, body: { data: shown, nextCursor }, headers };
}
