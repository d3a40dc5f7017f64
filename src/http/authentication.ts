import { createMiddleware } from 'hono/factory';
import { declaredLength } from '../base/body.ts';
import { defaultCell } from '../base/cells.ts';
import { ApiError, ClientGone } from '../base/errors.ts';
import { inCell } from '../context.ts';
import type { AppEnv, HttpContext } from './app-env.ts';
import { originOf, pageScopes } from './cors.ts';
import { isSession, readCartToken, readKey, readLiveToken, shopperOf } from './credentials.ts';
import type { Operation } from './declaration.ts';

/** A body of up to this many bytes is read before the key is checked, because reading it costs almost nothing. */
const smallBytes = 8_192;

const isSmall = (operation: Operation, request: Request): boolean =>
  operation.body === undefined || (declaredLength(request) ?? Number.POSITIVE_INFINITY) <= smallBytes;

/** Whether the key is for browsers, and the operation never allows a key of its kind. */
function isNeverAllowed({ scope, shoppers }: Operation, authorization: string | undefined): boolean {
  const shopper = shopperOf(authorization);
  return shopper !== undefined && !pageScopes.includes(scope ?? '') && !shoppers?.includes(shopper);
}

/**
 * Reads the key, or the token that replaces it, keeps its hash for the operation's database call, and opens the
 * database of the cell that it names.
 * @throws ApiError unauthenticated, if there is none or it has the wrong format
 */
export const readCredentials = createMiddleware<AppEnv>(async (c, next) => {
  const operation = c.get('operation');
  if (operation?.scope === undefined) return next();
  const context = c.get('context');
  const { call, settings } = context;
  const authorization = c.req.header('authorization');
  const text = operation.takesLiveToken && authorization === undefined ? c.req.query('token') : undefined;
  const live = text === undefined ? undefined : readLiveToken(text, settings.cells);
  const { hash, cell } = live ?? readKey(authorization, settings.cells);
  if (live !== undefined) call.liveToken = live.token;
  if (isSession(authorization)) call.session = true;
  const cartHash = operation.shoppers && readCartToken(c.req.header('cart-token'));
  if (cartHash !== undefined) call.cartHash = cartHash;
  const shopper = shopperOf(authorization);
  if (shopper !== undefined && operation.shoppers?.includes(shopper)) call.shopper = true;
  call.keyHash = hash;
  if (cell !== defaultCell) c.set('context', inCell(context, cell));
  const origin = originOf(operation, c.req.header('origin'));
  if (origin !== undefined) call.origin = origin;
  c.set('reader', origin === undefined ? hash : `${hash} ${origin}`);
  await next();
});

/** Replaces `forbidden` with a clearer error if the operation never allows a key of this kind. */
function explain(c: HttpContext, operation: Operation, error: unknown): unknown {
  const isForbidden = error instanceof ApiError && error.code === 'forbidden';
  if (!isForbidden || !isNeverAllowed(operation, c.req.header('authorization'))) return error;
  if (isSession(c.req.header('authorization')))
    return new ApiError('forbidden', 'A customer session cannot do this: use a secret key.');
  if (operation.shoppers?.includes('session'))
    return new ApiError('forbidden', 'A publishable key cannot do this: use a customer session or a secret key.');
  return new ApiError(
    'forbidden',
    c.req.method === 'GET' || c.req.method === 'HEAD'
      ? 'Publishable keys read the catalog, campaigns and carts only: use a secret key.'
      : 'Publishable keys change carts only: use a secret key.',
  );
}

/**
 * Checks the key. Usually the operation's own database call does this, so a valid request needs no extra call. An extra
 * call checks the key first if the body is large and the key is not known, or if the operation never allows a
 * publishable key or a session. If a request fails before its database call, the key is checked then: an invalid key is
 * always the error returned.
 * @throws ApiError unauthenticated, forbidden, unavailable
 */
export const authentication = createMiddleware<AppEnv>(async (c, next) => {
  const operation = c.get('operation');
  if (operation?.scope === undefined) return next();
  const { scope } = operation;
  const { db, call } = c.get('context');
  const check = () =>
    db.authenticate(call, scope, operation.shoppers).catch((error: unknown) => {
      throw explain(c, operation, error);
    });
  const neverAllowed = isNeverAllowed(operation, c.req.header('authorization'));
  if (neverAllowed && c.get('isKeyKnown')) throw explain(c, operation, new ApiError('forbidden'));
  if (neverAllowed || (!c.get('isKeyKnown') && !isSmall(operation, c.req.raw))) await check();
  await next();
  if (!c.error) return;
  if (db.usage.calls === 0 && !(c.error instanceof ClientGone)) {
    await check();
    c.set('isKeyChecked', true);
  }
  const explained = explain(c, operation, c.error);
  if (explained !== c.error) throw explained;
});
