import { Buffer } from 'node:buffer';
import { KafkaUnavailable } from './publish/publisher.ts';

const defaultDeadlineMs = 8_000;

/** 4xx is about what was sent; these are about when, or about who we are: they pass, or an operator mends them. */
const passing = new Set([401, 402, 403, 407, 408, 425, 429]);

/** Whether a status says that no repetition will help. */
export const isPermanent = (status: number): boolean => status >= 400 && status < 500 && !passing.has(status);

/** How a producer behind the API says that it finds no such topic, or no broker to ask. */
export const reportsMissingTopic = (message: string): boolean =>
  /not present in metadata|update metadata/i.test(message);

/** A request that was answered with an error as a whole, as far as it can be understood. */
export class RequestRejected extends Error {
  readonly status: number;
  constructor(status: number, reason: string) {
    super(reason);
    this.name = 'RequestRejected';
    this.status = status;
  }
}

export type RestSettings = {
  /** Where the API begins; with a path, if it has one. */
  url: string;
  username?: string | undefined;
  password?: string | undefined;
  /** Sent as Bearer; goes before username and password. */
  token?: string | undefined;
  /** For each request with its answer; 8,000 if not given. */
  deadlineMs?: number | undefined;
};

/** `path` begins with a slash and is encoded. */
export type Rest = (method: string, path: string, body?: { type: string; text: string }) => Promise<Response>;

/** UTF-8 as base64: how every dialect carries bytes in JSON. */
export const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** The header that says who we are; none if nobody. */
export function authorization({ token, username, password }: RestSettings): Record<string, string> {
  if (token !== undefined) return { authorization: `Bearer ${token}` };
  if (username === undefined) return {};
  return { authorization: `Basic ${base64(`${username}:${password ?? ''}`)}` };
}

/**
 * A broker's HTTP interface, asked once for each call. The answer's body, too, has to be read within the deadline.
 * @throws KafkaUnavailable without an answer in time, and for a redirect: credentials are not carried elsewhere
 */
export function openRest(settings: RestSettings): Rest {
  const base = settings.url.replace(/\/+$/, '');
  const deadlineMs = settings.deadlineMs ?? defaultDeadlineMs;
  const known = authorization(settings);
  return async (method, path, body) => {
    const headers = { accept: '*/*', ...known, ...(body && { 'content-type': body.type }) };
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
      throw new KafkaUnavailable(signal.aborted ? `no answer in ${deadlineMs} ms` : 'no connection');
    }
  };
}

/** The whole body. @throws KafkaUnavailable if it breaks off */
export async function readText(response: Response): Promise<string> {
  return response.text().catch(() => {
    throw new KafkaUnavailable('no answer before the connection broke');
  });
}

/** A body as JSON. @throws KafkaUnavailable if it is none: something else lives at this address */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new KafkaUnavailable('an answer that cannot be understood');
  }
}

/**
 * What an error status with its body says: `{error_code, message}` in every dialect.
 * @throws KafkaUnavailable if it passes; RequestRejected if no repetition will help
 */
export function throwErrorResponse(status: number, text: string): never {
  let said = text.trim().slice(0, 200);
  try {
    const { message, error } = JSON.parse(text) as { message?: unknown; error?: unknown };
    said = String(message ?? error ?? said);
  } catch {
    // Not JSON: of a proxy in between. Its text is as good.
  }
  if (!isPermanent(status)) throw new KafkaUnavailable(`${status}: ${said}`);
  throw new RequestRejected(status, `${status}: ${said}`);
}
