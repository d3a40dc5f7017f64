import type { Context as HonoContext } from 'hono';
import type * as z from 'zod';
import type { Code } from '../base/errors.ts';
import type { Context } from '../context.ts';
import type { Bindings } from '../env.ts';

/** What the middleware keeps for a request. */
export type Variables = {
  requestId: string;
  traceparent: string;
  context: Context;
  tenant: string | null;
  /** The key's hash, and the page's origin where one asks: whoever has been let in as this may be let in again. */
  reader: string;
};

export type Http = HonoContext<{ Bindings: Bindings; Variables: Variables }>;

/** What an operation gets of a request, validated. */
export type Request<P, Q, B> = { params: P; query: Q; body: B; context: Context; http: Http };

/** What an operation answers. */
export type Answer = {
  status: 200 | 201 | 202 | 204;
  body?: unknown;
  /** Of the resource, where it has one: the first part of its ETag, which `If-Match` names. */
  version?: number;
  /** A single resource: it gets an ETag, and `If-None-Match` is honoured. */
  resource?: true;
  tenant?: string;
  replayed?: boolean;
  headers?: Record<string, string>;
};

/**
 * One operation of the API, declared once: what validates a request is what documents it. `errors` are the codes beyond
 * those that every operation with these properties can give (see openapi.ts).
 */
export type Route<P extends z.ZodType = z.ZodType, Q extends z.ZodType = z.ZodType, B extends z.ZodType = z.ZodType> = {
  id: string;
  method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** With `{name}` for parameters, as in OpenAPI. */
  path: string;
  tag: string;
  summary: string;
  description?: string;
  /** The scope that a key needs; none: the operation is open to all. */
  scope?: string;
  /** A token in the query may stand for the key: for what browsers ask without headers. */
  takesLiveToken?: true;
  /** Of an open operation that costs something: which of its requests count against the limit of their address. */
  counted?: 'all' | 'refused';
  idempotency?: 'required' | 'taken';
  ifMatch?: true;
  params?: P;
  query?: Q;
  body?: B;
  /** The body is not JSON: the operation reads it itself, of these media types. */
  stream?: string[];
  example?: unknown;
  /** `type`: the media type of an answer that no schema describes. */
  answers: Partial<
    Record<Answer['status'], { description: string; schema?: z.ZodType; type?: string; example?: unknown }>
  >;
  errors: Code[];
  run: (request: Request<z.output<P>, z.output<Q>, z.output<B>>) => Promise<Answer> | Answer;
};

/** Checks a declaration's types against each other; the list of all routes forgets them. */
export function route<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType>(declared: Route<P, Q, B>): Route {
  return declared as unknown as Route;
}
