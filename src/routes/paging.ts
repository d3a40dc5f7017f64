import { fromCursor, toCursor } from '../cursor.ts';
import type { Answer, Http } from './route.ts';

/** The list that a cursor belongs to: the path and every filter, so that it cannot be used for another. */
export function listName(http: Http): string {
  const url = new URL(http.req.url);
  const filters = [...url.searchParams].filter(([name]) => name !== 'cursor' && name !== 'limit').sort();
  return `${url.pathname}?${new URLSearchParams(filters)}`;
}

/** @throws ApiError invalid_cursor */
export const positionOf = (http: Http, cursor: string | undefined): string | undefined =>
  fromCursor(listName(http), cursor);

/** A page of a list that was asked for one row more than `limit`: that row tells whether there is a next page. */
export function pageOf<T>(http: Http, rows: T[], limit: number, position: (row: T) => string): Answer & { rows: T[] } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const nextCursor = rows.length > limit && last !== undefined ? toCursor(listName(http), position(last)) : null;
  const headers: Record<string, string> = {};
  if (nextCursor !== null) {
    const next = new URL(http.req.url);
    next.searchParams.set('cursor', nextCursor);
    headers.Link = `<${next}>; rel="next"`;
  }
  return { status: 200, rows: shown, body: { data: shown, nextCursor }, headers };
}
