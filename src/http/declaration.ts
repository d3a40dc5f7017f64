import type * as z from 'zod';
import type { Code } from '../base/errors.ts';

export type Shopper = 'publishable' | 'session';

export type Status = 200 | 201 | 202 | 204;

/**
 * One operation of the API, declared once: the same schemas validate requests and make the OpenAPI document. `errors`:
 * the codes that do not follow from the other properties (dev/openapi/codes.ts).
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
  /** The scope that a key needs. An operation without a scope needs no key. */
  scope?: string;
  /**
   * The callers from a browser that may use the operation without its scope: a publishable key, often with the
   * `Cart-Token` of the row, and a customer's session. The SQL function checks that the row is theirs.
   */
  shoppers?: readonly Shopper[];
  /** A token in the query may replace the key, for browser APIs that cannot send headers. */
  takesLiveToken?: true;
  /**
   * For an operation without a scope, or one that checks more than the key: which of its requests count against the
   * limit of their address. Default: none. If it takes a database call to reject one, those that are under way count
   * too.
   */
  counted?: 'all' | 'rejected' | 'rejected by the database';
  /** Ignores unknown query parameters: links to this operation are shared, and other sites add parameters to them. */
  ignoresUnknownQuery?: true;
  idempotency?: 'required' | 'optional';
  ifMatch?: true;
  params?: P;
  query?: Q;
  body?: B;
  /** The body is not JSON: the operation reads it itself, in one of these media types. */
  stream?: string[];
  example?: unknown;
  /**
   * `type`: the media type of a response that no schema describes, or several, with an example of each by its type.
   * `page`: an example of the HTML that a client may get in place of JSON.
   */
  responses: Partial<
    Record<
      Status,
      { description: string; schema?: z.ZodType; type?: string | string[]; example?: unknown; page?: string }
    >
  >;
  errors: Code[];
};

/** An operation at its place in the API. `path` has `{name}` for parameters, as in OpenAPI. */
export type Route = Operation & { method: 'get' | 'post' | 'put' | 'patch' | 'delete'; path: string };

/** Whether the operation is a webhook. Other systems call it without a key, and sign the body or send a secret. */
export const isWebhook = ({ scope, stream }: Pick<Operation, 'scope' | 'stream'>): boolean =>
  scope === undefined && stream !== undefined;
