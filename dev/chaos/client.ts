import { setTimeout as sleep } from 'node:timers/promises';
import { type Asked, answerOf, type Heard, type Journal, textOf } from './journal.ts';
import type { Draw } from './random.ts';

const patienceMs = 12_000;

export type Ask = {
  story: string;
  operation: string;
  method: string;
  path: string;
  body?: unknown;
  /** The Idempotency-Key; a POST without one is repeated too, where the operation is harmless to repeat. */
  key?: string;
  tenant?: string;
  headers?: Record<string, string>;
  /** Sent as it is, in place of `body` as JSON. */
  raw?: string;
  draw?: Draw;
};

export type Client = {
  /**
   * Sends a request until it is answered: repeated with the same key when nothing is heard (a cut connection, a timeout,
   * 503, 429, a first attempt that still runs). Sometimes hangs up by itself, asks twice at once, or asks again later.
   * Undefined: it was never answered.
   */
  ask: (what: Ask) => Promise<Heard | undefined>;
  /** From here on nobody waits longer than this for an answer; a promise for all who still do. */
  finish: (withinMs: number) => Promise<void>;
};

const passing = (status: number, code: string): boolean =>
  status === 429 || status === 503 || (status === 409 && code === 'idempotency_in_progress');

/** A client of the API that writes down all it has asked and heard. */
export function chaosClient(api: string, journal: Journal): Client {
  let deadline = Number.POSITIVE_INFINITY;
  const running = new Set<Promise<unknown>>();

  async function attempt(asked: Asked, what: Ask, hangUpMs: number): Promise<Heard | undefined> {
    const at = Date.now();
    const headers: Record<string, string> = { authorization: `Bearer sk_dev_${asked.tenant}`, ...what.headers };
    if (what.key !== undefined) headers['idempotency-key'] = what.key;
    const payload = what.raw ?? (what.body === undefined ? undefined : JSON.stringify(what.body));
    if (payload !== undefined) headers['content-type'] ??= 'application/json';
    const heard = (of: Asked['tries'][number]['heard'], code = '') => {
      asked.tries.push({ at, took: Date.now() - at, heard: of, ...(code === '' ? {} : { code }) });
      journal.count(`${asked.operation}`, code === '' ? String(of) : `${of} ${code}`);
    };
    try {
      const response = await fetch(api + what.path, {
        method: what.method,
        headers,
        ...(payload === undefined ? {} : { body: payload }),
        signal: AbortSignal.timeout(Math.min(hangUpMs, patienceMs)),
      });
      const text = await response.text();
      const body: unknown = /json/.test(response.headers.get('content-type') ?? '') ? JSON.parse(text) : text;
      const code = response.ok ? '' : textOf(body, 'code');
      heard(response.status, code);
      if (passing(response.status, code) || response.status >= 500) return undefined;
      const answer = { status: response.status, body, replayed: response.headers.has('idempotent-replayed') };
      asked.answers.push(answer);
      return answer;
    } catch (error) {
      const late = (error as Error).name === 'TimeoutError';
      heard(late ? (hangUpMs < patienceMs ? 'hung up' : 'timeout') : 'cut');
      return undefined;
    }
  }

  async function insist(asked: Asked, what: Ask, hangUpMs: number): Promise<void> {
    for (let tried = 0; ; tried++) {
      if (await attempt(asked, what, tried === 0 ? hangUpMs : patienceMs)) return;
      if (Date.now() > deadline) {
        asked.abandoned = true;
        return;
      }
      journal.count('repeated', asked.operation);
      await sleep(Math.min(50 * 2 ** tried, 1_500));
    }
  }

  async function converse(what: Ask): Promise<Heard | undefined> {
    const { story, operation, method, path, body = what.raw ?? null, key = null, tenant = 'default' } = what;
    const asked = journal.open({ story, tenant, operation, method, path, key, body });
    const draw = key === null ? undefined : what.draw;
    const hangUpMs = draw?.chance(0.06) ? draw.int(1, 60) : patienceMs;
    const twice = draw?.chance(0.08) ?? false;
    const again = draw?.chance(0.08) ?? false;
    const all = [insist(asked, what, hangUpMs)];
    if (twice) {
      journal.count('asked', 'twice at once');
      all.push(insist(asked, what, patienceMs));
    }
    await Promise.all(all);
    if (again && Date.now() < deadline) {
      journal.count('asked', 'once more, having heard');
      await insist(asked, what, patienceMs);
    }
    if (asked.answers.some(({ replayed }) => replayed)) journal.count('asked', 'and was given the first answer again');
    return answerOf(asked);
  }

  return {
    ask(what) {
      const conversation = converse(what);
      const settled = conversation.finally(() => running.delete(settled));
      running.add(settled);
      return settled;
    },
    async finish(withinMs) {
      deadline = Date.now() + withinMs;
      while (running.size > 0) await Promise.allSettled(running);
    },
  };
}
