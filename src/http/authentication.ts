import { createMiddleware } from 'hono/factory';
import { declaredLength } from '../base/body.ts';
import { ApiError, ClientGone } from '../base/errors.ts';
import type { AppEnv, Http } from './app-env.ts';
import { originOf, pageScopes } from './cors.ts';
import { hashOfLiveToken, isPublishable, keyOf } from './credentials.ts';
import type { Operation } from './declaration.ts';

/** A body of up to this many bytes is read before the database has accepted its key: that costs next to nothing. */
const smallBytes = 8_192;

const isSmall = (operation: Operation, request: Request): boolean =>
  operation.body === undefined || (declaredLength(request) ?? Number.POSITIVE_INFINITY) <= smallBytes;

/** Whether the key is publishable and the operation is not for pages: no publishable key may ever do this. */
const isNeverAllowed = (operation: Operation, authorization: string | undefined): boolean =>
  isPublishable(authorization) && !pageScopes.includes(operation.scope ?? '');

/**
 * Reads the key, or the token that replaces it, and keeps its hash for the operation's database call.
 * @throws ApiError unauthenticated, if there is none or it has the wrong form
 */
export const readCredentials = createMiddleware<AppEnv>(async (c, next) => {
  const { operation } = c.var;
  if (operation?.scope === undefined) return next();
  const { call } = c.var.context;
  const authorization = c.req.header('authorization');
  const token = operation.takesLiveToken && authorization === undefined ? c.req.query('token') : undefined;
  const keyHash = token === undefined ? keyOf(authorization) : hashOfLiveToken(token);
  if (token !== undefined) call.liveToken = token;
  call.keyHash = keyHash;
  const origin = originOf(operation, c.req.header('origin'));
  if (origin !== undefined) call.origin = origin;
  c.set('reader', origin === undefined ? keyHash : `${keyHash} ${origin}`);
  await next();
});

/** The same error, or a clearer one where a publishable key was used for what it may never do. */
function explain(c: Http, operation: Operation, error: unknown): unknown {
  const isForbidden = error instanceof ApiError && error.code === 'forbidden';
  if (!isForbidden || !isNeverAllowed(operation, c.req.header('authorization'))) return error;
  return new ApiError(
    'forbidden',
    c.req.method === 'GET' || c.req.method === 'HEAD'
      ? 'Publishable keys read the catalog and campaigns only: use a secret key.'
      : 'Publishable keys are read-only: use a secret key.',
  );
}

/**
 * Has the database check the key. A good request costs no call of its own: the operation's own call checks the key. Only
 * a body that costs something to read, or a publishable key where none is allowed, is checked ahead. A request that fails
 * before it reaches the database is checked afterwards, so that an invalid key is always told before an invalid request.
 * @throws ApiError unauthenticated, forbidden, unavailable
 */
export const authentication = createMiddleware<AppEnv>(async (c, next) => {
  const { operation } = c.var;
  if (operation?.scope === undefined) return next();
  const { scope } = operation;
  const { db, call } = c.var.context;
  const check = () =>
    db.authenticate(call, scope).catch((error: unknown) => {
      throw explain(c, operation, error);
    });
  const isNever = isNeverAllowed(operation, c.req.header('authorization'));
  if (isNever && c.var.isKeyKnown) throw explain(c, operation, new ApiError('forbidden'));
  if (isNever || (!c.var.isKeyKnown && !isSmall(operation, c.req.raw))) await check();
  await next();
  if (!c.error) return;
  if (db.usage.calls === 0 && !(c.error instanceof ClientGone)) {
    await check();
    c.set('isKeyChecked', true);
  }
  const explained = explain(c, operation, c.error);
  if (explained !== c.error) throw explained;
});
