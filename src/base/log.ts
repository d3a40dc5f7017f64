import { ApiError } from './errors.ts';

/**
 * One log line: a request, a queue message, a job, a relay run, or a tax that was not computed or does not add up. No
 * field may hold a secret, a body or SQL.
 */
export type Line = {
  kind: 'request' | 'message' | 'job' | 'relay' | 'tax';
  id: string;
  tenant: string | null;
  outcome: string;
  durationMs: number;
  dbCalls: number;
  [field: string]: unknown;
};

/** Writes a log line as one JSON object. */
export function log(line: Line): void {
  console.log(JSON.stringify({ time: new Date().toISOString(), ...line }));
}

const secretInPath = /(?:sk|pk|cs|ct|rk|pi|seti|pm|lt|whsec)_[\w-]+/gi;

/** The code of a team: whoever has it can join. */
const codeInPath = /(\/teams\/by-code\/)[^/]+/;

/**
 * A request's path for the log, without the query, a team's code, and anything that looks like a key or an e-mail
 * address.
 */
export const pathForLog = (path: string): string =>
  path
    .replace(codeInPath, '$1…')
    .split('/')
    .map((segment) => (/@|%40/.test(segment) ? '…' : segment.replaceAll(secretInPath, '…')))
    .join('/')
    .slice(0, 200);

/** Names of errors whose messages can hold SQL, parameters, rows or a part of the input. */
const unsafeErrorName = /Neon|Drizzle|SyntaxError/;

/**
 * The facts about an error that are safe to log: names and codes. A database error's message holds SQL, parameters and
 * rows, so only its SQLSTATE, the constraint's name and the name of the connection error are kept.
 */
export function describeError(error: unknown): Record<string, string> {
  if (!(error instanceof Error)) return { error: typeof error };
  const source = error.cause instanceof Error ? error.cause : error;
  const facts: Record<string, string> = { error: source.name };
  if (error instanceof ApiError && error.detail !== undefined) facts.reason = error.detail;
  if ('sourceError' in source && source.sourceError instanceof Error) facts.broken = source.sourceError.name;
  for (const name of ['code', 'constraint', 'routine'] as const) {
    const value = (source as unknown as Record<string, unknown>)[name];
    if (typeof value === 'string') facts[name] = value;
  }
  if (!('code' in source) && !unsafeErrorName.test(source.name) && !source.message.startsWith('Failed query')) {
    facts.message = source.message.slice(0, 300);
    const place = source.stack?.split('\n')[1]?.trim();
    if (place) facts.at = place.slice(0, 200);
  }
  return facts;
}
