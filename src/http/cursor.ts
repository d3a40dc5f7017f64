import { ApiError } from '../base/errors.ts';

/** Longer than any cursor that was given out. */
const longest = 2_000;

/** FNV-1a, 64 bits: enough to notice a cursor that was changed or taken from another list; it guards no secret. */
function checksum(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, '0');
}

const encode = (text: string) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text))).replace(
    /[+/=]/g,
    (c) => ({ '+': '-', '/': '_' })[c] ?? '',
  );

function decode(text: string): string {
  const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
}

/** Where a list goes on, for this list and these filters alone. `position` is the last row's key. */
export const toCursor = (list: string, position: string): string =>
  encode(`${checksum(`${list} ${position}`)}${position}`);

/** @throws ApiError invalid_cursor, if it was changed or belongs to another list or other filters */
export function fromCursor(list: string, cursor: string | undefined): string | undefined {
  if (cursor === undefined) return undefined;
  if (cursor.length > longest) throw new ApiError('invalid_cursor');
  let plain: string;
  try {
    plain = decode(cursor);
  } catch {
    throw new ApiError('invalid_cursor');
  }
  const position = plain.slice(16);
  // Base64 has bits to spare at its end: only the one spelling that we gave out counts.
  if (encode(plain) !== cursor || plain.slice(0, 16) !== checksum(`${list} ${position}`))
    throw new ApiError('invalid_cursor');
  return position;
}
