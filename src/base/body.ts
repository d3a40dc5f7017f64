import { ApiError, ClientGone } from './errors.ts';

export const maxBodyBytes = 1_048_576;

/** The limit of a body, and the error's detail if it is not the usual limit of 1 MB. */
type Limit = { bytes: number; detail?: string };

/** workerd reads 4 kB at a time unless the reader brings its own buffer, and each read costs as much as parsing 4 kB. */
const chunkBytes = 65_536;

/**
 * Yields the chunks of a request's body as they arrive, each in memory of its own, as large as the chunk: a body may
 * come byte by byte.
 * @throws ClientGone if the client disconnects before the end
 */
export async function* chunksOf(request: Request): AsyncGenerator<Uint8Array> {
  const reader = request.body?.getReader({ mode: 'byob' });
  if (!reader) return;
  let buffer = new ArrayBuffer(chunkBytes);
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read(new Uint8Array(buffer)).catch(() => {
        ended = true;
        throw new ClientGone();
      });
      ended = done;
      if (done) return;
      yield value.slice();
      buffer = value.buffer;
    }
  } finally {
    // A caller that stops early does not want the rest.
    if (!ended) await reader.cancel().catch(() => undefined);
  }
}

/** The length of the body that a request declares, in bytes. Undefined if it declares none. */
export function declaredLength(request: Request): number | undefined {
  if (request.body === null) return 0;
  const length = request.headers.get('content-length');
  return length !== null && /^\d{1,15}$/.test(length) ? Number(length) : undefined;
}

/**
 * Reads a whole body, of at most the limit (1 MB) and at most the declared length.
 * @throws ApiError body_too_large
 * @throws ClientGone if the client disconnects before the end
 */
export async function readBytes(
  request: Request,
  { bytes: limit, detail }: Limit = { bytes: maxBodyBytes },
): Promise<Uint8Array<ArrayBuffer>> {
  const declared = declaredLength(request);
  if (declared !== undefined) {
    if (declared > limit) throw new ApiError('body_too_large', detail);
    // In one call: reading chunk by chunk costs more than everything else that happens to a body.
    const whole = await request.arrayBuffer().catch(() => {
      throw new ClientGone();
    });
    if (whole.byteLength > declared) throw new ApiError('body_too_large');
    return new Uint8Array(whole);
  }
  let whole = new Uint8Array(chunkBytes);
  let size = 0;
  for await (const chunk of chunksOf(request)) {
    const end = size + chunk.byteLength;
    if (end > limit) throw new ApiError('body_too_large', detail);
    if (end > whole.byteLength) {
      const larger = new Uint8Array(Math.min(Math.max(2 * whole.byteLength, end), limit));
      larger.set(whole.subarray(0, size));
      whole = larger;
    }
    whole.set(chunk, size);
    size = end;
  }
  return whole.slice(0, size);
}

/** Returns a function that reads the body on its first call and returns the same bytes on every later call. */
export function readOnce(request: Request): () => Promise<Uint8Array> {
  let bytes: Promise<Uint8Array> | undefined;
  return () => {
    bytes ??= readBytes(request);
    return bytes;
  };
}
