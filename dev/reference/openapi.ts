// Types for the parts of an OpenAPI document that the reference reads or writes.

export type Schema = { [keyword: string]: unknown };

export type Parameter = {
  name: string;
  in: string;
  required: boolean;
  description?: string;
  schema: Schema;
  example?: unknown;
  examples?: Record<string, { value: unknown; 'x-disabled'?: boolean }>;
};

export type Content = Record<string, { schema?: Schema; example?: unknown }>;

export type ResponseObject = { description: string; headers?: Record<string, unknown>; content?: Content };

/** A code sample of an operation, in the common OpenAPI extension that Scalar and Redoc read. */
export type CodeSample = { lang: string; label: string; source: string };

export type Operation = {
  operationId: string;
  tags: string[];
  summary: string;
  description?: string;
  security: Record<string, string[]>[];
  parameters: (Parameter | { $ref: string })[];
  requestBody?: { required: boolean; content: Content };
  responses: Record<string, ResponseObject | { $ref: string }>;
  'x-codeSamples'?: CodeSample[];
};

/** An event of the catalogue, written as an OpenAPI webhook. */
export type Webhook = {
  operationId: string;
  tags: string[];
  summary: string;
  description: string;
  requestBody: { required: true; content: Content };
};

/** Sample values in the examples that page/start.js replaces with existing values of the local platform. */
export type Samples = {
  /** For the path of each list: the fields of its rows, with the sample values that stand for them. */
  samples: Record<string, Record<string, string>>;
  /** Operations whose body needs a SKU that does not exist yet, and the sample SKU in their examples. */
  newSku: { sample: string; operations: string[] };
};

export type OpenApi = {
  openapi: string;
  info: { title: string; version: string; description: string };
  servers: { url: string; description?: string }[];
  tags: { name: string; description?: string }[];
  paths: Record<string, Record<string, Operation>>;
  webhooks?: Record<string, Record<string, Webhook>>;
  components: {
    schemas: Record<string, Schema>;
    parameters: Record<string, Parameter>;
    responses: Record<string, ResponseObject>;
    examples: Record<
      string,
      { summary: string; value: { code: string; status: number; title: string; detail: string } }
    >;
    securitySchemes: Record<string, Schema>;
  };
  'x-samples'?: Samples;
  'x-tagGroups'?: { name: string; tags: string[] }[];
};

/** An operation with its path, its method, and its parameters with references resolved. */
export type ResolvedOperation = { path: string; method: string; operation: Operation; parameters: Parameter[] };

/** Every operation of a document, in the document's order. */
export const operationsOf = ({ paths, components }: OpenApi): ResolvedOperation[] =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      path,
      method,
      operation,
      parameters: operation.parameters.map((parameter) =>
        '$ref' in parameter ? resolveReference(components.parameters, parameter.$ref) : parameter,
      ),
    })),
  );

/** Finds the target of a reference into `components`. @throws Error if it does not exist */
export function resolveReference<T>(components: Record<string, T>, ref: string): T {
  const found = components[ref.slice(ref.lastIndexOf('/') + 1)];
  if (found === undefined) throw new Error(`the OpenAPI document has nothing at ${ref}`);
  return found;
}
