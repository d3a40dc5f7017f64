import * as z from 'zod';
import { id } from '../../src/base/fields.ts';
import type { Topic } from '../../src/events/topics.ts';

export type Schema = { [keyword: string]: unknown };

const isObject = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Replaces references by the schemas that they name, so that each file can be read alone. */
function inlineReferences(value: unknown, defs: Schema): unknown {
  if (Array.isArray(value)) return value.map((item) => inlineReferences(item, defs));
  if (!isObject(value)) return value;
  const { $ref, ...keywords } = value;
  const target = typeof $ref === 'string' ? defs[$ref.replace('#/$defs/', '')] : undefined;
  const { id: _, ...referenced } = isObject(target) ? target : {};
  return Object.fromEntries(
    Object.entries({ ...referenced, ...keywords }).map(([name, inner]) => [name, inlineReferences(inner, defs)]),
  );
}

/** The JSON Schema (2020-12) of a topic's payload. It allows unknown properties, which readers ignore. */
export function generateSchema(name: string, { payload, key }: Topic): Schema {
  const { $schema, $defs, ...keywords } = z.toJSONSchema(payload, {
    target: 'draft-2020-12',
    io: 'output',
    override({ zodSchema, jsonSchema }) {
      delete jsonSchema.additionalProperties;
      if (zodSchema === id) jsonSchema.format = 'uuid';
      if (jsonSchema.format !== undefined) delete jsonSchema.pattern;
      // Zod adds JavaScript's limits to every integer. They are not part of the contract.
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    },
  });
  const { id: _, description, ...schema } = inlineReferences(keywords, ($defs ?? {}) as Schema) as Schema;
  const about = `The payload of ${name}: the record's value, or "data" where records have no headers. Key: ${key}.`;
  return { $schema, $id: `${name}.json`, title: name, description: about, ...schema };
}

/** Formats a schema as its file contains it. As the formatter does, a list of words goes on one line if it fits. */
export function printSchema(schema: Schema): string {
  const text = JSON.stringify(schema, null, 2);
  const lists = /^( *"[^"]*": )(\[\n[^[\]{}]*?\])(,?)$/gm;
  const printed = text.replaceAll(lists, (whole, before: string, list: string, after: string) => {
    const words = (JSON.parse(list) as unknown[]).map((word) => JSON.stringify(word));
    const line = `${before}[${words.join(', ')}]${after}`;
    return line.length <= 120 ? line : whole;
  });
  return `${printed}\n`;
}
