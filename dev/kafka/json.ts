import { KafkaError } from './error.ts';

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

/** Parses the JSON of a body. Returns undefined for an empty body. 400 if it is not JSON. */
export function parseJson(body: string): unknown {
  if (body.trim() === '') return undefined;
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new KafkaError(400, `The body is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Returns a body that is one item or an array of items as an array. Empty if there is no body. */
export function listOf(body: unknown): unknown[] {
  if (isAbsent(body)) return [];
  return Array.isArray(body) ? body : [body];
}
