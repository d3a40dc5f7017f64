import type { Problem } from '../../http/problem.ts';

/** What the page reads of an OpenAPI document: the parts that ours has. */
export type Schema = {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  examples?: unknown[];
  pattern?: string;
  additionalProperties?: boolean | Schema;
} & { [limit: string]: unknown };

export type Parameter = { name: string; in: string; required: boolean; description?: string; schema: Schema };
export type Content = Record<string, { schema: Schema; example?: unknown }>;
export type Answer = { description: string; headers?: Record<string, unknown>; content?: Content };

export type Operation = {
  operationId: string;
  tags: string[];
  summary: string;
  description?: string;
  security: Record<string, string[]>[];
  parameters: (Parameter | { $ref: string })[];
  requestBody?: { required: boolean; content: Content };
  responses: Record<string, Answer | { $ref: string }>;
};

export type Document = {
  info: { title: string; version: string; description: string };
  tags: { name: string; description?: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: {
    schemas: Record<string, Schema>;
    parameters: Record<string, Parameter>;
    responses: Record<string, Answer>;
    examples: Record<string, { value: Problem }>;
  };
};

/** The last step of a reference: what it names. */
export const nameIn = (ref: string): string => ref.slice(ref.lastIndexOf('/') + 1);

/** What stands at a reference into `components`, or the thing itself. */
export function resolve<T extends object>(from: Record<string, T>, thing: T | { $ref: string }): T {
  if (!('$ref' in thing) || typeof thing.$ref !== 'string') return thing as T;
  const found = from[nameIn(thing.$ref)];
  if (!found) throw new Error(`the document has nothing at ${thing.$ref}`);
  return found;
}
