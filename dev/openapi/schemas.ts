import * as z from 'zod';
import { defaultLimit, id, limit, time } from '../../src/base/fields.ts';

export type Schema = { [keyword: string]: unknown };

export type Schemas = {
  /** The schemas that have a name (`.meta({ id })`), for components/schemas. */
  named: Record<string, Schema>;
  /**
   * Converts a zod schema to JSON Schema, for requests (`input`) or responses (`output`). Named schemas become
   * references.
   */
  of: (schema: z.ZodType, io: 'input' | 'output') => Schema;
};

/** Points references to components/schemas instead of `$defs`. */
function rewriteReferences(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(rewriteReferences);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      name === '$ref' && typeof inner === 'string'
        ? inner.replace('#/$defs/', '#/components/schemas/')
        : rewriteReferences(inner),
    ]),
  );
}

/** Converts zod schemas for an OpenAPI 3.1 document (JSON Schema 2020-12) and collects the named ones. */
export function collectSchemas(): Schemas {
  const named: Record<string, Schema> = {};

  function addNamed(name: string, schema: Schema): void {
    const known = named[name];
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(schema)) {
      throw new Error(
        `two different schemas have the name ${name}: rename one of them. If there is only one, it differs between requests and responses: use two schemas`,
      );
    }
    named[name] = schema;
  }

  return {
    named,
    of(schema, io) {
      const {
        $schema: _,
        $defs,
        ...root
      } = z.toJSONSchema(schema, {
        target: 'draft-2020-12',
        io,
        override({ zodSchema, jsonSchema }) {
          if (zodSchema === id) {
            delete jsonSchema.pattern;
            jsonSchema.format = 'uuid';
          }
          // zod omits the default of a transformed schema.
          if (zodSchema === limit) jsonSchema.default = defaultLimit;
          if (zodSchema._zod.def.type === 'string' && jsonSchema.format === 'date-time') {
            delete jsonSchema.pattern;
            jsonSchema.examples ??= time.meta()?.examples as unknown[];
          }
          // Later versions may add fields to responses. Only requests reject unknown fields.
          const { def } = zodSchema._zod;
          if (def.type === 'object' && !('catchall' in def && def.catchall)) delete jsonSchema.additionalProperties;
        },
      });
      for (const [name, inner] of Object.entries($defs ?? {})) addNamed(name, rewriteReferences(inner) as Schema);
      const name = schema.meta()?.id;
      const { id: __, ...plain } = rewriteReferences(root) as Schema;
      if (name === undefined) return plain;
      if (plain.$ref === undefined) addNamed(name, plain);
      return { $ref: `#/components/schemas/${name}` };
    },
  };
}
