import { ApiError } from './errors.ts';

const limitBytes = 1_048_576;

/**
 * The bytes of a body, read only as far as they are allowed: 1 MB.
 * @throws ApiError body_too_large
 */
async function readBody(request: Request): Promise<Uint8Array> {
  if (Number(request.headers.get('content-length') ?? 0) > limitBytes) throw new ApiError('body_too_large');
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size > limitBytes) throw new ApiError('body_too_large');
    chunks.push(chunk);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole;
}

/**
 * A body as text, for a signature over it.
 * @throws ApiError body_too_large
 */
export const readText = async (request: Request): Promise<string> => new TextDecoder().decode(await readBody(request));

/** The digits of a number without sign, point, exponent and the zeros that do not count. */
function digits(written: string): string {
  const [mantissa = '', exponent = '0'] = written.toLowerCase().replace(/^-/, '').split('e');
  const [whole = '', fraction = ''] = mantissa.split('.');
  const plain = (whole + fraction).replace(/^0+/, '');
  const significant = plain.replace(/0+$/, '');
  return `${significant}e${significant ? Number(exponent) - fraction.length + (plain.length - significant.length) : 0}`;
}

/**
 * Parses JSON without losing a digit unseen: a number that a double cannot hold (`29.990000000000000001`) becomes NaN,
 * which no schema takes, so that it is refused instead of rounded.
 */
export function parseJson(body: string): unknown {
  // Up to 15 digits a double holds any decimal: only longer numbers need a second look.
  if (!/[\d.]{16}|\d[eE]/.test(body)) return JSON.parse(body);
  return JSON.parse(body, (_key, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' && context?.source !== undefined && digits(context.source) !== digits(String(value))
      ? Number.NaN
      : value,
  );
}

/** Where a member has a name that Postgres cannot keep: with a NUL or half of a surrogate pair. */
function misnamed(value: unknown, pointer = ''): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [name, inner] of Object.entries(value)) {
    if (name.includes('\0') || !name.isWellFormed()) return pointer;
    const found = misnamed(inner, `${pointer}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** @throws ApiError validation_failed: schemas look at what texts are, and not at what open objects call them */
function checkNames(text: string, value: unknown): void {
  // Only an escape can make such a name.
  const pointer = /\\u(0000|d[89a-f])/i.test(text) ? misnamed(value) : undefined;
  if (pointer === undefined) return;
  const faults = [{ pointer, detail: 'has a member whose name is no text' }];
  throw new ApiError('validation_failed', undefined, { faults });
}

/**
 * A request's JSON; nothing at all counts as `{}`.
 * @throws ApiError unsupported_media_type, body_too_large, malformed_json, validation_failed
 */
export async function readJson(request: Request): Promise<unknown> {
  const bytes = await readBody(request);
  if (bytes.byteLength === 0) return {};
  const type = request.headers.get('content-type') ?? '';
  if (!/^application\/([\w.-]+\+)?json\s*(;|$)/i.test(type)) throw new ApiError('unsupported_media_type');
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes);
    const value = parseJson(text);
    checkNames(text, value);
    return value;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) throw new ApiError('malformed_json');
    // The check of its numbers goes down into it, as far as the stack allows.
    if (error instanceof RangeError) throw new ApiError('malformed_json', 'The body is nested too deeply.');
    throw error;
  }
}
