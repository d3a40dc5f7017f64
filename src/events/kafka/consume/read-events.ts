import * as z from 'zod';
import { exact, instant } from '../../../base/fields.ts';
import { parseJson } from '../../../base/json.ts';

/** An incoming record from Kafka or a push. A structured event has only a value. */
export type Incoming = {
  /** Where the record came from, as far as that is known. The same at every delivery. */
  place: string;
  value: string | null;
  headers: Record<string, string>;
  /** The tenants that it may name: `tenant`, or `tenant@cell`. `*`: any tenant. */
  tenants: string[];
};

/** The attributes of CloudEvents 1.0 that we read. */
const cloudEvent = z.object({
  specversion: z.literal('1.0'),
  id: exact(255),
  source: exact(255),
  type: exact(255),
  subject: exact(255).optional(),
  time: instant.optional(),
  tenantid: exact(63).optional(),
  /** The cell of the tenant. Our own extension. */
  cell: exact(12).optional(),
  traceparent: z
    .string()
    .regex(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/)
    .optional()
    .catch(undefined),
  data: z.unknown(),
});

export type CloudEvent = z.infer<typeof cloudEvent>;

export const describeFaults = ({ issues }: z.ZodError): string =>
  issues
    .slice(0, 3)
    .map(({ path, message }) => `${path.join('.') || 'it'}: ${message}`)
    .join('; ');

function tryParse(text: string | null): { value: unknown } | undefined {
  try {
    return text === null ? undefined : { value: parseJson(text) };
  } catch {
    return undefined;
  }
}

/**
 * Reads the event in a record: CloudEvents in binary mode if it has a `ce_specversion` header, otherwise structured.
 * `fault`: why it is not a valid event.
 */
export function readCloudEvent({ value, headers }: Incoming): { event: CloudEvent } | { fault: string } {
  const attributes = Object.entries(headers)
    .map(([name, content]) => [name.toLowerCase(), content] as const)
    .filter(([name]) => name.startsWith('ce_'))
    .map(([name, content]) => [name.slice(3), content] as const);
  const isBinary = attributes.some(([name]) => name === 'specversion');
  const json = tryParse(value);
  if (!json) return { fault: 'Its value is not JSON.' };
  const candidate = isBinary ? { ...Object.fromEntries(attributes), data: json.value } : json.value;
  if (!isBinary && !(typeof candidate === 'object' && candidate !== null && 'specversion' in candidate)) {
    return { fault: 'It is not a CloudEvent: it has neither a ce_specversion header nor a specversion field.' };
  }
  const result = cloudEvent.safeParse(candidate);
  return result.success
    ? { event: result.data }
    : { fault: `Its attributes are invalid: ${describeFaults(result.error)}` };
}
