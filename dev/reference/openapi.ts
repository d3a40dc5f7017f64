/** What the reference reads and writes of an OpenAPI document: the parts that ours has. */
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

export type Answer = { description: string; headers?: Record<string, unknown>; content?: Content };

/** A sample of code beside an operation; the field's usual extension, which Scalar and Redoc read. */
export type Sample = { lang: string; label: string; source: string };

export type Operation = {
  operationId: string;
  tags: string[];
  summary: string;
  description?: string;
  security: Record<string, string[]>[];
  parameters: (Parameter | { $ref: string })[];
  requestBody?: { required: boolean; content: Content };
  responses: Record<string, Answer | { $ref: string }>;
  'x-codeSamples'?: Sample[];
};

/** An event of the catalogue, in the form of an OpenAPI webhook. */
export type Webhook = {
  operationId: string;
  tags: string[];
  summary: string;
  description: string;
  requestBody: { required: true; content: Content };
};

/** Values in the examples that differ from platform to platform. */
export type Samples = {
  /** By a list of the API: the values that stand for members of its rows. */
  samples: Record<string, Record<string, string>>;
  /** Operations whose body needs an SKU that is not taken, and the one that stands there. */
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
    responses: Record<string, Answer>;
    examples: Record<
      string,
      { summary: string; value: { code: string; status: number; title: string; detail: string } }
    >;
    securitySchemes: Record<string, Schema>;
  };
  'x-samples'?: Samples;
  'x-tagGroups'?: { name: string; tags: string[] }[];
};

/** An operation with its place and its parameters, references followed. */
export type Placed = { path: string; method: string; operation: Operation; parameters: Parameter[] };

/** Every operation of a document, in its order. */
export const operationsOf = ({ paths, components }: OpenApi): Placed[] =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      path,
      method,
      operation,
      parameters: operation.parameters.map((one) => ('$ref' in one ? followed(components.parameters, one.$ref) : one)),
    })),
  );

/** What stands at a reference into `components`. */
export function followed<T>(from: Record<string, T>, ref: string): T {
  const found = from[ref.slice(ref.lastIndexOf('/') + 1)];
  if (found === undefined) throw new Error(`the OpenAPI document has nothing at ${ref}`);
  return found;
}
