import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { KafkaError } from './error.ts';

/** A request body above this is refused whole, in bytes. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;

/** One HTTP request, read to its end. */
export interface Call {
  method: string;
  /** The segments of the path, decoded. */
  path: string[];
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  body: string;
  /** Aborts when the client has gone. */
  signal: AbortSignal;
}

export interface Answer {
  status: number;
  body: string | Buffer;
}

export function jsonAnswer(body: unknown, status = 200): Answer {
  return { status, body: JSON.stringify(body) };
}

/** Reads a request. 400 for a path that cannot be decoded, 413 for a body that is too large. */
export async function readCall(request: IncomingMessage, signal: AbortSignal): Promise<Call> {
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

export function sendAnswer(response: ServerResponse, answer: Answer): void {
  const headers: Record<string, string | number> = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(answer.body),
  };
  if (answer.status === 401) headers['www-authenticate'] = 'Basic realm="kafka"';
  response.writeHead(answer.status, headers).end(answer.body);
}

/**
 * Whether a call has the credentials: HTTP Basic, or for a webhook, whose sender may not be able to do that, the
 * query's `user` and `pass`. Compared in constant time.
 */
export function credentialsCheck(username: string, password: string): (call: Call) => boolean {
  const expected = digest(`${username}:${password}`);
  return (call) => {
    const [scheme, encoded] = (call.headers.authorization ?? '').split(' ');
    const basic = scheme?.toLowerCase() === 'basic' ? Buffer.from(encoded ?? '', 'base64').toString() : undefined;
    const inQuery = call.path[0] === 'webhook' ? `${call.query.get('user')}:${call.query.get('pass')}` : '';
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
    throw new KafkaError(400, `The path ${pathname} is not properly encoded`);
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= MAX_BODY_BYTES) chunks.push(chunk);
  }
  // Only now: to stop reading would break the connection before the answer.
  if (bytes > MAX_BODY_BYTES) throw new KafkaError(413, `The body is more than ${MAX_BODY_BYTES} bytes`);
  return Buffer.concat(chunks).toString();
}
