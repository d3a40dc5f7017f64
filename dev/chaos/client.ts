import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Attempt,
  type ClientRequest,
  type ClientResponse,
  finalResponse,
  type Journal,
  textOf,
} from './journal.ts';
import type { Random } from './random.ts';

const timeoutMs = 12_000;

export type RequestOptions = {
  story: string;
  operation: string;
  method: string;
  path: string;
  body?: unknown;
  /**
   * The Idempotency-Key. A request without a key is retried too; use it only for operations that are safe to repeat.
   */
  key?: string;
  tenant?: string;
  headers?: Record<string, string>;
  /** A body to send as it is, instead of `body` as JSON. */
  raw?: string;
  random?: Random;
};

export type Client = {
  /**
   * Sends a request until it gets a final response. Retries a lost connection, a timeout, 429, 5xx and a first attempt
   * that still runs. At random it also hangs up early, sends twice at once, or sends again after the response.
   * Undefined: no response.
   */
  request: (options: RequestOptions) => Promise<ClientResponse | undefined>;
  /** Stops retries after this time. Resolves when every request has ended. */
  finish: (withinMs: number) => Promise<void>;
};

const isRetryable = (status: number, code: string): boolean =>
  status >= 500 || status === 429 || (status === 409 && code === 'idempotency_in_progress');

/** A client of the API that records all requests and responses in the journal. */
export function chaosClient(api: string, journal: Journal): Client {
  let deadline = Number.POSITIVE_INFINITY;
  const running = new Set<Promise<unknown>>();

  /** Sends the request once. Undefined if it has to be retried. */
  async function sendOnce(
    request: ClientRequest,
    options: RequestOptions,
    hangUpMs: number,
  ): Promise<ClientResponse | undefined> {
    const at = Date.now();
    const headers: Record<string, string> = { authorization: `Bearer sk_dev_${request.tenant}`, ...options.headers };
    if (options.key !== undefined) headers['idempotency-key'] = options.key;
    const payload = options.raw ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
    if (payload !== undefined) headers['content-type'] ??= 'application/json';
    const record = (outcome: Attempt['outcome'], code = '') => {
      request.attempts.push({ at, tookMs: Date.now() - at, outcome, ...(code === '' ? {} : { code }) });
      journal.count(`${request.operation}`, code === '' ? String(outcome) : `${outcome} ${code}`);
    };
    try {
      const response = await fetch(api + options.path, {
        method: options.method,
        headers,
        ...(payload === undefined ? {} : { body: payload }),
        signal: AbortSignal.timeout(Math.min(hangUpMs, timeoutMs)),
      });
      const text = await response.text();
      const body: unknown = /json/.test(response.headers.get('content-type') ?? '') ? JSON.parse(text) : text;
      const code = response.ok ? '' : textOf(body, 'code');
      record(response.status, code);
      if (isRetryable(response.status, code)) return undefined;
      const result = { status: response.status, body, replayed: response.headers.has('idempotent-replayed') };
      request.responses.push(result);
      return result;
    } catch (error) {
      const timedOut = (error as Error).name === 'TimeoutError';
      record(timedOut ? (hangUpMs < timeoutMs ? 'cancelled by the client' : 'timeout') : 'connection lost');
      return undefined;
    }
  }

  async function sendUntilResponse(request: ClientRequest, options: RequestOptions, hangUpMs: number): Promise<void> {
    for (let retries = 0; ; retries++) {
      if (await sendOnce(request, options, retries === 0 ? hangUpMs : timeoutMs)) return;
      if (Date.now() > deadline) {
        request.abandoned = true;
        return;
      }
      journal.count('repeated', request.operation);
      await sleep(Math.min(50 * 2 ** retries, 1_500));
    }
  }

  async function sendWithRepeats(options: RequestOptions): Promise<ClientResponse | undefined> {
    const { story, operation, method, path, body = options.raw ?? null, key = null, tenant = 'default' } = options;
    const request = journal.addRequest({ story, tenant, operation, method, path, key, body });
    const random = key === null ? undefined : options.random;
    const hangUpMs = random?.chance(0.06) ? random.int(1, 60) : timeoutMs;
    const sendsTwice = random?.chance(0.08) ?? false;
    const sendsAgain = random?.chance(0.08) ?? false;
    const sending = [sendUntilResponse(request, options, hangUpMs)];
    if (sendsTwice) {
      journal.count('repeats and replays', 'sent twice at once');
      sending.push(sendUntilResponse(request, options, timeoutMs));
    }
    await Promise.all(sending);
    if (sendsAgain && Date.now() < deadline) {
      journal.count('repeats and replays', 'sent again after the response');
      await sendUntilResponse(request, options, timeoutMs);
    }
    if (request.responses.some(({ replayed }) => replayed)) {
      journal.count('repeats and replays', 'got a replayed response');
    }
    return finalResponse(request);
  }

  return {
    request(options) {
      const result = sendWithRepeats(options);
      const settled = result.finally(() => running.delete(settled));
      running.add(settled);
      return settled;
    },
    async finish(withinMs) {
      deadline = Date.now() + withinMs;
      while (running.size > 0) await Promise.allSettled(running);
    },
  };
}
