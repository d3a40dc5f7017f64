import type { Hono } from 'hono';
import { declaredLength } from '../base/body.ts';
import { ApiError, ClientGone, type Code } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { describe, log, pathForLog } from '../base/log.ts';
import type { Context } from '../context.ts';
import { openDatabase } from '../db/client.ts';
import { type Bindings, settingsOf } from '../env.ts';
import { relaySoon } from '../events/relay.ts';
import { isForPages, originOf, pageScopes, preflight, shareWithPage } from './cors.ts';
import { hashOfLiveToken, isPublishable, keyOf } from './credentials.ts';
import { allowedIn, missing } from './declared.ts';
import { etagOf, isKnown } from './etag.ts';
import { problemOf, reasonOf } from './problem.ts';
import { limitRate, takeTrial, type Verdict } from './rate-limit.ts';
import type { Answer, Http, Route, Variables } from './route.ts';
import { secure } from './security-headers.ts';
import { readRequest } from './validation.ts';

export type App = Hono<{ Bindings: Bindings; Variables: Variables }>;

const requestIdForm = /^[\x21-\x7e]{1,255}$/;
const traceparentForm = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** What a refusal says of the key or the signature: whatever the database decides, it decides after that. */
function verdictOf(thrown: unknown, { db }: Context): Verdict {
  if (!(thrown instanceof ApiError)) return 'open';
  if (thrown.code === 'unauthenticated' || thrown.code === 'invalid_signature') return 'bad';
  return db.usage.calls > 0 && thrown.code !== 'unavailable' && thrown.code !== 'internal' ? 'good' : 'open';
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

/** A body of up to this length is read before the database has decided about its key: to look at it costs next to nothing. */
const smallBytes = 8_192;

const isSmall = (route: Route, http: Http): boolean =>
  route.body === undefined || (declaredLength(http.req.raw) ?? Number.POSITIVE_INFINITY) <= smallBytes;

const mayNever = (route: Route, authorization: string | undefined): boolean =>
  isPublishable(authorization) && !pageScopes.includes(route.scope ?? '');

const publishableRefusal = (route: Route): ApiError =>
  new ApiError(
    'forbidden',
    route.method === 'get'
      ? 'Publishable keys read the catalog and campaigns only: use a secret key.'
      : 'Publishable keys are read-only: use a secret key.',
  );

/**
 * Refuses a key before its request is read, where reading costs something or the kind of key decides already. Otherwise
 * the operation's own call decides about the key, so that a good request costs one call.
 */
async function judgeKey(route: Route, http: Http, context: Context, known: boolean): Promise<void> {
  const never = mayNever(route, http.req.header('authorization'));
  if (never && known) throw publishableRefusal(route);
  if (route.scope !== undefined && (never || (!known && !isSmall(route, http)))) {
    await context.db.authenticate(context.call, route.scope);
  }
}

/** The hash of the key that a request shows, or of the token that stands for one. @throws ApiError unauthenticated */
function showCredentials(route: Route, http: Http, { call }: Context): string {
  const authorization = http.req.header('authorization');
  const token = route.takesLiveToken && authorization === undefined ? http.req.query('token') : undefined;
  if (token === undefined) return keyOf(authorization);
  const hash = hashOfLiveToken(token);
  Object.assign(call, { liveToken: token, campaign: http.req.param('id') });
  return hash;
}

/** Runs the operation that a request asks for. A key that is not good is refused before anything else is looked at. */
async function run(route: Route, http: Http, context: Context): Promise<Answer> {
  if (route.scope === undefined) return runOpen(route, http, context);
  const authorization = http.req.header('authorization');
  const keyHash = showCredentials(route, http, context);
  const origin = originOf(route, http.req.header('origin'));
  http.set('reader', origin === undefined ? keyHash : `${keyHash} ${origin}`);
  context.call.keyHash = keyHash;
  if (origin !== undefined) context.call.origin = origin;
  const { known, tell } = await limitRate(http.env, keyHash, http.req.header('cf-connecting-ip'));
  let verdict: Verdict = 'open';
  try {
    await judgeKey(route, http, context, known);
    const answer = await route.run(await readRequest(route, http, context));
    if (context.db.usage.calls > 0) verdict = 'good';
    return answer;
  } catch (thrown) {
    verdict = verdictOf(thrown, context);
    if (context.db.usage.calls === 0 && !(known && mayNever(route, authorization)) && !(thrown instanceof ClientGone)) {
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
    const isForbidden = thrown instanceof ApiError && thrown.code === 'forbidden';
    throw isForbidden && mayNever(route, authorization) ? publishableRefusal(route) : thrown;
  } finally {
    keepAlive(http, tell(verdict));
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

/**
 * The refusal that a client is told. A value that PostgreSQL cannot take (SQLSTATE class 22) is the client's, though a
 * schema should have refused it; anything else that is no refusal becomes an opaque 500.
 */
function refusalOf(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
  return /^22[0-9A-Z]{3}$/.test(code)
    ? new ApiError('validation_failed', 'A value is not one that can be stored. Nothing was changed.')
    : new ApiError('internal');
}

/** The answer to a request that was refused or failed. */
export function refuse(http: Http, thrown: unknown): { response: Response; error: ApiError } {
  const error = refusalOf(thrown);
  const problem = problemOf(error, new URL(http.req.url).pathname, http.var.requestId);
  const headers = new Headers({ 'Content-Type': 'application/problem+json' });
  if (error.code === 'unauthenticated') headers.set('WWW-Authenticate', 'Bearer');
  if (error.code === 'unavailable' || error.code === 'idempotency_in_progress') headers.set('Retry-After', '1');
  if (error.replayed) headers.set('Idempotent-Replayed', 'true');
  for (const [name, value] of Object.entries(error.headers)) headers.set(name, value);
  return { response: new Response(JSON.stringify(problem), { status: problem.status, headers }), error };
}

/** Gives a request its id, its answer and its line in the log. Without an operation the answer is `nothing`. */
export async function handle(
  route: Route | undefined,
  http: Http,
  nothing: ApiError = new ApiError('not_found'),
): Promise<Response> {
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
    if (!route) throw nothing;
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
    // Nobody reads this answer: the log says so, and nothing is wrong on our side.
    if (thrown instanceof ClientGone) {
      response = new Response(null, { status: 499 });
      outcome = 'client_closed';
    } else if (thrown !== refused.error || outcome === 'internal' || outcome === 'unavailable') {
      Object.assign(line, describe(thrown), outcome === 'validation_failed' ? { gap: 'validation' } : {});
    }
  }
  response.headers.set('X-Request-Id', requestId);
  secure(response.headers, route, http.req.url);
  const asked = { origin: http.req.header('origin'), authorization: http.req.header('authorization') };
  shareWithPage(response.headers, route, asked, code);
  const usage = context?.db.usage ?? { calls: 0, ms: 0 };
  if (usage.calls > 0) {
    response.headers.set('Server-Timing', `db;desc="${usage.calls} calls";dur=${usage.ms}`);
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
    dbCalls: usage.calls,
    dbMs: usage.ms,
    ...line,
  });
  return response;
}

/**
 * Puts every operation at its path, and beside it the answers to browsers that ask before they send. Any other method of
 * a path is told which ones there are.
 */
export function mount(app: App, routes: Route[]): void {
  const allowed = allowedIn(routes);
  for (const route of routes) {
    const path = route.path.replaceAll(/\{(\w+)\}/g, ':$1');
    app.on(route.method.toUpperCase(), path, (http) => handle(route, http));
    if (isForPages(route)) app.on('OPTIONS', path, preflight);
  }
  const bare = (http: Http, status: 204 | 302, headers: Record<string, string>): Response => {
    const response = new Response(null, { status, headers });
    secure(response.headers, undefined, http.req.url);
    return response;
  };
  app.get('/', (http) => bare(http, 302, { Location: '/docs' }));
  app.notFound((http) => {
    const path = new URL(http.req.url).pathname;
    const methods = allowed(path);
    if (http.req.method === 'OPTIONS' && methods !== undefined) {
      return bare(http, 204, { Allow: methods });
    }
    return handle(undefined, http, missing(path, allowed));
  });
}
