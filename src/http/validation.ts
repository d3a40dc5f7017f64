import type * as z from 'zod';
import { ApiError, type Fault, pointerTo, unknownField, unknownParameter } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { isWebhook, type Operation } from './declaration.ts';

const maxFaults = 100;
/** How many characters of a parameter's name a response repeats. */
const maxNameLength = 100;

/** The faults of a value, one for each place: in a body by JSON pointer, in a query by the parameter's name. */
function faultsOf(error: z.ZodError, place: 'body' | 'query'): Fault[] {
  const pointer = (path: PropertyKey[]) => (place === 'query' ? String(path[0] ?? '') : pointerTo(path));
  const faults = new Map<string, Fault>();
  for (const issue of error.issues) {
    const unknown = issue.code === 'unrecognized_keys' ? issue.keys : undefined;
    for (const path of unknown?.map((key) => [...issue.path, key]) ?? [issue.path]) {
      const location = pointer(path);
      if (!faults.has(location))
        faults.set(location, { pointer: location, detail: unknown ? unknownField : issue.message });
      if (faults.size === maxFaults) return [...faults.values()];
    }
  }
  return [...faults.values()];
}

function check<T>(schema: z.ZodType<T>, value: unknown, place: 'body' | 'query'): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new ApiError('validation_failed', undefined, { faults: faultsOf(result.error, place) });
}

/** @throws ApiError not_found if a parameter has the wrong format, since nothing can exist at such a path */
export function validParams(schema: z.ZodType, params: Record<string, string>): object {
  const result = schema.safeParse(params);
  if (!result.success) throw new ApiError('not_found');
  return Object(result.data);
}

/** The parameters that an operation declares, by name. */
const parametersOf = (schema: z.ZodType | undefined): Record<string, unknown> =>
  schema !== undefined && 'shape' in schema ? (schema.shape as Record<string, unknown>) : {};

/**
 * The query's parameters, each of them declared and given once. A webhook's sender chooses its URL, so parameters of
 * webhooks are ignored, and those that an operation does not know if it says so.
 * @throws ApiError validation_failed, which names each parameter that is unknown or repeated
 */
export function validQuery(
  operation: Pick<Operation, 'scope' | 'stream' | 'query' | 'ignoresUnknownQuery'>,
  url: string,
): object {
  const given: Record<string, string> = {};
  if (!isWebhook(operation) && url.includes('?')) {
    const known = parametersOf(operation.query);
    const names = Object.keys(known);
    const faults = new Map<string, string>();
    for (const [name, value] of new URL(url).searchParams) {
      if (Object.hasOwn(given, name)) faults.set(name, 'is given more than once');
      else if (Object.hasOwn(known, name)) given[name] = value;
      else if (!operation.ignoresUnknownQuery) {
        const allowed = names.length === 0 ? 'takes none' : `takes: ${names.join(', ')}`;
        faults.set(name.slice(0, maxNameLength), `${unknownParameter} This operation ${allowed}.`);
      }
      if (faults.size === maxFaults) break;
    }
    if (faults.size > 0) {
      const all = [...faults].map(([pointer, detail]) => ({ pointer, detail }));
      throw new ApiError('validation_failed', undefined, { faults: all });
    }
  }
  return Object(operation.query ? check(operation.query, given, 'query') : {});
}

/** @throws ApiError validation_failed, malformed_json, unsupported_media_type, body_too_large */
export const validBody = async (schema: z.ZodType, request: Request): Promise<object> =>
  Object(check(schema, await readJson(request), 'body'));
