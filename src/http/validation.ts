import type * as z from 'zod';
import { ApiError, type Fault, pointerTo, unknownField, unknownParameter } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { sha256 } from '../base/sha256.ts';
import type { Context } from '../context.ts';
import { isWebhook } from './declared.ts';
import type { Http, Route } from './route.ts';

const mostFaults = 100;
/** As much of a parameter's name as an answer repeats, in characters. */
const longestName = 100;

/** The faults of a value, one for each place: in a body by JSON pointer, in a query by the parameter's name. */
function faultsOf(error: z.ZodError, place: 'body' | 'query'): Fault[] {
  const pointer = (path: PropertyKey[]) => (place === 'query' ? String(path[0] ?? '') : pointerTo(path));
  const faults = new Map<string, Fault>();
  for (const issue of error.issues) {
    const unknown = issue.code === 'unrecognized_keys' ? issue.keys : undefined;
    for (const path of unknown?.map((key) => [...issue.path, key]) ?? [issue.path]) {
      const at = pointer(path);
      if (!faults.has(at)) faults.set(at, { pointer: at, detail: unknown ? unknownField : issue.message });
      if (faults.size === mostFaults) return [...faults.values()];
    }
  }
  return [...faults.values()];
}

function check<T>(schema: z.ZodType<T>, value: unknown, place: 'body' | 'query'): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new ApiError('validation_failed', undefined, { faults: faultsOf(result.error, place) });
}

/** The parameters that an operation declares, by name. */
const parametersOf = (schema: z.ZodType | undefined): Record<string, unknown> =>
  schema !== undefined && 'shape' in schema ? (schema.shape as Record<string, unknown>) : {};

/**
 * The query's parameters, each of them declared and given once. A webhook's URL is its sender's: what it adds is ignored.
 * @throws ApiError validation_failed, which names each parameter that is unknown or repeated
 */
function readQuery(route: Route, http: Http): unknown {
  const given: Record<string, string> = {};
  if (!isWebhook(route) && http.req.url.includes('?')) {
    const known = parametersOf(route.query);
    const names = Object.keys(known);
    const faults = new Map<string, string>();
    for (const [name, value] of new URL(http.req.url).searchParams) {
      if (Object.hasOwn(given, name)) faults.set(name, 'is given more than once');
      else if (Object.hasOwn(known, name)) given[name] = value;
      else {
        const takes = names.length === 0 ? 'takes none' : `takes: ${names.join(', ')}`;
        faults.set(name.slice(0, longestName), `${unknownParameter} This operation ${takes}.`);
      }
      if (faults.size === mostFaults) break;
    }
    if (faults.size > 0) {
      const all = [...faults].map(([pointer, detail]) => ({ pointer, detail }));
      throw new ApiError('validation_failed', undefined, { faults: all });
    }
  }
  return route.query && check(route.query, given, 'query');
}

/** The client's Idempotency-Key, where the operation takes one. */
function idempotencyKey(route: Route, http: Http): string | undefined {
  if (!route.idempotency) return undefined;
  const key = http.req.header('idempotency-key');
  if (key === undefined || key === '') {
    if (route.idempotency === 'required') throw new ApiError('idempotency_key_required');
    return undefined;
  }
  if (key.length > 255 || !/^[\x20-\x7e]+$/.test(key)) {
    const faults = [{ pointer: 'Idempotency-Key', detail: 'must be 1 to 255 printable ASCII characters' }];
    throw new ApiError('validation_failed', undefined, { faults });
  }
  return key;
}

/** Validates a request against its declaration: path, query, headers, and then the body. */
export async function readRequest(route: Route, http: Http, context: Context) {
  // A path with an id of another form names nothing: that is a 404 and no fault of the request's form.
  const params = route.params?.safeParse(http.req.param());
  if (params && !params.success) throw new ApiError('not_found');
  const query = readQuery(route, http);
  const key = idempotencyKey(route, http);
  const body = route.body && check(route.body, await readJson(http.req.raw), 'body');
  if (key !== undefined) {
    context.call.idempotencyKey = key;
    context.call.requestHash = sha256(JSON.stringify([route.method, http.req.path, body]));
  }
  return { params: params?.data, query, body, context, http };
}
