/** One line of the log: a request, a queue message or a job. No value of it may hold a secret, a body or SQL. */
export type Line = {
  kind: 'request' | 'message' | 'job' | 'relay';
  id: string;
  tenant: string | null;
  outcome: string;
  durationMs: number;
  dbCalls: number;
  [more: string]: unknown;
};

/** Writes one JSON object on one line. */
export function log(line: Line): void {
  console.log(JSON.stringify({ time: new Date().toISOString(), ...line }));
}

const secretInPath = /(?:sk|pk|rk|pi|seti|pm|lt|whsec)_[\w-]+/gi;

/** A request's path for the log: never its query, and nothing that looks like a key or an e-mail address. */
export const pathForLog = (path: string): string =>
  path
    .split('/')
    .map((segment) => (/@|%40/.test(segment) ? '…' : segment.replaceAll(secretInPath, '…')))
    .join('/')
    .slice(0, 200);

/** Messages that hold SQL, parameters, rows, or a piece of what could not be parsed. */
const telltale = /Neon|Drizzle|SyntaxError/;

/**
 * What may be said of an error in a log: names and codes. A database error's message holds SQL, parameters and rows, so
 * only its SQLSTATE and the name of its constraint are kept, and the name of what broke its connection.
 */
export function describeError(error: unknown): Record<string, string> {
  if (!(error instanceof Error)) return { error: typeof error };
  const source = error.cause instanceof Error ? error.cause : error;
  const facts: Record<string, string> = { error: source.name };
  if ('sourceError' in source && source.sourceError instanceof Error) facts.broken = source.sourceError.name;
  for (const name of ['code', 'constraint', 'routine'] as const) {
    const value = (source as unknown as Record<string, unknown>)[name];
    if (typeof value === 'string') facts[name] = value;
  }
  if (!('code' in source) && !telltale.test(source.name) && !source.message.startsWith('Failed query')) {
    facts.message = source.message.slice(0, 300);
    const place = source.stack?.split('\n')[1]?.trim();
    if (place) facts.at = place.slice(0, 200);
  }
  return facts;
}
