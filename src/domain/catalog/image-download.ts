import { ApiError } from '../../base/errors.ts';
import { checkPublicUrl, RefusedUrl, type UrlRules } from '../../base/public-url.ts';
import { imageTooLarge, maxImageBytes } from './image-content.ts';

const maxRedirects = 3;
/** How long a download may take, with DNS, redirects and the body. */
const deadlineMs = 15_000;
/** How many bytes all downloads of an isolate may hold. An isolate has 128 MB for everything. */
const maxHeldBytes = 41_943_040;
let heldBytes = 0;

const redirectStatuses = new Set([301, 302, 303, 307, 308]);
/** Statuses of 4xx that may be gone at the next attempt. */
const temporaryStatuses = new Set([408, 425, 429]);

/** A download that failed. `permanent`: another attempt would fail too. The reason never has the URL, for the log. */
export class DownloadError extends Error {
  readonly permanent: boolean;

  constructor(reason: string, permanent: boolean) {
    super(reason);
    this.name = 'DownloadError';
    this.permanent = permanent;
  }
}

/** Asks for a file and follows at most three redirects, each of which must lead to a public address too. */
async function request(text: string, rules: UrlRules, signal: AbortSignal): Promise<Response> {
  let next = text;
  for (let redirects = 0; redirects <= maxRedirects; redirects++) {
    const url = await checkPublicUrl(next, rules);
    const headers = { Accept: 'image/avif,image/webp,image/png,image/jpeg', 'User-Agent': 'FusionCommerce' };
    const response = await fetch(url, { redirect: 'manual', signal, headers });
    if (!redirectStatuses.has(response.status)) return response;
    await response.body?.cancel();
    const location = response.headers.get('location');
    if (location === null || !URL.canParse(location, url)) {
      throw new DownloadError('The server redirects without saying where to.', true);
    }
    next = new URL(location, url).href;
  }
  throw new DownloadError(`The server redirects more than ${maxRedirects} times.`, true);
}

/** Reads a body of at most 10 MB, whatever length it declares. Adds its bytes to `held`. */
async function readBody(response: Response, held: { bytes: number }): Promise<Uint8Array> {
  const tooLarge = new DownloadError(imageTooLarge, true);
  if (Number(response.headers.get('content-length')) > maxImageBytes) {
    await response.body?.cancel();
    throw tooLarge;
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body ?? []) {
    held.bytes += chunk.byteLength;
    heldBytes += chunk.byteLength;
    if (held.bytes > maxImageBytes) throw tooLarge;
    if (heldBytes > maxHeldBytes) throw new DownloadError('Too many images are being fetched at once.', false);
    chunks.push(chunk);
  }
  const whole = new Uint8Array(held.bytes);
  let position = 0;
  for (const chunk of chunks) {
    whole.set(chunk, position);
    position += chunk.byteLength;
  }
  return whole;
}

function toDownloadError(error: unknown): DownloadError {
  if (error instanceof DownloadError) return error;
  if (error instanceof RefusedUrl) return new DownloadError(error.message, error.permanent);
  if (error instanceof ApiError) return new DownloadError(error.message, error.code !== 'unavailable');
  const isLate = error instanceof Error && ['TimeoutError', 'AbortError'].includes(error.name);
  return new DownloadError(
    isLate ? 'The server did not respond within 15 s.' : 'The server could not be reached.',
    false,
  );
}

/**
 * Downloads a file from a URL that a client has given, and passes it to `store`. The whole takes at most 15 s, but for
 * `store`.
 * @throws DownloadError
 */
export async function download<T>(text: string, rules: UrlRules, store: (bytes: Uint8Array) => Promise<T>): Promise<T> {
  const held = { bytes: 0 };
  try {
    const response = await request(text, rules, AbortSignal.timeout(deadlineMs));
    if (!response.ok) {
      await response.body?.cancel();
      const permanent = response.status < 500 && !temporaryStatuses.has(response.status);
      throw new DownloadError(`The server responded with status ${response.status}.`, permanent);
    }
    return await store(await readBody(response, held));
  } catch (error) {
    throw toDownloadError(error);
  } finally {
    heldBytes -= held.bytes;
  }
}
