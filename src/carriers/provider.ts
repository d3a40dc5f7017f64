import type * as z from 'zod';
import { momentOf, toUtc } from '../base/time.ts';
import { CarrierError } from './carrier.ts';

/** The part of `fetch` that carriers use, so that a test can stand in for the network. */
export type Send = (url: string, init: RequestInit) => Promise<Response>;

/** One provider: its name, base URL and headers, and how it words an error. Deadlines are for each call, in ms. */
export type Provider = {
  name: string;
  baseUrl: string;
  headers: Record<string, string>;
  secrets: string[];
  timeoutMs: number;
  send: Send;
  explain: (body: unknown) => { text: string; code?: string | undefined };
};

export type Call = { method: 'GET' | 'POST'; path: string; body?: unknown; signal?: AbortSignal | undefined };

/** `fetch` as it is: taken out of its object, workerd refuses to call it. */
export const globalSend: Send = (url, init) => fetch(url, init);

const largestLabel = 5_000_000;
const longestMessage = 300;

// 401, 402 and 403 are a wrong key or an empty wallet: the operator mends them and the same request then succeeds.
const worthRepeating = (status: number): boolean =>
  status >= 500 || [401, 402, 403, 408, 409, 425, 429].includes(status) || status < 400;

/** Whether a provider's words tell of an outage of the carrier behind it rather than of something wrong with the parcel. */
export const indicatesOutage = (text: string): boolean =>
  /time[sd]?[ _-]?out|did not respond|no response|unavailable|try again|temporar|internal error|rate limit/i.test(text);

const retryAfter = (response: Response): { retryAfterSeconds?: number } => {
  const seconds = Number(response.headers.get('Retry-After') ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? { retryAfterSeconds: Math.ceil(seconds) } : {};
};

const printable = (text: string, secrets: string[]): string => {
  let clean = text.replace(/\s+/g, ' ').trim();
  for (const secret of secrets) if (secret !== '') clean = clean.replaceAll(secret, '[secret]');
  return clean.length > longestMessage ? `${clean.slice(0, longestMessage)}…` : clean;
};

/** An error in the provider's own words, without secrets and of a bounded length. */
export const providerError = (provider: Provider, text: string, permanent: boolean, code?: string): CarrierError =>
  new CarrierError(provider.name, printable(text, provider.secrets), permanent, code === undefined ? {} : { code });

const deadline = (provider: Provider, signal: AbortSignal | undefined): AbortSignal => {
  const own = AbortSignal.timeout(provider.timeoutMs);
  return signal ? AbortSignal.any([signal, own]) : own;
};

// The cause is left out on purpose: a network error of the runtime may quote the URL or a header.
const unreachable = (provider: Provider, error: unknown): CarrierError => {
  const late = error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError');
  return new CarrierError(provider.name, late ? 'no answer in time' : 'could not be reached', false);
};

const jsonOf = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/**
 * Calls a provider and checks the shape of its answer. Redirects are not followed: the key would go along.
 * @throws CarrierError: transient for timeouts, network faults, 5xx, 429 and answers of another shape; permanent for
 * what the provider refuses
 */
export async function callProvider<T>(provider: Provider, call: Call, shape: z.ZodType<T>): Promise<T> {
  let response: Response;
  let text: string;
  try {
    response = await provider.send(provider.baseUrl + call.path, {
      method: call.method,
      headers: { Accept: 'application/json', 'Content-Type': 'application/json', ...provider.headers },
      redirect: 'manual',
      signal: deadline(provider, call.signal),
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    });
    text = await response.text();
  } catch (error) {
    throw unreachable(provider, error);
  }
  const body = jsonOf(text);
  if (!response.ok) {
    const { text: words, code } = provider.explain(body);
    const message = printable(`answered ${response.status}${words ? `: ${words}` : ''}`, provider.secrets);
    throw new CarrierError(provider.name, message, !worthRepeating(response.status), {
      status: response.status,
      ...(code === undefined ? {} : { code }),
      ...retryAfter(response),
    });
  }
  const parsed = shape.safeParse(body);
  if (!parsed.success) throw new CarrierError(provider.name, 'gave an answer of an unknown shape', false);
  return parsed.data;
}

/**
 * Downloads a label. The provider's key is not sent: the link is signed and leads to a storage service.
 * @throws CarrierError: transient unless the link is not HTTPS or is no PDF of at most 5 MB
 */
export async function downloadPdf(provider: Provider, url: string, signal?: AbortSignal): Promise<Uint8Array> {
  if (!URL.canParse(url) || new URL(url).protocol !== 'https:') {
    throw new CarrierError(provider.name, 'the label has no HTTPS link', true);
  }
  try {
    const response = await provider.send(url, { method: 'GET', signal: deadline(provider, signal) });
    if (!response.ok) throw new CarrierError(provider.name, `the label's link answered ${response.status}`, false);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const isPdf = new TextDecoder().decode(bytes.subarray(0, 5)) === '%PDF-';
    if (isPdf && bytes.length <= largestLabel) return bytes;
    throw new CarrierError(provider.name, 'the label is no PDF, or larger than 5 MB', true);
  } catch (error) {
    throw error instanceof CarrierError ? error : unreachable(provider, error);
  }
}

/** The rate with the lowest price, of two equal ones the one with the smaller id, so that a repetition chooses alike. */
export function cheapest<T extends { price: string; id: string }>(rates: T[]): T | undefined {
  return rates.toSorted((a, b) => Number(a.price) - Number(b.price) || (a.id < b.id ? -1 : 1))[0];
}

/** A time of a webhook as ISO 8601 UTC, or undefined where it is none. */
export function utc(time: string | null | undefined): string | undefined {
  if (momentOf(time ?? '') !== undefined) return toUtc(time ?? '');
  // Carriers write times in other forms too, some without an offset.
  const date = new Date(time ?? Number.NaN);
  return momentOf(Number.isNaN(date.getTime()) ? '' : date.toISOString()) === undefined
    ? undefined
    : date.toISOString();
}

/**
 * The JSON of a verified webhook in the documented shape.
 * @throws CarrierError (permanent)
 */
export function webhookBody<T>(carrier: string, rawBody: string, shape: z.ZodType<T>): T {
  const parsed = shape.safeParse(jsonOf(rawBody));
  if (parsed.success) return parsed.data;
  const fields = [...new Set(parsed.error.issues.map((issue) => issue.path.join('.') || 'body'))];
  throw new CarrierError(carrier, `a webhook with wrong fields: ${fields.join(', ')}`, true);
}
