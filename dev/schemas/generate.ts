import * as z from 'zod';
import { id } from '../../src/base/fields.ts';
import type { Topic } from '../../src/events/topics.ts';

export type Schema = { [keyword: string]: unknown };

const isObject = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A schema without references: each file is read by itself. */
function inlined(value: unknown, defs: Schema): unknown {
  if (Array.isArray(value)) return value.map((item) => inlined(item, defs));
  if (!isObject(value)) return value;
  const { $ref, ...own } = value;
  const target = typeof $ref === 'string' ? defs[$ref.replace('#/$defs/', '')] : undefined;
  const { id: _, ...given } = isObject(target) ? target : {};
  return Object.fromEntries(Object.entries({ ...given, ...own }).map(([name, inner]) => [name, inlined(inner, defs)]));
}

/** JSON Schema (2020-12) of what a topic's records carry. Open: readers ignore members that they do not know. */
export function generateSchema(name: string, { payload, key }: Topic): Schema {
  const { $schema, $defs, ...own } = z.toJSONSchema(payload, {
    target: 'draft-2020-12',
    io: 'output',
    override({ zodSchema, jsonSchema }) {
      delete jsonSchema.additionalProperties;
      if (zodSchema === id) jsonSchema.format = 'uuid';
      if (jsonSchema.format !== undefined) delete jsonSchema.pattern;
      // Every whole number of JavaScript's: that is no promise.
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    },
  });
  const { id: _, description, ...schema } = inlined(own, ($defs ?? {}) as Schema) as Schema;
  const about = `The payload of ${name}: the record's value, or "data" where records have no headers. Key: ${key}.`;
  return { $schema, $id: `${name}.json`, title: name, description: about, ...schema };
}

/** A schema as it stands in its file: a list of words on one line where it fits, as the formatter has it. */
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
