import type * as z from 'zod';
import type { Code } from '../base/errors.ts';

export type Status = 200 | 201 | 202 | 204;

/**
 * One operation of the API, declared once: what validates a request also documents it. `errors` are the codes beyond those
 * that every operation with these properties can return (`openapi/codes.ts`).
 */
export type Operation<
  P extends z.ZodType = z.ZodType,
  Q extends z.ZodType = z.ZodType,
  B extends z.ZodType = z.ZodType,
> = {
  id: string;
  tag: string;
  summary: string;
  description?: string;
  /** The scope that a key needs. An operation without one is open to all. */
  scope?: string;
  /** A token in the query may replace the key, for browser APIs that cannot send headers. */
  takesLiveToken?: true;
  /** For an open operation that costs something: which of its requests count against the limit of their address. */
  counted?: 'all' | 'refused';
  idempotency?: 'required' | 'taken';
  ifMatch?: true;
  params?: P;
  query?: Q;
  body?: B;
  /** The body is not JSON: the operation reads it itself, in one of these media types. */
  stream?: string[];
  example?: unknown;
  /** `type`: the media type of a response that no schema describes. */
  responses: Partial<Record<Status, { description: string; schema?: z.ZodType; type?: string; example?: unknown }>>;
  errors: Code[];
};

/** An operation at its place in the API. `path` has `{name}` for parameters, as in OpenAPI. */
export type Route = Operation & { method: 'get' | 'post' | 'put' | 'patch' | 'delete'; path: string };

/** Whether other systems call it with bodies that they sign. */
export const isWebhook = ({ scope, stream }: Pick<Operation, 'scope' | 'stream'>): boolean =>
  scope === undefined && stream !== undefined;
