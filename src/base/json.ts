import { chunksOf, readBytes } from './body.ts';
import { ApiError, pointerTo } from './errors.ts';
import { maxLevels, scanJson } from './json-scan.ts';

/** The maximum number of values in a body. An order of 1,200 lines has about 4,000. */
const maxValues = 20_000;
/** A text of at most this length cannot be nested too deeply, since each level takes two characters. */
const shortText = 2 * maxLevels;
const tooDeep = 'nested too deeply';

/**
 * Parses JSON and never rounds a number silently. A number that a double cannot hold (`29.990000000000000001`) becomes
 * Infinity, which every schema rejects.
 * @throws SyntaxError if the text is invalid or nested too deeply
 * @throws ApiError body_too_large if it has more than `maxValues` values
 */
export function parseJson(text: string, maxValues?: number): unknown {
  // The scan finds nothing in a short text without long numbers and exponents.
  if (text.length <= shortText && !/[\d.]{16}|\d[eE]/.test(text)) return JSON.parse(text);
  const scan = scanJson(text, maxValues);
  if (scan.levels > maxLevels) throw new SyntaxError(tooDeep);
  if (maxValues !== undefined && scan.values > maxValues) {
    throw new ApiError('body_too_large', `A body may have ${maxValues} values at most.`);
  }
  return JSON.parse(scan.text);
}

const isStorable = (text: string): boolean => !text.includes('\0') && text.isWellFormed();

/** The path to the object with a field name that Postgres cannot store (a NUL or half of a surrogate pair). */
function findUnstorableName(value: unknown): string[] | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [name, inner] of Object.entries(value)) {
    if (!isStorable(name)) return [];
    const path = findUnstorableName(inner);
    if (path) return [name, ...path];
  }
  return undefined;
}

/** The path to the first text, or to the object with the first field name, that Postgres cannot store. */
export function findUnstorable(value: unknown): string[] | undefined {
  if (typeof value === 'string') return isStorable(value) ? undefined : [];
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [name, inner] of Object.entries(value)) {
    if (!isStorable(name)) return [];
    const path = findUnstorable(inner);
    if (path) return [name, ...path];
  }
  return undefined;
}

/** Schemas check texts, but not the names of unknown fields. @throws ApiError validation_failed */
function checkNames(text: string, value: unknown): void {
  // Only an escape sequence can put such a character into a name.
  const path = /\\u(0000|d[89a-f])/i.test(text) ? findUnstorableName(value) : undefined;
  if (path === undefined) return;
  const faults = [{ pointer: pointerTo(path), detail: 'has a field whose name is not valid text' }];
  throw new ApiError('validation_failed', undefined, { faults });
}

/** Decodes a body, which must be UTF-8. Drops a byte order mark at the start. @throws ApiError malformed_json */
export function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch {
    throw new ApiError('malformed_json', 'The body is not UTF-8.');
  }
}

/** Parses the text of a body. @throws ApiError malformed_json, body_too_large (too many values) */
export function parseBody(text: string, maxCount?: number): unknown {
  try {
    return parseJson(text, maxCount);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const detail = error.message === tooDeep ? `The body is nested more than ${maxLevels} levels deep.` : undefined;
    throw new ApiError('malformed_json', detail);
  }
}

/**
 * Reads and parses a request's JSON body. Returns `{}` if there is no body.
 * @throws ApiError unsupported_media_type, body_too_large, malformed_json, validation_failed
 * @throws ClientGone if the client disconnects before the end
 */
export async function readJson(request: Request): Promise<unknown> {
  const type = request.headers.get('content-type') ?? '';
  if (!/^application\/([\w.-]+\+)?json\s*(;|$)/i.test(type)) {
    for await (const chunk of chunksOf(request)) {
      if (chunk.byteLength > 0) throw new ApiError('unsupported_media_type');
    }
    return {};
  }
  const bytes = await readBytes(request);
  if (bytes.byteLength === 0) return {};
  const text = decodeText(bytes);
  const value = parseBody(text, maxValues);
  checkNames(text, value);
  return value;
}
