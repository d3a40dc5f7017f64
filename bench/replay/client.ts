import { createHash } from 'node:crypto';
import { ReadableStream, TextEncoderStream } from 'node:stream/web';
import { setTimeout as sleep } from 'node:timers/promises';
import { ReplayError } from './file.ts';

/** Ctrl-C: what was sent is answered, nothing more is sent. */
export class Stopped extends Error {}

export type Answer = { status: number; code: string; detail: string; replayed: boolean; body: unknown };

export type Post = {
  path: string;
  /** A JSON value, or the lines of a stream, made anew for each attempt. */
  body: { json: unknown } | { ndjson: () => Iterable<string> };
  idempotencyKey: string;
  /** For how long an answer that passes (429, 503, none at all) is tried again, in milliseconds. */
  patienceMs?: number;
  onWait?: (why: string) => void;
};

export type Client = { post: (request: Post) => Promise<Answer> };

const deadlineMs = 60_000;
const longestPauseMs = 5_000;
/** A request that is answered by 500 this many times has found a fault, and counts as failed. */
const mostFaults = 5;

/** Whether the same request may get another answer later. A 500 may: its outcome is unknown, and the key makes it safe. */
const passes = ({ status, code }: Answer): boolean =>
  status === 429 || status >= 500 || code === 'idempotency_in_progress' || status === 408;

/** The error below all the wrapping of fetch, in a few words. */
export function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  const inner = cause instanceof AggregateError ? cause.errors[0] : (cause ?? error);
  const { code, message } = inner as NodeJS.ErrnoException;
  // A deadline's code is a number that tells nobody anything.
  return typeof code === 'string' ? code : (message ?? String(inner));
}

function bodyOf({ body }: Post): RequestInit {
  if ('json' in body) return { body: JSON.stringify(body.json) };
  const lines = ReadableStream.from(body.ndjson()).pipeThrough(new TextEncoderStream());
  return { body: lines, duplex: 'half' } as unknown as RequestInit;
}

async function readAnswer(response: Response): Promise<Answer> {
  const text = await response.text();
  let body: unknown = {};
  try {
    body = JSON.parse(text);
  } catch {
    // A proxy's page: its status says enough.
  }
  const { code, detail, errors } = (body ?? {}) as { code?: unknown; detail?: unknown; errors?: { detail: string }[] };
  const more = errors?.map((error) => error.detail).join(' ') ?? '';
  return {
    status: response.status,
    code: typeof code === 'string' ? code : `status ${response.status}`,
    detail: [detail, more].filter(Boolean).join(' ').slice(0, 300),
    replayed: response.headers.has('idempotent-replayed'),
    body,
  };
}

/**
 * Posts to the API until there is an answer that stays: with the same Idempotency-Key, so nothing happens twice. All
 * requests share one trace, by which the database knows the events that this file has caused.
 * @throws ReplayError the platform stays away for a minute, or refuses the key; Stopped when `signal` says so
 */
export function createClient(options: { url: string; key: string; trace: string; signal: AbortSignal }): Client {
  async function attempt(request: Post, last: boolean): Promise<Answer | { away: string; after: number }> {
    const span = createHash('sha256').update(request.idempotencyKey).digest('hex').slice(0, 15);
    try {
      const response = await fetch(options.url + request.path, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${options.key}`,
          'content-type': 'json' in request.body ? 'application/json' : 'application/x-ndjson',
          'idempotency-key': request.idempotencyKey,
          traceparent: `00-${options.trace}-1${span}-01`,
        },
        signal: AbortSignal.timeout(deadlineMs),
        ...bodyOf(request),
      });
      const answer = await readAnswer(response);
      if (!passes(answer) || (answer.status === 500 && last)) return answer;
      const after = Number(response.headers.get('retry-after') ?? 0) * 1000;
      return { away: `${answer.status} ${answer.code}`, after };
    } catch (error) {
      return { away: reasonOf(error), after: 0 };
    }
  }

  return {
    async post(request) {
      const until = performance.now() + (request.patienceMs ?? 60_000);
      for (let tried = 1; ; tried++) {
        if (options.signal.aborted) throw new Stopped();
        const answer = await attempt(request, tried >= mostFaults);
        if (!('away' in answer)) {
          if (answer.status === 401 || answer.status === 403) {
            throw new ReplayError(`${options.url} refuses the key (--key): ${answer.code}, ${answer.detail}`);
          }
          return answer;
        }
        if (performance.now() > until) {
          throw new ReplayError(
            `${options.url} has not answered POST ${request.path} for ${tried} attempts (${answer.away}). ` +
              'When it is back, the same command goes on.',
          );
        }
        request.onWait?.(answer.away);
        const pause = Math.max(answer.after, Math.min(50 * 2 ** tried, longestPauseMs) * (0.5 + Math.random() / 2));
        await sleep(pause, undefined, { signal: options.signal }).catch(() => undefined);
      }
    },
  };
}

/** @throws ReplayError no platform answers at this address */
export async function checkPlatform(url: string): Promise<void> {
  let found: string;
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(30_000) });
    await response.text();
    if (response.ok) return;
    found = `GET /healthz answers ${response.status}`;
  } catch (error) {
    found = reasonOf(error);
  }
  throw new ReplayError(`no platform at ${url} (${found}): start it with "npm start", or name it with --url`);
}
