import { ApiError, ClientGone } from './errors.ts';

export const maxBodyBytes = 1_048_576;

/**
 * The chunks of a request's body as they arrive.
 * @throws ClientGone, if the client leaves before its end
 */
export async function* chunksOf(request: Request): AsyncGenerator<Uint8Array> {
  const reader = request.body?.getReader();
  if (!reader) return;
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => {
        ended = true;
        throw new ClientGone();
      });
      ended = done;
      if (done) return;
      yield value;
    }
  } finally {
    // Whoever stops early does not want the rest.
    if (!ended) await reader.cancel().catch(() => undefined);
  }
}

/** How many bytes a request says that its body has; undefined, if it does not say. */
export function declaredLength(request: Request): number | undefined {
  if (request.body === null) return 0;
  const length = request.headers.get('content-length');
  return length !== null && /^\d{1,15}$/.test(length) ? Number(length) : undefined;
}

/**
 * A whole body of at most 1 MB, and of no more than the request has declared.
 * @throws ApiError body_too_large
 * @throws ClientGone
 */
export async function readBytes(request: Request): Promise<Uint8Array<ArrayBuffer>> {
  const declared = declaredLength(request);
  if (declared !== undefined) {
    if (declared > maxBodyBytes) throw new ApiError('body_too_large');
    // At once: chunk by chunk costs more than anything else that is done with a body.
    const whole = await request.arrayBuffer().catch(() => {
      throw new ClientGone();
    });
    if (whole.byteLength > declared) throw new ApiError('body_too_large');
    return new Uint8Array(whole);
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunksOf(request)) {
    size += chunk.byteLength;
    if (size > maxBodyBytes) throw new ApiError('body_too_large');
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

/** Reads a body when it is first asked for, and then gives the same bytes. */
export function readOnce(request: Request): () => Promise<Uint8Array> {
  let bytes: Promise<Uint8Array> | undefined;
  return () => {
    bytes ??= readBytes(request);
    return bytes;
  };
}
