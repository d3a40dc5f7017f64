import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { describe, expect, test } from 'vitest';
import { findBreakingChanges } from '../../dev/schemas/compare.ts';
import { generateSchema, printSchema, type Schema } from '../../dev/schemas/generate.ts';
import { topics } from '../../src/events/topics.ts';

const dir = join(import.meta.dirname, '..', '..', 'schemas');
const read = (name: string): string => readFileSync(join(dir, `${name}.json`), 'utf8');
const namesIn = (folder: string): string[] =>
  readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.replace(/\.json$/, ''))
    .sort();

// The package is CommonJS: depending on the loader, the import is the function or an object with it.
const installFormats = 'default' in addFormats ? addFormats.default : addFormats;
const ajv = new Ajv2020({ strict: true, allErrors: true, allowUnionTypes: true });
installFormats(ajv as never);

const readMember = (payload: unknown, path: string): unknown =>
  path.split('.').reduce((value: unknown, name) => (value as Schema | undefined)?.[name], payload);

/** The paths of all members that a schema declares. */
const declaredPaths = ({ properties, items }: Schema, path = ''): string[] => [
  ...Object.entries((properties ?? {}) as Record<string, Schema>).flatMap(([name, inner]) => [
    `${path}/${name}`,
    ...declaredPaths(inner, `${path}/${name}`),
  ]),
  ...(items ? declaredPaths(items as Schema, `${path}[]`) : []),
];

/** The paths of all members of a value that its schema declares. The names in a map, such as `metadata`, are free. */
const pathsIn = (value: unknown, schema: Schema | undefined, path = ''): string[] => {
  if (Array.isArray(value)) return value.flatMap((item) => pathsIn(item, schema?.items as Schema, `${path}[]`));
  const properties = schema?.properties as Record<string, Schema> | undefined;
  if (typeof value !== 'object' || value === null || properties === undefined) return [];
  return Object.entries(value).flatMap(([name, inner]) => [
    `${path}/${name}`,
    ...pathsIn(inner, properties[name], `${path}/${name}`),
  ]);
};

test('every topic has a schema and a sample, and every schema has a topic', () => {
  const names = Object.keys(topics).sort();
  expect(namesIn(dir)).toEqual(names);
  expect(namesIn(join(dir, 'samples'))).toEqual(names);
});

describe.each(Object.entries(topics))('the schema of %s', (name, topic) => {
  const published = JSON.parse(read(name)) as Schema;
  const sample: unknown = JSON.parse(read(`samples/${name}`));
  const isValid = ajv.compile(published);

  test('has no breaking change compared to the declaration', () => {
    expect(findBreakingChanges(published, generateSchema(name, topic))).toEqual([]);
  });

  test('is up to date: npm run schemas would not change it', () => {
    expect(printSchema(generateSchema(name, topic))).toBe(read(name));
  });

  test('accepts the sample, as the topic registry does; the sample has every member and the key', () => {
    expect(isValid(sample), JSON.stringify(isValid.errors)).toBe(true);
    expect(topic.payload.parse(sample)).toEqual(sample);
    // A tier has `participants` or `units`. The samples have tiers of participants.
    const declared = declaredPaths(published).filter((path) => !path.endsWith('/tiers[]/units'));
    expect([...new Set(pathsIn(sample, published))].sort()).toEqual(declared.sort());
    expect(typeof readMember(sample, topic.key)).toBe('string');
  });

  test('accepts unknown members, and rejects an event without a required one', () => {
    const payload = sample as Schema;
    expect(isValid({ ...payload, unknownMember: { any: 'thing' } })).toBe(true);
    const required = published.required as string[];
    expect(required.length).toBeGreaterThan(0);
    for (const member of Object.keys(published.properties as Schema)) {
      const { [member]: _, ...rest } = payload;
      expect(isValid(rest), member).toBe(!required.includes(member));
      expect(topic.payload.safeParse(rest).success, member).toBe(!required.includes(member));
      expect(isValid({ ...payload, [member]: false }), member).toBe(false);
    }
  });
});
