import { chunksOf, readBytes } from './body.ts';
import { ApiError, pointerTo } from './errors.ts';
import { maxLevels, scanJson } from './json-scan.ts';

/** So many values a body may have; an order of 1,200 lines has some 4,000. */
const maxValues = 20_000;
/** Texts of up to this length cannot be nested too deeply: each level takes two characters. */
const shortText = 2 * maxLevels;
const tooDeep = 'nested too deeply';

/**
 * Parses JSON without losing a digit unseen: a number that a double cannot hold (`29.990000000000000001`) becomes
 * Infinity, which no schema takes. It is therefore refused and never rounded.
 * @throws SyntaxError, also for a text that is nested too deeply
 * @throws ApiError body_too_large, if it has more than `maxValues` values
 */
export function parseJson(text: string, maxValues?: number): unknown {
  // A short text without long numbers and exponents can have nothing that the scan looks for.
  if (text.length <= shortText && !/[\d.]{16}|\d[eE]/.test(text)) return JSON.parse(text);
  const scan = scanJson(text, maxValues);
  if (scan.levels > maxLevels) throw new SyntaxError(tooDeep);
  if (maxValues !== undefined && scan.values > maxValues) {
    throw new ApiError('body_too_large', `A body may have ${maxValues} values at most.`);
  }
  return JSON.parse(scan.text);
}

const isStorable = (text: string): boolean => !text.includes('\0') && text.isWellFormed();

/** The path to a member whose name Postgres cannot store, to the object that has it: a NUL or half of a surrogate pair. */
function findUnstorableName(value: unknown): string[] | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [name, inner] of Object.entries(value)) {
    if (!isStorable(name)) return [];
    const path = findUnstorableName(inner);
    if (path) return [name, ...path];
  }
  return undefined;
}

/** The path to a text or to the name of a member that Postgres cannot store. */
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

/** @throws ApiError validation_failed: schemas check texts, but not the names of members that they do not know */
function checkNames(text: string, value: unknown): void {
  // Only an escape can make such a name.
  const path = /\\u(0000|d[89a-f])/i.test(text) ? findUnstorableName(value) : undefined;
  if (path === undefined) return;
  const faults = [{ pointer: pointerTo(path), detail: 'has a member whose name is not valid text' }];
  throw new ApiError('validation_failed', undefined, { faults });
}

/** The text of a body, which must be UTF-8; a byte order mark at its start is left out. @throws ApiError malformed_json */
export function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch {
    throw new ApiError('malformed_json', 'The body is not UTF-8.');
  }
}

/** The JSON of a body's text. @throws ApiError malformed_json, body_too_large (too many values) */
export function jsonOf(text: string, most?: number): unknown {
  try {
    return parseJson(text, most);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const detail = error.message === tooDeep ? `The body is nested more than ${maxLevels} levels deep.` : undefined;
    throw new ApiError('malformed_json', detail);
  }
}

/**
 * A request's JSON; no body at all counts as `{}`.
 * @throws ApiError unsupported_media_type, body_too_large, malformed_json, validation_failed
 * @throws ClientGone
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
  const text = textOf(bytes);
  const value = jsonOf(text, maxValues);
  checkNames(text, value);
  return value;
}
