import type { Hono } from 'hono';
import type * as z from 'zod';
import { keyOf } from '../auth.ts';
import type { Context } from '../context.ts';
import { isForPages, originOf, preflight, shareWithPage } from '../cors.ts';
import { openDatabase } from '../db/client.ts';
import { type Bindings, settingsOf } from '../env.ts';
import { ApiError, type Code, type Fault, unknownField } from '../errors.ts';
import { newId } from '../ids.ts';
import { readJson } from '../json.ts';
import { describe, log, pathForLog, reasonOf } from '../log.ts';
import { problemOf } from '../problem.ts';
import { limitRate, takeTrial, type Verdict } from '../rate-limit.ts';
import { relaySoon } from '../relay.ts';
import { secure } from '../security-headers.ts';
import { etagOf, isKnown } from './etag.ts';
import type { Answer, Http, Route, Variables } from './route.ts';

export type App = Hono<{ Bindings: Bindings; Variables: Variables }>;

const requestIdForm = /^[\x21-\x7e]{1,255}$/;
const traceparentForm = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

const mostFaults = 100;

/** What does not fit, one fault a place: in a body by JSON pointers (RFC 6901), in a query by the parameters' names. */
function faultsOf(error: z.ZodError, place: 'body' | 'query'): Fault[] {
  const pointer = (path: PropertyKey[]) =>
    place === 'query'
      ? String(path[0] ?? '')
      : path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
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

const hashOf = async (text: string): Promise<string> => {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
};

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

/** Validates a request against its declaration, in the order in which a client wants to be told. */
async function readRequest(route: Route, http: Http, context: Context) {
  // A path that names no id of ours names nothing: that is 404, not a fault of form.
  const params = route.params?.safeParse(http.req.param());
  if (params && !params.success) throw new ApiError('not_found');
  const query = route.query && check(route.query, http.req.query(), 'query');
  const key = idempotencyKey(route, http);
  const body = route.body && check(route.body, await readJson(http.req.raw), 'body');
  if (key !== undefined) {
    context.call.idempotencyKey = key;
    context.call.requestHash = await hashOf(JSON.stringify([route.method, http.req.path, body]));
  }
  return { params: params?.data, query, body, context, http };
}

/** What a refusal says of the key or the signature: whatever the database decides, it decides after that. */
function verdictOf(thrown: unknown, { db }: Context): Verdict {
  if (!(thrown instanceof ApiError)) return 'open';
  if (thrown.code === 'unauthenticated' || thrown.code === 'invalid_signature') return 'bad';
  return db.spent.calls > 0 && thrown.code !== 'unavailable' && thrown.code !== 'internal' ? 'good' : 'open';
}

const keepAlive = (http: Http, work: Promise<void> | undefined): void => {
  if (work) http.executionCtx.waitUntil(work);
};

/** An operation that needs no key. Where it costs something, the address has a limit. */
async function runOpen(route: Route, http: Http, context: Context): Promise<Answer> {
  const address = http.req.header('cf-connecting-ip');
  const end = route.counted && takeTrial(http.env, address, route.counted === 'refused');
  let verdict: Verdict = route.counted === 'all' ? 'bad' : 'good';
  try {
    return await route.run(await readRequest(route, http, context));
  } catch (refused) {
    if (route.counted === 'refused') verdict = verdictOf(refused, context);
    throw refused;
  } finally {
    keepAlive(http, end?.(verdict));
  }
}

/** Runs the operation that a request asks for. A key that is not good is told so before anything else is. */
async function run(route: Route, http: Http, context: Context): Promise<Answer> {
  if (route.scope === undefined) return runOpen(route, http, context);
  const keyHash = await keyOf(http.req.header('authorization'));
  const origin = originOf(route, http.req.header('origin'));
  http.set('reader', origin === undefined ? keyHash : `${keyHash} ${origin}`);
  context.call.keyHash = keyHash;
  if (origin !== undefined) context.call.origin = origin;
  const end = await limitRate(http.env, keyHash, http.req.header('cf-connecting-ip'));
  let verdict: Verdict = 'open';
  try {
    const answer = await route.run(await readRequest(route, http, context));
    if (context.db.spent.calls > 0) verdict = 'good';
    return answer;
  } catch (refused) {
    verdict = verdictOf(refused, context);
    // Else the operation's own call has decided about the key: a request that fits costs no call for that.
    if (context.db.spent.calls === 0) {
      await context.db.authenticate(context.call, route.scope).then(
        () => {
          verdict = 'good';
        },
        (unknown: unknown) => {
          verdict = verdictOf(unknown, context);
          throw unknown;
        },
      );
    }
    throw refused;
  } finally {
    keepAlive(http, end(verdict));
  }
}

async function respond(route: Route, http: Http, answer: Answer): Promise<Response> {
  const headers = new Headers(answer.headers);
  if (answer.replayed) headers.set('Idempotent-Replayed', 'true');
  if (answer.body instanceof Response) {
    for (const [name, value] of headers) answer.body.headers.set(name, value);
    return answer.body;
  }
  if (answer.body === undefined) return new Response(null, { status: answer.status, headers });
  const body = JSON.stringify(answer.body);
  headers.set('Content-Type', 'application/json');
  if (answer.resource) {
    const etag = await etagOf(body, answer.version);
    headers.set('ETag', etag);
    if (route.method === 'get' && isKnown(http.req.header('if-none-match'), etag)) {
      headers.delete('Content-Type');
      return new Response(null, { status: 304, headers });
    }
  }
  return new Response(body, { status: answer.status, headers });
}

/** The answer to a request that was refused or failed; what is not ours to tell becomes an opaque 500. */
export function refuse(http: Http, thrown: unknown): { response: Response; error: ApiError } {
  const error = thrown instanceof ApiError ? thrown : new ApiError('internal');
  const problem = problemOf(error, new URL(http.req.url).pathname, http.var.requestId);
  const headers = new Headers({ 'Content-Type': 'application/problem+json' });
  if (error.code === 'unauthenticated') headers.set('WWW-Authenticate', 'Bearer');
  if (error.code === 'unavailable' || error.code === 'idempotency_in_progress') headers.set('Retry-After', '1');
  if (error.replayed) headers.set('Idempotent-Replayed', 'true');
  for (const [name, value] of Object.entries(error.headers)) headers.set(name, value);
  return { response: new Response(JSON.stringify(problem), { status: problem.status, headers }), error };
}

/** Gives a request its id, its operation (none: there is nothing at this path), its answer and its line in the log. */
export async function handle(route: Route | undefined, http: Http): Promise<Response> {
  const started = Date.now();
  const given = http.req.header('x-request-id');
  const requestId = given !== undefined && requestIdForm.test(given) ? given : newId(new Date());
  http.set('requestId', requestId);
  const line: Record<string, unknown> = {};
  let context: Context | undefined;
  let response: Response;
  let tenant: string | null = null;
  let outcome = 'ok';
  let code: Code | undefined;
  try {
    if (!route) throw new ApiError('not_found');
    const settings = settingsOf(http.env);
    const traceparent = http.req.header('traceparent');
    const call = traceparent !== undefined && traceparentForm.test(traceparent) ? { traceparent } : {};
    context = { db: openDatabase(settings), settings, call, now: () => new Date() };
    http.set('context', context);
    const answer = await run(route, http, context);
    tenant = answer.tenant ?? null;
    response = await respond(route, http, answer);
  } catch (thrown) {
    const refused = refuse(http, thrown);
    response = refused.response;
    code = refused.error.code;
    outcome = code;
    line.reason = reasonOf(refused.error);
    tenant = refused.error.tenant ?? null;
    if (outcome === 'internal' || outcome === 'unavailable') Object.assign(line, describe(thrown));
  }
  response.headers.set('X-Request-Id', requestId);
  secure(response.headers, route, http.req.url);
  const asked = { origin: http.req.header('origin'), authorization: http.req.header('authorization') };
  shareWithPage(response.headers, route, asked, code);
  const spent = context?.db.spent ?? { calls: 0, ms: 0 };
  if (spent.calls > 0) {
    response.headers.set('Server-Timing', `db;desc="${spent.calls} calls";dur=${spent.ms}`);
    if (route?.method !== 'get' && context) http.executionCtx.waitUntil(relaySoon(http.env, requestId));
  }
  log({
    kind: 'request',
    id: requestId,
    tenant: tenant ?? context?.db.tenant ?? null,
    operation: route?.id ?? null,
    method: http.req.method,
    path: pathForLog(http.req.path),
    status: response.status,
    outcome,
    durationMs: Date.now() - started,
    dbCalls: spent.calls,
    dbMs: spent.ms,
    ...line,
  });
  return response;
}

/** Puts every operation at its path, and beside what pages may ask for the answer to their browsers' question. */
export function mount(app: App, routes: Route[]): void {
  for (const route of routes) {
    const path = route.path.replaceAll(/\{(\w+)\}/g, ':$1');
    app.on(route.method.toUpperCase(), path, (http) => handle(route, http));
    if (isForPages(route)) app.on('OPTIONS', path, preflight);
  }
  app.notFound((http) => handle(undefined, http));
}
