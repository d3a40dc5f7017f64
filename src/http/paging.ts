import * as z from 'zod';
import { ApiError } from '../base/errors.ts';
import { id } from '../base/fields.ts';
import type { HttpContext } from './app-env.ts';
import { fromCursor, toCursor } from './cursor.ts';

/** These do not change which rows a list has, nor their order. */
const notFilters = ['cursor', 'limit', 'facets'];

/** The list that a cursor belongs to: its path and filters, so that the cursor is valid for no other list. */
export function listName(c: HttpContext): string {
  const url = new URL(c.req.url);
  const filters = [...url.searchParams].filter(([name]) => !notFilters.includes(name)).sort();
  return `${url.pathname}?${new URLSearchParams(filters)}`;
}

/** The position in a list of rows that have our ids. */
export const byId = id;
/** The position in a list of stock. An older SKU may have a format that new SKUs cannot have. */
export const bySku = z
  .string()
  .max(255)
  .refine((value) => value.isWellFormed() && !value.includes('\0'));
/** The position in a price list: a minimum quantity and a SKU. */
export const byPrice = z
  .string()
  .regex(/^[1-9]\d{0,8} /)
  .transform((position) => {
    const [minQuantity = ''] = position.split(' ', 1);
    return { minQuantity: Number(minQuantity), sku: position.slice(minQuantity.length + 1) };
  })
  .refine(({ sku }) => bySku.safeParse(sku).success);
/** The position in a list of events: a sequence number. */
export const bySequence = z
  .string()
  .regex(/^(0|[1-9]\d{0,14})$/)
  .transform(Number);

/**
 * The position in a cursor. A client could forge the checksum, which has no key, so the position is validated too.
 * @throws ApiError invalid_cursor
 */
export function positionOf<T>(c: HttpContext, cursor: string | undefined, schema: z.ZodType<T>): T | undefined {
  const position = fromCursor(listName(c), cursor);
  if (position === undefined) return undefined;
  const { success, data } = schema.safeParse(position);
  if (!success) throw new ApiError('invalid_cursor');
  return data;
}

type Page<T> = {
  rows: T[];
  limit: number;
  /** Where the list continues after this row. */
  position: (row: T) => string;
  /** What the response shows of a row; the row itself if not given. */
  show?: (row: T) => unknown;
};

/**
 * Shows a page of a list that was read with one row more than `limit`: the extra row shows that there is a next page.
 */
export function showPage<T>(c: HttpContext, { rows, limit, position, show = (row) => row }: Page<T>): Response {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const next = rows.length > limit && last !== undefined ? position(last) : null;
  return showPart(c, shown.map(show), next);
}

/** Shows a page that continues at the position `next`, with further fields beside its rows. */
export function showPart(c: HttpContext, data: unknown[], next: string | null, more: object = {}): Response {
  const nextCursor = next === null ? null : toCursor(listName(c), next);
  if (nextCursor !== null) {
    const { pathname, searchParams } = new URL(c.req.url);
    searchParams.set('cursor', nextCursor);
    // Relative (RFC 8288): the client chooses the request's Host header.
    c.header('Link', `<${pathname}?${searchParams}>; rel="next"`);
  }
  return c.json({ data, nextCursor, ...more });
}
