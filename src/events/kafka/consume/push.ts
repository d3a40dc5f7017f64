import { parseJson } from '../../../base/json.ts';
import { sha256 } from '../../../base/sha256.ts';
import type { Incoming } from './read-events.ts';

/** A push has no offset: its place is what it says, so that the same at another time is at the same place. */
const placed = (value: string, headers: Record<string, string>): Omit<Incoming, 'tenants'> => ({
  place: `push ${sha256(JSON.stringify([value, headers]))}`,
  value,
  headers,
});

/** A header's text, by CloudEvents' HTTP binding: percent-encoded. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Headers as connectors write them: `{name: value}`, or `[{key, value}]`. */
function headersOf(given: unknown): Record<string, string> {
  if (typeof given !== 'object' || given === null) return {};
  const pairs = Array.isArray(given) ? given.map((each) => [each?.key, each?.value]) : Object.entries(given);
  return Object.fromEntries(pairs.filter(([, value]) => typeof value === 'string').map(([key, value]) => [key, value]));
}

/** An element of a batch: a structured event, or a record `{value, headers}` whose value is text or JSON. */
function elementOf(element: unknown): Omit<Incoming, 'tenants'> {
  if (typeof element !== 'object' || element === null || 'specversion' in element || !('value' in element)) {
    return placed(JSON.stringify(element), {});
  }
  const { value } = element;
  return placed(typeof value === 'string' ? value : JSON.stringify(value), headersOf(Reflect.get(element, 'headers')));
}

function partsOf(headers: Headers, body: string): Omit<Incoming, 'tenants'>[] {
  if (headers.has('ce-specversion')) {
    const attributes = [...headers].filter(([name]) => name.startsWith('ce-'));
    const named = attributes.map(([name, value]) => [`ce_${name.slice(3)}`, decode(value)]);
    return [placed(body, Object.fromEntries(named))];
  }
  let content: unknown;
  try {
    content = parseJson(body);
  } catch {
    return [placed(body, {})];
  }
  return Array.isArray(content) ? content.map(elementOf) : [elementOf(content)];
}

/**
 * What a connector has pushed: CloudEvents by their HTTP binding (binary, structured, batched), a JSON array of
 * structured events or of records, or one of either. What is not JSON is one record that is none: a connector that were
 * refused would bring it again and again.
 */
export const readPush = (headers: Headers, body: string, tenants: string[]): Incoming[] =>
  partsOf(headers, body).map((part) => ({ ...part, tenants }));
