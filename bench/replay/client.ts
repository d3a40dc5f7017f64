import { createHash } from 'node:crypto';
import { ReadableStream, TextEncoderStream } from 'node:stream/web';
import { setTimeout as sleep } from 'node:timers/promises';
import { ReplayError } from './file.ts';

/** Thrown after Ctrl-C. Requests in flight are completed, and no more are sent. */
export class Stopped extends Error {}

export type ApiResult = { status: number; code: string; detail: string; replayed: boolean; body: unknown };

export type ApiRequest = {
  /** Default: POST */
  method?: 'POST' | 'PUT';
  path: string;
  /** A JSON value, or a function that returns the lines of a stream, called for each attempt. */
  body: { json: unknown } | { ndjson: () => Iterable<string> };
  idempotencyKey: string;
  /** How long a request is retried after a transient failure (429, 503, no response), in ms. Default: 60,000. */
  retryForMs?: number;
  /** Called before each retry with the reason. */
  onRetry?: (reason: string) => void;
};

export type Client = { send: (request: ApiRequest) => Promise<ApiResult> };

const deadlineMs = 60_000;
const maxPauseMs = 5_000;
/** A request fails for good after this many responses with status 500. */
const maxServerErrors = 5;

/**
 * Whether the same request may succeed later. This includes 500, whose outcome is unknown: the Idempotency-Key makes a
 * retry safe.
 */
const isTransient = ({ status, code }: ApiResult): boolean =>
  status === 429 || status >= 500 || code === 'idempotency_in_progress' || status === 408;

/** The code or message of the error that caused a failure of fetch. */
export function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  const inner = cause instanceof AggregateError ? cause.errors[0] : (cause ?? error);
  const { code, message } = inner as NodeJS.ErrnoException;
  // The code of a timeout is a number without meaning to the user.
  return typeof code === 'string' ? code : (message ?? String(inner));
}

function bodyOf({ body }: ApiRequest): RequestInit {
  if ('json' in body) return { body: JSON.stringify(body.json) };
  const lines = ReadableStream.from(body.ndjson()).pipeThrough(new TextEncoderStream());
  return { body: lines, duplex: 'half' } as unknown as RequestInit;
}

async function readResult(response: Response): Promise<ApiResult> {
  const text = await response.text();
  let body: unknown = {};
  try {
    body = JSON.parse(text);
  } catch {
    // Not JSON, for example the error page of a proxy. The status is enough.
  }
  const { code, detail, errors } = (body ?? {}) as { code?: unknown; detail?: unknown; errors?: { detail: string }[] };
  const errorDetails = errors?.map((error) => error.detail).join(' ') ?? '';
  return {
    status: response.status,
    code: typeof code === 'string' ? code : `status ${response.status}`,
    detail: [detail, errorDetails].filter(Boolean).join(' ').slice(0, 300),
    replayed: response.headers.has('idempotent-replayed'),
    body,
  };
}

/**
 * Sends requests to the API and retries transient failures with the same Idempotency-Key, so that nothing happens twice. All
 * requests share one trace id, which marks the events of this file in the database.
 * @throws ReplayError if the platform stays unavailable for `retryForMs` or rejects the API key; Stopped if `signal`
 * aborts
 */
export function createClient(options: { url: string; key: string; trace: string; signal: AbortSignal }): Client {
  async function attempt(
    request: ApiRequest,
    isLast: boolean,
  ): Promise<ApiResult | { transient: string; retryAfterMs: number }> {
    const span = createHash('sha256').update(request.idempotencyKey).digest('hex').slice(0, 15);
    try {
      const response = await fetch(options.url + request.path, {
        method: request.method ?? 'POST',
        headers: {
          authorization: `Bearer ${options.key}`,
          'content-type': 'json' in request.body ? 'application/json' : 'application/x-ndjson',
          'idempotency-key': request.idempotencyKey,
          traceparent: `00-${options.trace}-1${span}-01`,
        },
        signal: AbortSignal.timeout(deadlineMs),
        ...bodyOf(request),
      });
      const result = await readResult(response);
      if (!isTransient(result) || (result.status === 500 && isLast)) return result;
      const retryAfterMs = Number(response.headers.get('retry-after') ?? 0) * 1000;
      return { transient: `${result.status} ${result.code}`, retryAfterMs };
    } catch (error) {
      return { transient: reasonOf(error), retryAfterMs: 0 };
    }
  }

  return {
    async send(request) {
      const until = performance.now() + (request.retryForMs ?? 60_000);
      for (let attempts = 1; ; attempts++) {
        if (options.signal.aborted) throw new Stopped();
        const result = await attempt(request, attempts >= maxServerErrors);
        if (!('transient' in result)) {
          if (result.status === 401 || result.status === 403) {
            throw new ReplayError(`${options.url} rejects the API key (--key): ${result.code}, ${result.detail}`);
          }
          return result;
        }
        if (performance.now() > until) {
          throw new ReplayError(
            `${request.method ?? 'POST'} ${options.url}${request.path} has failed ${attempts} times (${result.transient}). ` +
              'Run the same command again when the platform is available: it continues from here.',
          );
        }
        request.onRetry?.(result.transient);
        const pause = Math.max(
          result.retryAfterMs,
          Math.min(50 * 2 ** attempts, maxPauseMs) * (0.5 + Math.random() / 2),
        );
        await sleep(pause, undefined, { signal: options.signal }).catch(() => undefined);
      }
    },
  };
}

/** @throws ReplayError if no platform responds at this address */
export async function checkPlatform(url: string): Promise<void> {
  let problem: string;
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(30_000) });
    await response.text();
    if (response.ok) return;
    problem = `GET /healthz returns ${response.status}`;
  } catch (error) {
    problem = reasonOf(error);
  }
  throw new ReplayError(
    `no platform at ${url} (${problem}): start it with "npm start", or give its address with --url`,
  );
}
