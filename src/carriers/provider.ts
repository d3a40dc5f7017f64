import type * as z from 'zod';
import { momentOf, toUtc } from '../base/time.ts';
import { CarrierError } from './carrier.ts';

/** The part of `fetch` that carriers use, so that a test can replace the network. */
export type Send = (url: string, init: RequestInit) => Promise<Response>;

/** A provider's name, base URL, headers and error format. `timeoutMs` applies to each call. */
export type Provider = {
  name: string;
  baseUrl: string;
  headers: Record<string, string>;
  secrets: string[];
  timeoutMs: number;
  send: Send;
  parseError: (body: unknown) => { text: string; code?: string | undefined };
};

export type Call = { method: 'GET' | 'POST'; path: string; body?: unknown; signal?: AbortSignal | undefined };

/** Wraps `fetch`, because workerd rejects a `fetch` that is called as a method of another object. */
export const globalSend: Send = (url, init) => fetch(url, init);

const maxLabelBytes = 5_000_000;
const maxMessageLength = 300;

// 401, 402 and 403 mean a wrong key or an empty account balance. The same request succeeds once the operator has fixed
// that.
const isRetryable = (status: number): boolean =>
  status >= 500 || [401, 402, 403, 408, 409, 425, 429].includes(status) || status < 400;

/**
 * Whether a provider's message means that the carrier behind it is unavailable, rather than a problem with the parcel.
 */
export const indicatesOutage = (text: string): boolean =>
  /time[sd]?[ _-]?out|did not respond|no response|unavailable|try again|temporar|internal error|rate limit/i.test(text);

const retryAfter = (response: Response): { retryAfterSeconds?: number } => {
  const seconds = Number(response.headers.get('Retry-After') ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? { retryAfterSeconds: Math.ceil(seconds) } : {};
};

const cleanMessage = (text: string, secrets: string[]): string => {
  let clean = text.replace(/\s+/g, ' ').trim();
  for (const secret of secrets) if (secret !== '') clean = clean.replaceAll(secret, '[secret]');
  return clean.length > maxMessageLength ? `${clean.slice(0, maxMessageLength)}…` : clean;
};

/** An error with the provider's message, without secrets and cut to 300 characters. */
export const providerError = (provider: Provider, text: string, permanent: boolean, code?: string): CarrierError =>
  new CarrierError(provider.name, cleanMessage(text, provider.secrets), permanent, code === undefined ? {} : { code });

const deadline = (provider: Provider, signal: AbortSignal | undefined): AbortSignal => {
  const timeout = AbortSignal.timeout(provider.timeoutMs);
  return signal ? AbortSignal.any([signal, timeout]) : timeout;
};

// Without the cause, since the runtime's network error may quote the URL or a header.
const unreachable = (provider: Provider, error: unknown): CarrierError => {
  const timedOut = error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError');
  return new CarrierError(provider.name, timedOut ? 'no response in time' : 'could not be reached', false);
};

const tryParse = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/**
 * Calls a provider and validates its response. Redirects are not followed, because they would receive the key.
 * @throws CarrierError: temporary for timeouts, network errors, 5xx, 429 and unexpected responses; permanent for
 * requests that the provider rejects
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
  const body = tryParse(text);
  if (!response.ok) {
    const { text: errorText, code } = provider.parseError(body);
    const message = cleanMessage(
      `responded with ${response.status}${errorText ? `: ${errorText}` : ''}`,
      provider.secrets,
    );
    throw new CarrierError(provider.name, message, !isRetryable(response.status), {
      status: response.status,
      ...(code === undefined ? {} : { code }),
      ...retryAfter(response),
    });
  }
  const parsed = shape.safeParse(body);
  if (!parsed.success) throw new CarrierError(provider.name, 'sent an unexpected response', false);
  return parsed.data;
}

/**
 * Downloads a label. The provider's key is not sent: the link is signed and leads to a storage service.
 * @throws CarrierError: permanent if the link is not HTTPS or the file is not a PDF of at most 5 MB, temporary
 * otherwise
 */
export async function downloadPdf(provider: Provider, url: string, signal?: AbortSignal): Promise<Uint8Array> {
  if (!URL.canParse(url) || new URL(url).protocol !== 'https:') {
    throw new CarrierError(provider.name, 'the label has no HTTPS link', true);
  }
  try {
    const response = await provider.send(url, { method: 'GET', signal: deadline(provider, signal) });
    if (!response.ok)
      throw new CarrierError(provider.name, `the label's link responded with ${response.status}`, false);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const isPdf = new TextDecoder().decode(bytes.subarray(0, 5)) === '%PDF-';
    if (isPdf && bytes.length <= maxLabelBytes) return bytes;
    throw new CarrierError(provider.name, 'the label is not a PDF, or is larger than 5 MB', true);
  } catch (error) {
    throw error instanceof CarrierError ? error : unreachable(provider, error);
  }
}

/** The rate with the lowest price. Of two equal ones the smaller id, so that a repeated call chooses the same. */
export function cheapest<T extends { price: string; id: string }>(rates: T[]): T | undefined {
  return rates.toSorted((a, b) => Number(a.price) - Number(b.price) || (a.id < b.id ? -1 : 1))[0];
}

/** A time of a webhook as ISO 8601 in UTC. Undefined if it is invalid. */
export function utc(time: string | null | undefined): string | undefined {
  if (momentOf(time ?? '') !== undefined) return toUtc(time ?? '');
  // Carriers also write times in other formats, some without an offset.
  const date = new Date(time ?? Number.NaN);
  return momentOf(Number.isNaN(date.getTime()) ? '' : date.toISOString()) === undefined
    ? undefined
    : date.toISOString();
}

/** Parses a verified webhook in the documented format. @throws CarrierError (permanent) */
export function webhookBody<T>(carrier: string, rawBody: string, shape: z.ZodType<T>): T {
  const parsed = shape.safeParse(tryParse(rawBody));
  if (parsed.success) return parsed.data;
  const fields = [...new Set(parsed.error.issues.map((issue) => issue.path.join('.') || 'body'))];
  throw new CarrierError(carrier, `a webhook with wrong fields: ${fields.join(', ')}`, true);
}
