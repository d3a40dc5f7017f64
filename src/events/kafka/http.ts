import { Buffer } from 'node:buffer';
import { KafkaUnavailable } from './publish/publisher.ts';

const defaultDeadlineMs = 8_000;

/** Most 4xx mean that the request is wrong. These depend on the time or on our credentials, so a retry can succeed. */
const transientStatuses = new Set([401, 402, 403, 407, 408, 425, 429]);

/** Whether a status means that no retry can succeed. */
export const isPermanent = (status: number): boolean => status >= 400 && status < 500 && !transientStatuses.has(status);

/** Whether a message says that the API's producer found no such topic, or no broker to ask. */
export const reportsMissingTopic = (message: string): boolean =>
  /not present in metadata|update metadata/i.test(message);

/** The server rejected a whole request with an error that a retry cannot fix. */
export class RequestRejected extends Error {
  readonly status: number;
  constructor(status: number, reason: string) {
    super(reason);
    this.name = 'RequestRejected';
    this.status = status;
  }
}

export type RestSettings = {
  /** The base URL of the API, with its path, if any. */
  url: string;
  username?: string | undefined;
  password?: string | undefined;
  /** Sent as a Bearer token. Takes precedence over username and password. */
  token?: string | undefined;
  /** The deadline of a request with its response, in milliseconds. Default: 8,000. */
  deadlineMs?: number | undefined;
};

/** Sends one request. `path` begins with a slash and is percent-encoded. */
export type Rest = (method: string, path: string, body?: { type: string; text: string }) => Promise<Response>;

/** UTF-8 text as base64, which every dialect uses for bytes in JSON. */
export const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** The authorization header; none without credentials. */
export function authorization({ token, username, password }: RestSettings): Record<string, string> {
  if (token !== undefined) return { authorization: `Bearer ${token}` };
  if (username === undefined) return {};
  return { authorization: `Basic ${base64(`${username}:${password ?? ''}`)}` };
}

/**
 * A client of a broker's HTTP interface. It sends each request once. The caller must read the response's body within
 * the deadline too.
 * @throws KafkaUnavailable without a response in time, and for a redirect, since credentials must not go to another
 * server
 */
export function openRest(settings: RestSettings): Rest {
  const base = settings.url.replace(/\/+$/, '');
  const deadlineMs = settings.deadlineMs ?? defaultDeadlineMs;
  const credentials = authorization(settings);
  return async (method, path, body) => {
    const headers = { accept: '*/*', ...credentials, ...(body && { 'content-type': body.type }) };
    const signal = AbortSignal.timeout(deadlineMs);
    try {
      const response = await fetch(base + path, {
        method,
        headers,
        signal,
        redirect: 'manual',
        ...(body && { body: body.text }),
      });
      if (response.status >= 300 && response.status < 400) throw new KafkaUnavailable(`${response.status}: a redirect`);
      return response;
    } catch (error) {
      if (error instanceof KafkaUnavailable) throw error;
      throw new KafkaUnavailable(signal.aborted ? `no response in ${deadlineMs} ms` : 'no connection');
    }
  };
}

/** Reads the whole body. @throws KafkaUnavailable if the connection breaks */
export async function readText(response: Response): Promise<string> {
  return response.text().catch(() => {
    throw new KafkaUnavailable('no response before the connection broke');
  });
}

/** Parses a body. @throws KafkaUnavailable if it is not JSON: another service runs at this address */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new KafkaUnavailable('the response is not JSON');
  }
}

/**
 * Throws the error of an error response. Every dialect uses `{error_code, message}`.
 * @throws KafkaUnavailable if a retry can succeed, RequestRejected if not
 */
export function throwErrorResponse(status: number, text: string): never {
  let reason = text.trim().slice(0, 200);
  try {
    const { message, error } = JSON.parse(text) as { message?: unknown; error?: unknown };
    reason = String(message ?? error ?? reason);
  } catch {
    // Not JSON: a proxy responded. Use its text.
  }
  if (!isPermanent(status)) throw new KafkaUnavailable(`${status}: ${reason}`);
  throw new RequestRejected(status, `${status}: ${reason}`);
}
