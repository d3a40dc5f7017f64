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
  console.log(JSON.stringify(line));
}

/**
 * What may be said of an error in a log: names and codes. A database error's message holds SQL, parameters and rows, so
 * only its SQLSTATE and the name of its constraint are kept.
 */
export function describe(error: unknown): Record<string, string> {
  if (!(error instanceof Error)) return { error: typeof error };
  const source = error.cause instanceof Error && 'code' in error.cause ? error.cause : error;
  const facts: Record<string, string> = { error: source.name };
  for (const name of ['code', 'constraint', 'routine'] as const) {
    const value = (source as unknown as Record<string, unknown>)[name];
    if (typeof value === 'string') facts[name] = value;
  }
  if (!('code' in source) && !source.name.includes('Neon') && !source.name.includes('Drizzle')) {
    facts.message = source.message.slice(0, 300);
    const place = source.stack?.split('\n')[1]?.trim();
    if (place) facts.at = place.slice(0, 200);
  }
  return facts;
}
