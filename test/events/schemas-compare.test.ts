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
  test('stay as it is, in whatever order', () => {
    expect(breaksOf({})).toEqual([]);
    const turned = Object.fromEntries(Object.entries({ ...members, status: z.enum(['won', 'open']) }).reverse());
    expect(findBreakingChanges(published, of(z.object(turned)))).toEqual([]);
  });

  test('get members that may be missing, at any depth', () => {
    expect(breaksOf({ more: z.string().optional() })).toEqual([]);
    expect(breaksOf({ buyer: z.object({ name: z.string(), city: z.string().optional() }) })).toEqual([]);
    expect(breaksOf({ items: z.array(line.extend({ tax: z.number().optional() })) })).toEqual([]);
  });

  test('be explained in other words', () => {
    const told = z.string().meta({ description: 'in other words', examples: ['x'] });
    expect(breaksOf({ orderId: told })).toEqual([]);
  });
});

describe('it is told when', () => {
  for (const [change, more, less, told] of [
    ['a member is removed', {}, ['orderId'], '/orderId is removed'],
    ['a member that may be missing is removed', {}, ['note'], '/note is removed'],
    ['a member of a member is removed', { buyer: z.object({}) }, [], '/buyer/name is removed'],
    ['a member of a list is removed', { items: z.array(line.omit({ price: true })) }, [], '/items[]/price is removed'],
    ['a member may be missing', { orderId: z.string().optional() }, [], '/orderId is optional now'],
    ['a member must be there', { note: z.string() }, [], '/note is required now'],
    ['a new member must be there', { more: z.string() }, [], '/more is new and required'],
    ['a type is another', { orderId: z.number() }, [], '/orderId: type was "string" and is "number"'],
    ['a number becomes whole', { items: z.array(line.extend({ price: z.int().nonnegative() })) }, [], '/items[]/price'],
    ['a value may be null', { orderId: z.string().nullable() }, [], '/orderId'],
    ['a value may not be null', { label: z.string() }, [], '/label'],
    ['an enum is wider', { status: z.enum(['open', 'won', 'lost']) }, [], '/status may be "lost" now'],
    ['an enum is narrower', { status: z.enum(['open']) }, [], '/status'],
    ['an enum becomes any text', { status: z.string() }, [], '/status: enum was'],
    ['a literal is another', { kind: z.literal('other') }, [], '/kind: const was "test" and is "other"'],
    ['a format is gone', { time: z.string() }, [], '/time: format was "date-time" and is nothing'],
    ['a limit is wider', { items: z.array(line.extend({ sku: z.string() })) }, [], '/items[]/sku: minLength was 1'],
    ['a limit is new', { orderId: z.string().max(10) }, [], '/orderId: maxLength was nothing and is 10'],
    ['a list becomes one', { items: line }, [], '/items: type was "array"'],
    ['a choice is wider', { choice: z.union([members.choice, z.number()]) }, [], '/choice'],
    ['a choice is another', { choice: z.union([z.string(), z.object({ b: z.string() })]) }, [], '/choice/a is removed'],
  ] as [string, Record<string, z.ZodType>, string[], string][]) {
    test(change, () => {
      const breaks = breaksOf(more, less);
      expect(breaks.join('\n')).toContain(told);
    });
  }

  test('unknown members are no longer taken', () => {
    const closed = { ...published, additionalProperties: false };
    expect(findBreakingChanges(published, closed)).toEqual([
      'the payload: additionalProperties was nothing and is false',
    ]);
  });
});

test('a schema is printed so that it reads back as itself, its lists on one line where they fit', () => {
  const text = printSchema(published);
  expect(JSON.parse(text)).toEqual(published);
  expect(text).toContain('"enum": ["open", "won"]');
  expect(Math.max(...text.split('\n').map((one) => (one.includes('[') ? one.length : 0)))).toBeLessThanOrEqual(120);
});
