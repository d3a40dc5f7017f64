import { Hono, type MiddlewareHandler } from 'hono';
import { vi } from 'vitest';
import { defaultCell } from '../../src/base/cells.ts';
import type { Context } from '../../src/context.ts';
import type { AppEnv } from '../../src/http/app-env.ts';
import type { Operation } from '../../src/http/declaration.ts';
import { problemDetails } from '../../src/http/problem-details.ts';

/** A fake database that counts its calls and accepts every key. */
export function countingDatabase(authenticate: () => Promise<void> = async () => undefined) {
  const usage = { calls: 0, ms: 0 };
  const db = {
    usage,
    tenant: 'acme',
    cell: defaultCell,
    authenticate: vi.fn(async () => {
      usage.calls++;
      await authenticate();
    }),
  };
  return db as typeof db & Context['db'];
}

/** The settings of an installation with one cell. */
const settings = { cells: new Map([[defaultCell, {}]]) } as object;

type Options = { db?: ReturnType<typeof countingDatabase>; operation?: Partial<Operation> };

export const exampleOperation: Operation = {
  id: 'doThing',
  tag: 'Things',
  summary: 'Do a thing',
  responses: {},
  errors: [],
};

/**
 * An app that runs these middleware and then `handler` for every request, with the context variables already set.
 * `backgroundTasks` are the promises that were passed to `waitUntil`.
 */
export function appWith(
  middleware: MiddlewareHandler<AppEnv>[],
  handler: MiddlewareHandler<AppEnv> = async (c) => c.text('done'),
  { db = countingDatabase(), operation }: Options = {},
) {
  const app = new Hono<AppEnv>();
  app.onError(problemDetails);
  app.use(async (c, next) => {
    c.set('requestId', 'request-1');
    if (operation) c.set('operation', { ...exampleOperation, ...operation });
    if (operation)
      c.set('context', { db, settings: settings as Context['settings'], call: {}, now: () => new Date(0) });
    await next();
  });
  for (const each of middleware) app.use(each);
  app.all('*', handler);
  const backgroundTasks: Promise<unknown>[] = [];
  const executionCtx = {
    waitUntil: (task: Promise<unknown>) => backgroundTasks.push(task),
    passThroughOnException: () => undefined,
  };
  const request = (path: string, init: RequestInit = {}, env: object = {}) =>
    app.request(`https://api.example${path}`, init, env, executionCtx as unknown as ExecutionContext);
  return { request, backgroundTasks, db };
}
