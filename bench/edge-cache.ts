type Kept = { status: number; headers: [string, string][]; body: Uint8Array; until: number };

const kept = new Map<string, Kept>();
const mostKept = 200_000;
const newline = '\r\n';

/** Where the header of a serialised HTTP response ends. */
function endOfHeader(bytes: Uint8Array): number {
  for (let at = 0; at + 3 < bytes.length; at++) {
    if (bytes[at] === 13 && bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at;
  }
  throw new Error('no HTTP response');
}

/**
 * Cloudflare's cache for a benchmark: what `caches.default` asks of its service, answered from memory. It keeps for
 * `max-age` and knows nothing of Vary, ranges or validators, which the store does not use.
 */
const worker = {
  async fetch(request: Request): Promise<Response> {
    if (request.method === 'GET') {
      const found = kept.get(request.url);
      if (!found || found.until <= Date.now()) {
        return new Response(null, { status: 504, headers: { 'cf-cache-status': 'MISS' } });
      }
      return new Response(found.body as BodyInit, {
        status: found.status,
        headers: [...found.headers, ['cf-cache-status', 'HIT']],
      });
    }
    if (request.method === 'PURGE') return new Response(null, { status: kept.delete(request.url) ? 200 : 404 });
    const bytes = new Uint8Array(await request.arrayBuffer());
    const end = endOfHeader(bytes);
    const [first = '', ...lines] = new TextDecoder().decode(bytes.subarray(0, end)).split(newline);
    const headers = lines.map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
    const maxAge = Number(/max-age=(\d+)/.exec(new Headers(headers).get('cache-control') ?? '')?.[1] ?? 0);
    if (kept.size >= mostKept) kept.clear();
    kept.set(request.url, {
      status: Number(first.split(' ')[1]),
      headers,
      body: bytes.slice(end + 4),
      until: Date.now() + maxAge * 1000,
    });
    return new Response(null, { status: 204 });
  },
};

export { worker as default };
