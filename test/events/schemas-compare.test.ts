import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { findBreakingChanges } from '../../dev/schemas/compare.ts';
import { generateSchema, printSchema } from '../../dev/schemas/generate.ts';

const of = (payload: z.ZodType) =>
  generateSchema('order.tested', { retentionDays: 7, partitions: 6, key: 'orderId', payload, consumers: [] });

const line = z.object({ sku: z.string().min(1), price: z.number().nonnegative() });
const members = {
  orderId: z.string(),
  status: z.enum(['open', 'won']),
  kind: z.literal('test'),
  note: z.string().optional(),
  label: z.string().nullable(),
  time: z.iso.datetime(),
  items: z.array(line),
  buyer: z.object({ name: z.string() }),
  choice: z.union([z.string(), z.object({ a: z.string() })]),
};
const published = of(z.object(members));
const breaksOf = (more: Record<string, z.ZodType>, less: string[] = []) => {
  const next = Object.fromEntries(Object.entries({ ...members, ...more }).filter(([name]) => !less.includes(name)));
  return findBreakingChanges(published, of(z.object(next)));
};

describe('a published schema may', () => {
  test('stay the same, with its members in any order', () => {
    expect(breaksOf({})).toEqual([]);
    const turned = Object.fromEntries(Object.entries({ ...members, status: z.enum(['won', 'open']) }).reverse());
    expect(findBreakingChanges(published, of(z.object(turned)))).toEqual([]);
  });

  test('gain optional members, at any depth', () => {
    expect(breaksOf({ more: z.string().optional() })).toEqual([]);
    expect(breaksOf({ buyer: z.object({ name: z.string(), city: z.string().optional() }) })).toEqual([]);
    expect(breaksOf({ items: z.array(line.extend({ tax: z.number().optional() })) })).toEqual([]);
  });

  test('change its descriptions', () => {
    const expected = z.string().meta({ description: 'in other words', examples: ['x'] });
    expect(breaksOf({ orderId: expected })).toEqual([]);
  });
});

describe('a breaking change is reported when', () => {
  for (const [change, more, less, expected] of [
    ['a member is removed', {}, ['orderId'], '/orderId is removed'],
    ['an optional member is removed', {}, ['note'], '/note is removed'],
    ['a member of a member is removed', { buyer: z.object({}) }, [], '/buyer/name is removed'],
    ['a member of a list is removed', { items: z.array(line.omit({ price: true })) }, [], '/items[]/price is removed'],
    ['a member becomes optional', { orderId: z.string().optional() }, [], '/orderId is optional now'],
    ['a member becomes required', { note: z.string() }, [], '/note is required now'],
    ['a new member is required', { more: z.string() }, [], '/more is new and required'],
    ['a type changes', { orderId: z.number() }, [], '/orderId: type was "string" and is "number"'],
    [
      'a number becomes an integer',
      { items: z.array(line.extend({ price: z.int().nonnegative() })) },
      [],
      '/items[]/price',
    ],
    ['a value becomes nullable', { orderId: z.string().nullable() }, [], '/orderId'],
    ['a value is no longer nullable', { label: z.string() }, [], '/label'],
    ['an enum gains a value', { status: z.enum(['open', 'won', 'lost']) }, [], '/status may be "lost" now'],
    ['an enum loses a value', { status: z.enum(['open']) }, [], '/status'],
    ['an enum becomes any string', { status: z.string() }, [], '/status: enum was'],
    ['a literal changes', { kind: z.literal('other') }, [], '/kind: const was "test" and is "other"'],
    ['a format is removed', { time: z.string() }, [], '/time: format was "date-time" and is nothing'],
    ['a limit is removed', { items: z.array(line.extend({ sku: z.string() })) }, [], '/items[]/sku: minLength was 1'],
    ['a limit is added', { orderId: z.string().max(10) }, [], '/orderId: maxLength was nothing and is 10'],
    ['an array becomes one item', { items: line }, [], '/items: type was "array"'],
    ['a union gains a type', { choice: z.union([members.choice, z.number()]) }, [], '/choice'],
    ['a union changes', { choice: z.union([z.string(), z.object({ b: z.string() })]) }, [], '/choice/a is removed'],
  ] as [string, Record<string, z.ZodType>, string[], string][]) {
    test(change, () => {
      const breaks = breaksOf(more, less);
      expect(breaks.join('\n')).toContain(expected);
    });
  }

  test('unknown members are no longer accepted', () => {
    const closed = { ...published, additionalProperties: false };
    expect(findBreakingChanges(published, closed)).toEqual([
      'the payload: additionalProperties was nothing and is false',
    ]);
  });
});

test('a printed schema parses to the same schema, with each array on one line if it fits', () => {
  const text = printSchema(published);
  expect(JSON.parse(text)).toEqual(published);
  expect(text).toContain('"enum": ["open", "won"]');
  expect(Math.max(...text.split('\n').map((one) => (one.includes('[') ? one.length : 0)))).toBeLessThanOrEqual(120);
});
