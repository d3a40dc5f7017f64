import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { KafkaError } from './error.ts';

/** The largest request body that is accepted, in bytes. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;

/** One HTTP request with its whole body. */
export interface HttpRequest {
  method: string;
  /** The decoded segments of the path. */
  path: string[];
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  body: string;
  /** Aborts when the client disconnects. */
  signal: AbortSignal;
}

export interface HttpResponse {
  status: number;
  body: string | Buffer;
}

export function jsonResponse(body: unknown, status = 200): HttpResponse {
  return { status, body: JSON.stringify(body) };
}

/** Reads a request. 400 for a path that cannot be decoded, 413 for a body that is too large. */
export async function readRequest(request: IncomingMessage, signal: AbortSignal): Promise<HttpRequest> {
  const [pathname = '', ...query] = (request.url ?? '/').split('?');
  return {
    method: request.method ?? 'GET',
    path: decodePath(pathname),
    query: new URLSearchParams(query.join('?')),
    headers: request.headers,
    body: await readBody(request),
    signal,
  };
}

export function sendResponse(response: ServerResponse, result: HttpResponse): void {
  const headers: Record<string, string | number> = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(result.body),
  };
  if (result.status === 401) headers['www-authenticate'] = 'Basic realm="kafka"';
  response.writeHead(result.status, headers).end(result.body);
}

/**
 * Returns a check of a request's credentials: HTTP Basic or, for webhooks, `user` and `pass` in the query, because some
 * senders cannot set headers. Compares in constant time.
 */
export function credentialsCheck(username: string, password: string): (request: HttpRequest) => boolean {
  const expected = digest(`${username}:${password}`);
  return (request) => {
    const [scheme, encoded] = (request.headers.authorization ?? '').split(' ');
    const basic = scheme?.toLowerCase() === 'basic' ? Buffer.from(encoded ?? '', 'base64').toString() : undefined;
    const inQuery = request.path[0] === 'webhook' ? `${request.query.get('user')}:${request.query.get('pass')}` : '';
    return timingSafeEqual(digest(basic ?? inQuery), expected);
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function decodePath(pathname: string): string[] {
  try {
    return pathname
      .split('/')
      .filter((segment) => segment !== '')
      .map(decodeURIComponent);
  } catch {
    throw new KafkaError(400, `The path ${pathname} has an invalid percent-encoding`);
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= MAX_BODY_BYTES) chunks.push(chunk);
  }
  // Read the whole body first: otherwise the connection closes before the client gets the response.
  if (bytes > MAX_BODY_BYTES) throw new KafkaError(413, `The body is larger than ${MAX_BODY_BYTES} bytes`);
  return Buffer.concat(chunks).toString();
}
