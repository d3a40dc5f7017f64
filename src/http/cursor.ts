import { ApiError } from '../base/errors.ts';

/** Longer than any cursor that we return: the longest has a name of 500 characters. */
const maxLength = 4_000;

/** FNV-1a, 64 bits: detects a cursor that was changed or belongs to another list. It protects no secret. */
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

/** The cursor after a row, for one list with its filters. `position` is the row's key. */
export const toCursor = (list: string, position: string): string =>
  encode(`${checksum(`${list} ${position}`)}${position}`);

/** @throws ApiError invalid_cursor, if it was changed or belongs to another list or other filters */
export function fromCursor(list: string, cursor: string | undefined): string | undefined {
  if (cursor === undefined) return undefined;
  if (cursor.length > maxLength) throw new ApiError('invalid_cursor');
  let decoded: string;
  try {
    decoded = decode(cursor);
  } catch {
    throw new ApiError('invalid_cursor');
  }
  const position = decoded.slice(16);
  // Several base64 texts decode to the same bytes. Only the one that we returned is valid.
  if (encode(decoded) !== cursor || decoded.slice(0, 16) !== checksum(`${list} ${position}`))
    throw new ApiError('invalid_cursor');
  return position;
}
