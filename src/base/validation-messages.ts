import * as z from 'zod';

/** The most allowed values, or unknown field names, that a message lists. */
const maxShown = 20;

const typeNames: Record<string, string> = {
  string: 'text',
  number: 'a number, such as 19.99',
  int: 'a whole number, such as 3',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
  null: 'null',
};

const plural = (count: number | bigint, one: string, many: string): string =>
  `${count} ${Number(count) === 1 ? one : many}`;

const joinShown = (values: readonly unknown[]): string =>
  values
    .slice(0, maxShown)
    .map((value) => String(value))
    .join(', ') + (values.length > maxShown ? ', …' : '');

type Size = { origin: string; inclusive?: boolean | undefined };

function tooSmall({ origin, inclusive, minimum }: Size & { minimum: number | bigint }): string {
  if (origin === 'string')
    return Number(minimum) === 1
      ? 'must not be empty'
      : `must have at least ${plural(minimum, 'character', 'characters')}`;
  if (origin === 'array') return `must have at least ${plural(minimum, 'entry', 'entries')}`;
  return inclusive === false ? `must be more than ${minimum}` : `must be at least ${minimum}`;
}

function tooBig({ origin, inclusive, maximum }: Size & { maximum: number | bigint }): string {
  if (origin === 'string') return `must have at most ${plural(maximum, 'character', 'characters')}`;
  if (origin === 'array') return `must have at most ${plural(maximum, 'entry', 'entries')}`;
  return inclusive === false ? `must be less than ${maximum}` : `must be at most ${maximum}`;
}

function wrongType(expected: string, input: unknown): string {
  if (input === undefined) return 'is required';
  // parseJson turns numbers that a double cannot hold into Infinity.
  if (input === Number.POSITIVE_INFINITY || input === Number.NEGATIVE_INFINITY)
    return 'has more digits than can be kept, or is too large';
  return `must be ${typeNames[expected] ?? expected}`;
}

/**
 * Says what is wrong with a value. The message completes a sentence that begins with the value's name. A message that
 * a schema defines itself takes precedence.
 */
export function validationMessage(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return wrongType(issue.expected, issue.input);
    case 'too_small':
      return tooSmall(issue);
    case 'too_big':
      return tooBig(issue);
    case 'invalid_value':
      if (issue.input === undefined) return 'is required';
      return issue.values.length === 1
        ? `must be ${joinShown(issue.values)}`
        : `must be one of: ${joinShown(issue.values)}`;
    case 'unrecognized_keys':
      return `has unknown fields: ${joinShown(issue.keys)}`;
    case 'invalid_format':
      return `must be ${issue.format === 'datetime' ? 'a time, such as 2026-01-31T12:00:00Z' : `a valid ${issue.format === 'regex' ? 'value' : issue.format}`}`;
    default:
      return 'is not valid';
  }
}

z.config({ customError: validationMessage });
