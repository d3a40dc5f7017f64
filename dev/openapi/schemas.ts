import * as z from 'zod';
import { defaultLimit, id, limit, time } from '../../src/base/fields.ts';

export type Schema = { [keyword: string]: unknown };

export type Schemas = {
  /** Every schema that has a name (`.meta({ id })`), for components/schemas. */
  named: Record<string, Schema>;
  /** A schema as JSON Schema, named ones by reference, as requests (`input`) or responses (`output`) have it. */
  of: (schema: z.ZodType, io: 'input' | 'output') => Schema;
};

function renamed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(renamed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      name === '$ref' && typeof inner === 'string'
        ? inner.replace('#/$defs/', '#/components/schemas/')
        : renamed(inner),
    ]),
  );
}

/** Turns the declarations' schemas into those of an OpenAPI 3.1 document (JSON Schema 2020-12). */
export function collectSchemas(): Schemas {
  const named: Record<string, Schema> = {};

  function keep(name: string, schema: Schema): void {
    const known = named[name];
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(schema)) {
      throw new Error(
        `two different schemas have the name ${name}: give one another name. It may differ between requests and responses`,
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
        ...own
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
      for (const [name, inner] of Object.entries($defs ?? {})) keep(name, renamed(inner) as Schema);
      const name = schema.meta()?.id;
      const { id: __, ...plain } = renamed(own) as Schema;
      if (name === undefined) return plain;
      if (plain.$ref === undefined) keep(name, plain);
      return { $ref: `#/components/schemas/${name}` };
    },
  };
}
