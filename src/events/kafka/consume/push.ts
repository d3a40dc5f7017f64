import { parseJson } from '../../../base/json.ts';
import { sha256 } from '../../../base/sha256.ts';
import type { Incoming } from './read-events.ts';

/** A push has no offset. Its place is a hash of its content, so the same content has the same place. */
const toIncoming = (value: string, headers: Record<string, string>): Omit<Incoming, 'tenants'> => ({
  place: `push ${sha256(JSON.stringify([value, headers]))}`,
  value,
  headers,
});

/** Decodes a header as CloudEvents' HTTP binding encodes it: percent-encoded. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Reads headers in the forms that connectors use: `{name: value}` or `[{key, value}]`. */
function headersOf(given: unknown): Record<string, string> {
  if (typeof given !== 'object' || given === null) return {};
  const pairs = Array.isArray(given) ? given.map((each) => [each?.key, each?.value]) : Object.entries(given);
  return Object.fromEntries(pairs.filter(([, value]) => typeof value === 'string').map(([key, value]) => [key, value]));
}

/** Reads an element of a batch: a structured event, or a record `{value, headers}` whose value is text or JSON. */
function elementOf(element: unknown): Omit<Incoming, 'tenants'> {
  if (typeof element !== 'object' || element === null || 'specversion' in element || !('value' in element)) {
    return toIncoming(JSON.stringify(element), {});
  }
  const { value } = element;
  return toIncoming(
    typeof value === 'string' ? value : JSON.stringify(value),
    headersOf(Reflect.get(element, 'headers')),
  );
}

function splitPush(headers: Headers, body: string): Omit<Incoming, 'tenants'>[] {
  if (headers.has('ce-specversion')) {
    const attributes = [...headers].filter(([name]) => name.startsWith('ce-'));
    const named = attributes.map(([name, value]) => [`ce_${name.slice(3)}`, decode(value)]);
    return [toIncoming(body, Object.fromEntries(named))];
  }
  let content: unknown;
  try {
    content = parseJson(body);
  } catch {
    return [toIncoming(body, {})];
  }
  return Array.isArray(content) ? content.map(elementOf) : [elementOf(content)];
}

/**
 * Reads what a connector has pushed: CloudEvents by their HTTP binding (binary, structured, batched), a JSON array of
 * structured events or records, or a single one. A body that is not JSON becomes one invalid record, because a
 * connector would retry a rejected request for ever.
 */
export const readPush = (headers: Headers, body: string, tenants: string[]): Incoming[] =>
  splitPush(headers, body).map((record) => ({ ...record, tenants }));
